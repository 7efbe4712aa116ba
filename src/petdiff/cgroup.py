"""What a container may use of the machine: Linux control groups, version 2 and 1.

Libraries count the machine's cores and memory, not those of the container. On a large machine they
would start far more threads than may run, or take memory for which the container is stopped.
"""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

GROUP = Path("/sys/fs/cgroup")  # within a container that is its own group
THREADS = "OMP_NUM_THREADS"  # numpy's, scipy's and torch's libraries follow it


def limit_threads(environment: MutableMapping[str, str], group: Path = GROUP) -> None:
    """Set OMP_NUM_THREADS to the cores that the container may use, where it may not use all.

    To be called before numpy and torch are imported. A number that is set already stays.
    """
    cores = allowed_cores(group)
    if cores is not None and cores < (os.cpu_count() or 1):
        environment.setdefault(THREADS, str(cores))


def allowed_cores(group: Path = GROUP) -> int | None:
    """Return how many cores the group's quota amounts to, rounded up; None without a quota."""
    quota, _, period = _read(group / "cpu.max").partition(" ")
    if not quota:
        quota = _read(group / "cpu" / "cpu.cfs_quota_us")
        period = _read(group / "cpu" / "cpu.cfs_period_us")
    share, whole = _number(quota), _number(period)
    return max(1, math.ceil(share / whole)) if share and whole else None


def memory_left(group: Path = GROUP) -> int | None:
    """Return the bytes up to the group's limit, with what caches would free; None without one."""
    for folder, limit, used, cached in (
        (group, "memory.max", "memory.current", "inactive_file"),
        (group / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most, taken = _number(_read(folder / limit)), _number(_read(folder / used))
        if most is None or taken is None or most > 1 << 60:  # version 1 without a limit: 2^63
            continue
        rows = (line.split() for line in _read(folder / "memory.stat").splitlines())
        facts = {row[0]: _number(row[1]) or 0 for row in rows if len(row) == 2}
        return max(0, most - taken + facts.get(cached, 0))
    return None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):  # no Linux, no such controller
        return ""


def _number(text: str) -> int | None:
    """Return a number above 0; None for "max", -1 and whatever else is no limit."""
    return int(text) if text.isdecimal() and int(text) > 0 else None
