"""A model that will take long over a cohort is announced from the pace of its first seconds."""

from __future__ import annotations

import multiprocessing

import pytest

from petdiff.evaluation.cohort import pace
from petdiff.evaluation.cohort.definition import Cohort, ComparedMethod, exams
from petdiff.evaluation.cohort.pace import Pace, Pacing, Reporter

METHODS = {"measured": ComparedMethod(model="measured"), "slow": ComparedMethod(model="flow3d")}


def test_long_models_are_announced_once_with_the_time_of_all_scans() -> None:
    cohort = Cohort(doses=(4, 20), patients=3, lesions=True, methods=METHODS)
    told: list[str] = []
    pacing = Pacing(cohort, exams(cohort), 2, told.append)
    for _ in range(2):
        pacing.add(Pace("slow", 3600.0))
    pacing.add(Pace("quick", 1.0))
    # Three patients and their twins at two doses are 12 scans, two at once.
    assert told == [
        "slow takes about 60 min per scan: about 6.0 h for 12 scans on 2 processes; fewer steps, "
        "samples or scans are faster"
    ]


def test_pace_is_reported_once_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    queue: pace.PaceQueue = multiprocessing.get_context("spawn").SimpleQueue()
    monkeypatch.setattr(pace, "_queue", queue)
    now = [0.0]
    report = Reporter("slow", clock=lambda: now[0])
    for second in range(1, 12):
        now[0] = float(second)
        report(second, 1000)
    assert queue.get() == Pace("slow", 1000.0)
    assert queue.empty()
