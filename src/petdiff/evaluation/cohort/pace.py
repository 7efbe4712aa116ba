"""Estimate the time that a cohort's models will take, while their first scan is denoised.

A worker process reports the expected time of each scan after some seconds of denoising. The main
process estimates the time for the cohort from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from multiprocessing.queues import SimpleQueue
from typing import NamedTuple

from petdiff.evaluation.cohort.definition import Cohort, Exam
from petdiff.units import counted, duration

_MIN_SECONDS = 5.0
_LONG_S = 600.0  # models that take longer over the whole cohort are announced


class Pace(NamedTuple):
    """The expected time of a model for one scan in seconds."""

    method: str
    scan_s: float


PaceQueue = SimpleQueue[Pace]
_queue: PaceQueue | None = None


def report_paces_to(queue: PaceQueue) -> None:
    """Set the queue for the reports of this process."""
    global _queue
    _queue = queue


class Reporter:
    """A callback of `denoise` that reports the expected time once, after some seconds."""

    def __init__(self, method: str, clock: Callable[[], float] = time.perf_counter) -> None:
        self.method, self.clock = method, clock
        self.start = clock()
        self.is_reported = False

    def __call__(self, done: int, total: int) -> None:
        elapsed_s = self.clock() - self.start
        if _queue is None or self.is_reported or done < 1 or elapsed_s < _MIN_SECONDS:
            return
        self.is_reported = True
        _queue.put(Pace(self.method, elapsed_s / done * total))


class Pacing:
    """Announces each model that will take long for the remaining scans.

    remaining  exams that are not done yet
    workers    number of worker processes
    """

    def __init__(
        self, cohort: Cohort, remaining: Sequence[Exam], workers: int, notify: Callable[[str], None]
    ) -> None:
        self.scans = sum(_scans(cohort, exam) for exam in remaining)
        self.workers = max(min(workers, len(remaining)), 1)
        self.notify = notify
        self.announced: set[str] = set()

    def add(self, pace: Pace) -> None:
        """Announce a model at its first report, if it will take long."""
        if pace.method in self.announced:
            return
        self.announced.add(pace.method)
        total_s = pace.scan_s * self.scans / self.workers
        if total_s < _LONG_S:
            return
        self.notify(
            f"{pace.method} takes about {duration(pace.scan_s)} per scan: about "
            f"{duration(total_s)} for {counted(self.scans, 'scan')} on "
            f"{counted(self.workers, 'process', 'processes')}; fewer steps, samples or scans are "
            "faster"
        )


def _scans(cohort: Cohort, exam: Exam) -> int:
    """Return the number of low-dose scans of an exam, including twins without lesions."""
    doses = len(cohort.doses)
    if exam.pair is not None:
        doses = len([dose for dose in exam.pair.lows if not cohort.doses or dose in cohort.doses])
    return doses * (2 if cohort.lesions else 1)
