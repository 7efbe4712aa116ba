"""Distribute jobs to processes and machines with Dask distributed (extra `cluster`).

There is one process per device; a free process takes the next job. If a process dies, another one
repeats its job.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from petdiff import __version__
from petdiff.cgroup import ALL_THREADS, usable_cores
from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.units import counted

if TYPE_CHECKING:
    from distributed import Client, Future, SpecCluster

_Job = TypeVar("_Job")
_Value = TypeVar("_Value")
_ERRORS: dict[int, type[PetdiffError]] = {1: PetdiffError, 2: UsageError, 3: InputRefused}
_LOCAL = re.compile(r"local(?::([1-9]\d*))?")
_WAIT_S = 180  # for the first worker
_CONNECT_S = 20
_HERE = "127.0.0.1"  # a scheduler runs any code that it receives: accept only this machine
_CORES_EACH = 4
_one_at_a_time = threading.Lock()  # a worker may have several threads, but one device
# Jobs take seconds: Dask's default of 50 updates per second is not needed.
_SLOW_UPDATES = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}

Notify = Callable[[str], None]


@dataclass(frozen=True)
class _Outcome(Generic[_Value]):
    """The value of a function, or its error as exit code and text (can be pickled)."""

    value: _Value | None = None
    error: tuple[int, str] | None = None


class Cluster:
    """The processes of a cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def finished(
        self, function: Callable[[_Job], _Value], jobs: Sequence[_Job]
    ) -> Iterator[tuple[_Job, _Value | PetdiffError]]:
        """Yield each job with its result or error, as the jobs end.

        function  a function of a module, so that it can be pickled
        """
        from distributed import as_completed

        futures = {self._client.submit(_call, function, job, pure=False): job for job in jobs}
        try:
            for future in as_completed(list(futures)):
                yield futures[future], _result(future)
        finally:
            self._client.cancel(list(futures))  # if the caller stops early


def is_local(address: str) -> bool:
    """Return whether `connected` starts and ends the processes on this machine."""
    return _LOCAL.fullmatch(address) is not None


@contextmanager
def connected(
    address: str, notify: Notify, *, device: str = "auto", shared: Path | None = None
) -> Iterator[Cluster]:
    """Yield the processes of a cluster.

    address  "local": this machine, one process per GPU, or per 4 cores without one; "local:N": N
             processes; else the address of a Dask scheduler, such as tcp://host:8786
    notify   called with a line that states the number of processes and the dashboard's address
    device   the requested device
    shared   a folder that all processes must reach, such as that of the results

    Raises UsageError if the extra is missing, no scheduler answers at the address, or a process
    cannot reach the folder or has another version of petdiff.
    """
    if find_spec("distributed") is None:
        raise UsageError("`cluster` needs Dask: pip install 'petdiff[cluster]'")
    from distributed import Client

    found = _LOCAL.fullmatch(address)
    if found is None and address.startswith("local:"):
        raise UsageError(f"`cluster` {address}: give local:N, with N from 1 on")
    with _started(found.group(1), device) if found else nullcontext() as started:
        try:
            client = Client(started or address, timeout=_CONNECT_S)
        except (OSError, ValueError) as problem:
            raise UsageError(
                f"`cluster` {address}: no Dask scheduler answers ({problem}): give local, local:N "
                "or an address such as tcp://host:8786"
            ) from problem
        with client:
            _require_workers(client, address, shared)
            count = len(client.scheduler_info(n_workers=-1)["workers"])
            pages = "" if find_spec("bokeh") else " (pip install bokeh shows its pages)"
            processes = counted(count, "process", "processes")
            notify(f"cluster {processes} · dashboard {client.dashboard_link}{pages}")
            yield Cluster(client)


@contextmanager
def _started(count: str | None, device: str) -> Iterator[SpecCluster]:
    """Start processes on this machine; each has one GPU, or an equal part of the cores."""
    import dask
    from distributed import Nanny, Scheduler, SpecCluster

    gpus = _gpus(device)
    cores = usable_cores()
    processes = int(count) if count else len(gpus) or max(1, cores // _CORES_EACH)
    threads = str(max(1, cores // processes))
    options = {"nthreads": 1, "memory_limit": 0, "host": _HERE, "silence_logs": logging.ERROR}
    workers = {
        n: {
            "cls": Nanny,
            "options": options
            | {"env": {"CUDA_VISIBLE_DEVICES": gpus[n % len(gpus)]} if gpus else {}},
        }
        for n in range(processes)
    }
    settings = {
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(ALL_THREADS, threads),
        **_SLOW_UPDATES,
    }
    scheduler = {
        "cls": Scheduler,
        "options": {"host": _HERE, "dashboard_address": f"{_HERE}:0"},
    }
    with (
        dask.config.set(settings),
        SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR) as cluster,
    ):
        yield cluster


def _gpus(device: str) -> list[str]:
    """Return the GPUs of this machine as CUDA_VISIBLE_DEVICES names them; none for the CPU."""
    import torch

    if device not in ("auto", "cuda", "cpu"):
        raise UsageError(f"`device` {device}: with `cluster` each process has one: give auto")
    if device == "cpu" or not torch.cuda.is_available():
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return given.split(",") if given else [str(n) for n in range(torch.cuda.device_count())]


def _require_workers(client: Client, address: str, shared: Path | None) -> None:
    try:
        client.wait_for_workers(1, timeout=_WAIT_S)
        facts = client.run(_facts, None if shared is None else str(shared))
    except TimeoutError:
        raise PetdiffError(
            f"`cluster` {address}: no process came within {_WAIT_S} s: start some, "
            f"dask worker {address} --nthreads 1"
        ) from None
    except Exception as problem:
        raise UsageError(
            f"`cluster` {address}: a process cannot run petdiff ({problem}): install petdiff "
            f"{__version__} there"
        ) from problem
    for worker, (version, reaches) in facts.items():
        if version != __version__:
            raise UsageError(f"{worker} has petdiff {version}: install {__version__} there")
        if not reaches:
            raise UsageError(f"{worker} does not reach {shared}: name a folder that all share")


def _facts(shared: str | None) -> tuple[str, bool]:
    """Return the version of petdiff of a process, and whether it reaches a folder."""
    return __version__, shared is None or Path(shared).is_dir()


def _call(function: Callable[[_Job], _Value], job: _Job) -> _Outcome[_Value]:
    """Compute in a process of the cluster."""
    with _one_at_a_time:
        try:
            return _Outcome(function(job))
        except PetdiffError as problem:
            return _Outcome(error=(problem.exit_code, str(problem)))
        except MemoryError:
            return _Outcome(error=(1, "out of memory"))
        except Exception as problem:
            return _Outcome(error=(1, f"{type(problem).__name__}: {problem}"))


def _result(future: Future[_Outcome[_Value]]) -> _Value | PetdiffError:
    from distributed import KilledWorker

    try:
        outcome = future.result()
    except KilledWorker:
        return PetdiffError("its process died several times, perhaps because memory was full")
    except Exception as problem:
        return PetdiffError(f"the cluster lost it ({type(problem).__name__}: {problem})")
    if outcome.error is not None:
        code, message = outcome.error
        return _ERRORS[code](message)
    return cast(_Value, outcome.value)
