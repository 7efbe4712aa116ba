"""A cohort that holds a model's own training patients says so: in the summary and on the page."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from petdiff.data.fingerprint import fingerprint
from petdiff.evaluation.cohort import exam as cohort_exam
from petdiff.evaluation.cohort.definition import Cohort, ComparedMethod, Exam
from petdiff.evaluation.cohort.exam import measure_scans
from petdiff.evaluation.cohort.stored import FinishedExam, read_exam, store_exam
from petdiff.evaluation.cohort.summary import summarise, training_patients
from petdiff.evaluation.cohort.table import tabulate
from petdiff.methods.card import ModelCard
from petdiff.report.comparison import write_comparison
from support.little_cohort import made_up_scans


def test_training_patients_are_named_in_summary_and_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = {seed: made_up_scans(seed, twin=False) for seed in (0, 1)}
    listed = [fingerprint(scans[1].full), 7]
    card = ModelCard(
        method="flow3d",
        domain="local_activity",
        architecture={},
        constants={},
        training={"patients": listed},
    )
    monkeypatch.setattr(cohort_exam, "_model", lambda name: SimpleNamespace(card=card, method=None))
    monkeypatch.setattr(
        "petdiff.inference.denoise.denoise",
        lambda low, *_, **__: SimpleNamespace(image=low, uncertainty=None),
    )
    methods = {"measured": ComparedMethod(model="measured"), "ours": ComparedMethod(model="flow3d")}
    done: list[FinishedExam] = []
    for seed, one in scans.items():
        exam = Exam(f"unit-{seed}", f"patient-{seed}", "own", "own", seed)
        file = tmp_path / f"{exam.name}.json"
        store_exam(file, exam, measure_scans(one, methods, exam))
        done.append(read_exam(file, exam, methods))
    assert training_patients(done) == {"ours": ["patient-1"]}

    table = tabulate(done, list(methods))
    summary = summarise(
        table, generator=np.random.default_rng(0), trained_on=training_patients(done)
    )
    assert "ours was trained on 1 of these 2 patients" in summary.warnings[0]
    cohort = Cohort(doses=(4, 20), methods=methods)
    write_comparison(tmp_path / "r.html", cohort, table, summary, [], done, name="n")
    assert summary.warnings[0] in (tmp_path / "r.html").read_text(encoding="utf-8")
