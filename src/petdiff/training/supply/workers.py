"""Worker processes that make examples in advance, so that training does not wait for them.

Worker n of N makes the volumes n, n + N, n + 2N …, a limited number in advance. For training on
several machines the store must be on a disk that all of them can access.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from itertools import count
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized

import torch

from petdiff.cgroup import one_thread_each
from petdiff.data.array_store import Entry, Store
from petdiff.errors import InputRefused, PetdiffError
from petdiff.terminal import log_in_process
from petdiff.training.supply.examples import ExampleMaker, entry_name, is_entry_before

_FAILED = "failed-"  # prefix of entries with the error of a worker
_AHEAD = 2  # volumes that each worker makes beyond the highest requested one
_POLL_S = 0.02


class ExampleSupply:
    """Returns examples by volume number, and waits for those that are not ready.

    first          first volume that will be needed
    workers        processes to start; 0: examples are made when they are requested
    offset, total  workers of the processes before this one in the group, and of all processes:
                   together they make all volumes
    """

    def __init__(
        self,
        maker: ExampleMaker,
        first: int,
        workers: int,
        offset: int = 0,
        total: int | None = None,
    ) -> None:
        self.maker = maker
        self.store = maker.store
        self.processes: list[BaseProcess] = []
        context = multiprocessing.get_context("spawn")  # forked children deadlock with threads
        self._highest: Synchronized[int] = context.Value("q", first)
        for n in range(workers):
            share = (offset + n, total or workers)
            process = context.Process(
                target=_work, args=(maker, first, *share, self._highest), daemon=True
            )
            with one_thread_each():
                process.start()
            self.processes.append(process)

    def __call__(self, number: int) -> Entry:
        """Return the examples of a volume; PetdiffError if a worker failed."""
        self.request(number)
        while (entry := self.store.get(entry_name(number))) is None:
            if not self.processes:
                self.maker.make(number)
                continue
            self._require_health()
            time.sleep(_POLL_S)
        return entry

    def request(self, number: int) -> None:
        """Request the volumes up to `number`, of which the workers of this process make a part."""
        with self._highest.get_lock():
            self._highest.value = max(self._highest.value, number)

    def release_before(self, number: int) -> None:
        """Remove the examples of lower volumes, which are no longer needed."""
        for name in self.store.names():
            if is_entry_before(name, number):
                self.store.drop(name)

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join()

    def _require_health(self) -> None:
        """Raise the error of a worker of any process, or an error if a worker has ended."""
        for name in self.store.names():
            if name.startswith(_FAILED):
                facts = (self.store.get(name) or Entry({}, {})).facts
                kind = InputRefused if facts.get("refused") else PetdiffError
                raise kind(facts.get("problem", "a worker process failed"))
        for process in self.processes:
            if process.exitcode is not None:
                raise PetdiffError(_exit_reason(process.exitcode))


def _exit_reason(exitcode: int) -> str:
    if exitcode < 0:
        return (
            f"a worker process was ended by signal {-exitcode} (9: out of memory, mostly): "
            "`resume` the run with fewer workers"
        )
    return (
        f"a worker process ended with code {exitcode}: where a script calls petdiff.train, put the "
        'call below `if __name__ == "__main__":`, because workers import the script'
    )


def remove_failures(store: Store) -> None:
    """Remove the errors of workers of an earlier start."""
    for name in store.names():
        if name.startswith(_FAILED):
            store.drop(name)


def _work(
    maker: ExampleMaker, first: int, worker: int, stride: int, highest: Synchronized[int]
) -> None:
    """Make every stride-th volume from number `first` on, until the parent process ends."""
    log_in_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(5)  # training has priority on few cores
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    start = first + (worker - first) % stride
    try:
        for number in count(start, stride):
            while number > highest.value + _AHEAD * stride:
                time.sleep(_POLL_S)
                if parent is None or not parent.is_alive():
                    return
            if parent is None or not parent.is_alive():
                return
            if entry_name(number) not in maker.store:
                maker.make(number)
    except Exception as problem:
        facts = {"problem": str(problem), "refused": isinstance(problem, InputRefused)}
        if not isinstance(problem, PetdiffError):
            facts["problem"] = f"making a training volume: {type(problem).__name__}: {problem}"
        maker.store.put(f"{_FAILED}{worker}", {}, facts)
