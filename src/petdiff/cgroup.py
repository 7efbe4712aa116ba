"""CPU and memory limits of a container (Linux control groups, version 2 and 1), and of processes.

Libraries use the cores and memory of the machine, not those of the container. On a large machine
they would start too many threads, or use more memory than the container may.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

GROUP = Path("/sys/fs/cgroup")  # in a container this is its own group
THREADS = "OMP_NUM_THREADS"  # numpy's, scipy's and torch's libraries follow it
# So many rounds take a fraction of a millisecond. On idle cores denoising is about as fast as with
# the usual number; where other programs use the cores, it is five to seven times as fast
# (docs/results.md, "Time and memory").
SPINS = "10000"
ALL_THREADS = (THREADS, "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def prepare_threads(environment: MutableMapping[str, str]) -> None:
    """Set how many threads there are, and how long a thread that waits for others spins.

    There are as many threads as the container has cores, if its cores are limited. By default a
    waiting thread of GNU OpenMP spins for milliseconds before it sleeps. Where another program uses
    a core, the spinning thread takes time from the thread that it waits for. Existing values are
    kept. Call this function before numpy and torch are imported.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPINS)
    cores = allowed_cores()
    if cores is not None and cores < (os.cpu_count() or 1):
        environment.setdefault(THREADS, str(cores))


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Limit the processes that are started in the block to one thread each."""
    before = {name: os.environ.get(name) for name in ALL_THREADS}
    os.environ.update(dict.fromkeys(ALL_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def usable_cores() -> int:
    """Return the cores that this process may use: by its affinity, which Slurm sets, and quota."""
    given = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if given else os.cpu_count() or 1
    return min(cores, allowed_cores() or cores)


def allowed_cores() -> int | None:
    """Return the number of cores of the group's quota, rounded up; None without a quota."""
    quota, _, period = _read(GROUP / "cpu.max").partition(" ")
    if not quota:
        quota = _read(GROUP / "cpu" / "cpu.cfs_quota_us")
        period = _read(GROUP / "cpu" / "cpu.cfs_period_us")
    share, whole = _number(quota), _number(period)
    return max(1, math.ceil(share / whole)) if share and whole else None


def memory_left() -> int | None:
    """Return the bytes below the group's limit, including caches; None without a limit."""
    for folder, limit, used, cached in (
        (GROUP, "memory.max", "memory.current", "inactive_file"),
        (GROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        maximum, taken = _number(_read(folder / limit)), _number(_read(folder / used))
        if maximum is None or taken is None or maximum > 1 << 60:  # version 1 without a limit: 2^63
            continue
        rows = (line.split() for line in _read(folder / "memory.stat").splitlines())
        facts = {row[0]: _number(row[1]) or 0 for row in rows if len(row) == 2}
        return max(0, maximum - taken + facts.get(cached, 0))
    return None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):  # no Linux, no such controller
        return ""


def _number(text: str) -> int | None:
    """Return a number above 0; None for "max", -1 and other texts that are no limit."""
    return int(text) if text.isdecimal() and int(text) > 0 else None
