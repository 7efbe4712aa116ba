"""Slabs made ahead of need by processes of their own, so that training does not wait for them.

Process n of N makes the slabs n, n + N, n + 2N …, and none that is further ahead than it must be.
On several machines the store has to lie on a disk that all of them see.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from itertools import count
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized

from petdiff.data.array_store import Entry, Store
from petdiff.errors import InputRefused, PetdiffError
from petdiff.terminal import log_in_process
from petdiff.training.supply.patches import SlabMaker, slab_name

_FAILED = "failed-"  # how entries are called that say why a process ended
_AHEAD = 2  # slabs that each process makes beyond the newest that is needed
_POLL_S = 0.02


class Supply:
    """Gives slabs by number, and waits for those that are not made yet.

    first    the first slab that will be needed
    workers  processes started here, 0: slabs are made when they are asked for
    before, total  such processes that ranks before this one start, and that all of them do: they
                   share the work
    """

    def __init__(
        self, maker: SlabMaker, first: int, workers: int, before: int = 0, total: int | None = None
    ) -> None:
        self.maker = maker
        self.store = maker.store
        self.processes: list[BaseProcess] = []
        context = multiprocessing.get_context("spawn")  # forked children deadlock with threads
        self._newest: Synchronized[int] = context.Value("q", first)
        for n in range(workers):
            turn = (before + n, total or workers)
            process = context.Process(
                target=_make_slabs, args=(maker, first, *turn, self._newest), daemon=True
            )
            with _single_threaded():
                process.start()
            self.processes.append(process)

    def __call__(self, index: int) -> Entry:
        """Slab `index`; PetdiffError where a process could not make it."""
        self.announce(index)
        while (entry := self.store.get(slab_name(index))) is None:
            if not self.processes:
                self.maker.make(index)
                continue
            self._require_health()
            time.sleep(_POLL_S)
        return entry

    def announce(self, index: int) -> None:
        """Say that any rank may need the slabs up to `index`: our processes make some of them."""
        with self._newest.get_lock():
            self._newest.value = max(self._newest.value, index)

    def drop_before(self, index: int) -> None:
        """Remove the slabs that no patch will be cut from any more."""
        for name in self.store.names():
            if name.startswith("slab-") and name < slab_name(index):
                self.store.drop(name)

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join()

    def _require_health(self) -> None:
        """Raise what a process of any rank left behind, or that one of ours is gone."""
        for name in self.store.names():
            if name.startswith(_FAILED):
                facts = (self.store.get(name) or Entry({}, {})).facts
                kind = InputRefused if facts.get("refused") else PetdiffError
                raise kind(facts.get("problem", "a process that makes slabs failed"))
        for process in self.processes:
            if not process.is_alive():
                raise PetdiffError(
                    f"a process that makes training slabs ended with code {process.exitcode} "
                    "(killed for memory?): `resume` the run, with fewer workers"
                )


def forget_failures(store: Store) -> None:
    """Remove what processes of an earlier start left behind, that a new start may go on."""
    for name in store.names():
        if name.startswith(_FAILED):
            store.drop(name)


def _make_slabs(
    maker: SlabMaker, first: int, number: int, stride: int, newest: Synchronized[int]
) -> None:
    """What each process does until its parent ends."""
    import torch

    log_in_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(5)  # training comes first where cores are few
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    start = first + (number - first) % stride
    try:
        for index in count(start, stride):
            while index > newest.value + _AHEAD * stride:
                time.sleep(_POLL_S)
                if parent is None or not parent.is_alive():
                    return
            if parent is None or not parent.is_alive():
                return
            if slab_name(index) not in maker.store:
                maker.make(index)
    except Exception as problem:
        facts = {"problem": str(problem), "refused": isinstance(problem, InputRefused)}
        if not isinstance(problem, PetdiffError):
            facts["problem"] = f"making a training slab: {type(problem).__name__}: {problem}"
        maker.store.put(f"{_FAILED}{number}", {}, facts)


class _single_threaded:
    """New processes compute on one thread each: the same sums everywhere, and no crowding."""

    _NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

    def __enter__(self) -> None:
        self.before = {name: os.environ.get(name) for name in self._NAMES}
        os.environ.update(dict.fromkeys(self._NAMES, "1"))

    def __exit__(self, *_: object) -> None:
        for name, value in self.before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
