"""How long a cohort's models will take, estimated while their first scan is being denoised.

A process that denoises reports, once per model and scan, how long the whole scan will take by the
pace of its first seconds. The process that started it adds up what that means for the cohort.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from multiprocessing.queues import SimpleQueue
from typing import NamedTuple

from petdiff.evaluation.cohort.definition import Cohort, Unit
from petdiff.units import duration

_SECONDS_TO_JUDGE = 5.0
_LONG_S = 600.0  # of a model over the whole cohort: from here on it is announced


class Pace(NamedTuple):
    """How long a model will take for one scan."""

    method: str
    scan_s: float


PaceQueue = SimpleQueue[Pace]
_queue: PaceQueue | None = None


def report_paces_to(queue: PaceQueue) -> None:
    """Let the denoising in this process report to a queue."""
    global _queue
    _queue = queue


class Reporter:
    """A callback of `denoise` that reports the pace once, after some seconds."""

    def __init__(self, method: str, clock: Callable[[], float] = time.perf_counter) -> None:
        self.method, self.clock = method, clock
        self.start = clock()
        self.is_reported = False

    def __call__(self, done: int, total: int) -> None:
        elapsed_s = self.clock() - self.start
        if _queue is None or self.is_reported or done < 1 or elapsed_s < _SECONDS_TO_JUDGE:
            return
        self.is_reported = True
        _queue.put(Pace(self.method, elapsed_s / done * total))


class Pacing:
    """Announces each model that takes long over the scans that are left.

    left     units that are not done yet
    workers  how many are worked on at once
    """

    def __init__(
        self, cohort: Cohort, left: Sequence[Unit], workers: int, notify: Callable[[str], None]
    ) -> None:
        self.scans = sum(_scans(cohort, unit) for unit in left)
        self.workers = max(min(workers, len(left)), 1)
        self.notify = notify
        self.announced: set[str] = set()

    def add(self, pace: Pace) -> None:
        """Announce a model the first time that its pace is known, if it takes long."""
        if pace.method in self.announced:
            return
        self.announced.add(pace.method)
        total_s = pace.scan_s * self.scans / self.workers
        if total_s < _LONG_S:
            return
        self.notify(
            f"{pace.method} takes about {duration(pace.scan_s)} per scan: about "
            f"{duration(total_s)} for {self.scans} scans on {self.workers} process"
            f"{'es' if self.workers > 1 else ''}; fewer steps, samples or scans are faster"
        )


def _scans(cohort: Cohort, unit: Unit) -> int:
    """Return how many low-dose scans of a unit each model denoises, lesion-free twins included."""
    doses = len(cohort.doses)
    if unit.pair is not None:
        doses = len([dose for dose in unit.pair.lows if not cohort.doses or dose in cohort.doses])
    return doses * (2 if cohort.lesions else 1)
