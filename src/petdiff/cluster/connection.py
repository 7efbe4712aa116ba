"""Work shared out over processes and machines by Dask distributed (extra `cluster`).

One process per device; a process that is free takes the next piece. A process that dies costs the
time of its piece, which another one takes over.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from petdiff import __version__
from petdiff.cgroup import allowed_cores
from petdiff.errors import InputRefused, PetdiffError, UsageError

if TYPE_CHECKING:
    from distributed import Client, Future, SpecCluster

_Piece = TypeVar("_Piece")
_Found = TypeVar("_Found")
_ERRORS: dict[int, type[PetdiffError]] = {1: PetdiffError, 2: UsageError, 3: InputRefused}
_LOCAL = re.compile(r"local(?::([1-9]\d*))?")
_WAIT_S = 180  # for the first worker
_CONNECT_S = 20
_HERE = "127.0.0.1"  # whoever reaches a scheduler can run code: only this machine does
_CORES_EACH = 4
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_one_at_a_time = threading.Lock()  # a worker may have several threads, and a device takes one piece
# Scans take seconds: what Dask does 50 times per second costs more than it tells.
_AT_REST = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}

Notify = Callable[[str], None]


@dataclass(frozen=True)
class _Outcome(Generic[_Found]):
    """Hold what a function returned, or its error as exit code and text for any process."""

    value: _Found | None = None
    error: tuple[int, str] | None = None


class Cluster:
    """Processes that compute."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def finished(
        self, function: Callable[[_Piece], _Found], pieces: Sequence[_Piece]
    ) -> Iterator[tuple[_Piece, _Found | PetdiffError]]:
        """Yield each piece with what the function made of it, as they end; errors are yielded, too.

        function  of a module, so that other processes find it
        """
        from distributed import as_completed

        futures = {
            self._client.submit(_call, function, piece, pure=False): piece for piece in pieces
        }
        try:
            for future in as_completed(list(futures)):
                yield futures[future], _result(future)
        finally:
            self._client.cancel(list(futures))  # what has not begun, where the caller stops


def is_local(address: str) -> bool:
    """Return whether the processes are started here, and end with the block of `connected`."""
    return _LOCAL.fullmatch(address) is not None


@contextmanager
def connected(
    address: str, notify: Notify, *, device: str = "auto", shared: Path | None = None
) -> Iterator[Cluster]:
    """Yield the processes of a cluster.

    address  "local": this machine, one process per GPU, or per 4 cores without one; "local:N": N
             processes; else the address of a Dask scheduler, such as tcp://host:8786
    notify   called with a line that states the number of processes and the dashboard's address
    device   where to compute, as it was asked for
    shared   a folder that all processes must reach, such as that of the results

    Raises UsageError where the extra is missing, where nothing answers at the address, or where a
    process cannot reach the folder or has another petdiff.
    """
    _require_distributed()
    from distributed import Client

    found = _LOCAL.fullmatch(address)
    with _started(found.group(1), device) if found else _nothing() as started:
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
            processes = f"{count} process{'es' * (count != 1)}"
            notify(f"cluster {processes} · dashboard {client.dashboard_link}{pages}")
            yield Cluster(client)


def _require_distributed() -> None:
    """Raise UsageError where the extra is not installed."""
    if find_spec("distributed") is None:
        raise UsageError("`cluster` needs Dask: pip install 'petdiff[cluster]'")


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


@contextmanager
def _started(count: str | None, device: str) -> Iterator[SpecCluster]:
    """Start the processes on this machine, each of which sees one GPU, or a share of the cores."""
    import dask
    from distributed import Nanny, Scheduler, SpecCluster

    gpus = _gpus(device)
    cores = _cores()
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
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(_THREADS, threads),
        **_AT_REST,
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


def _cores() -> int:
    """Return the cores that this process may use."""
    given = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if given else os.cpu_count() or 1
    return min(cores, allowed_cores() or cores)


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
            raise UsageError(f"{worker} has petdiff {version} and not {__version__}: install that")
        if not reaches:
            raise UsageError(f"{worker} does not reach {shared}: name a folder that all share")


def _facts(shared: str | None) -> tuple[str, bool]:
    """Return what a process has: the version of petdiff, and whether it reaches a folder."""
    return __version__, shared is None or Path(shared).is_dir()


def _call(function: Callable[[_Piece], _Found], piece: _Piece) -> _Outcome[_Found]:
    """Compute in a process of the cluster."""
    with _one_at_a_time:
        try:
            return _Outcome(function(piece))
        except PetdiffError as problem:
            return _Outcome(error=(problem.exit_code, str(problem)))
        except MemoryError:
            return _Outcome(error=(1, "out of memory"))
        except Exception as problem:
            return _Outcome(error=(1, f"{type(problem).__name__}: {problem}"))


def _result(future: Future[_Outcome[_Found]]) -> _Found | PetdiffError:
    from distributed import KilledWorker

    try:
        outcome = future.result()
    except KilledWorker:
        return PetdiffError("its process died several times, perhaps for want of memory")
    except Exception as problem:
        return PetdiffError(f"the cluster lost it ({type(problem).__name__}: {problem})")
    if outcome.error is not None:
        code, message = outcome.error
        return _ERRORS[code](message)
    return cast(_Found, outcome.value)
