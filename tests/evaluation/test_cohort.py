"""A cohort: its file's errors name the key, a killed run loses and repeats nothing, and the numbers
of the summary are scipy's own."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

import petdiff
from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.evaluation.cohort import exam as cohort_exam
from petdiff.evaluation.cohort.definition import (
    Cohort,
    ComparedMethod,
    Exam,
    exams,
    identity,
    read_cohort,
)
from petdiff.evaluation.cohort.exam import CohortRow, measure_exam
from petdiff.evaluation.cohort.run import run_cohort
from petdiff.evaluation.cohort.stored import StoredReading
from petdiff.evaluation.cohort.summary import summarise
from petdiff.evaluation.cohort.table import tabulate
from petdiff.evaluation.detection.lesion_study import Reading
from petdiff.image import PETImage
from petdiff.simulation import study
from support import little_cohort
from support.little_cohort import (
    deadly,
    made_up_psnr,
    made_up_rows,
    made_up_scans,
    table_of,
    wide_cohort,
)
from support.model_files import fresh_model_file

GOOD = 'patients = 2\ndoses = [4, 20]\nmethods = ["measured", "gaussian"]\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "cohort.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_patient_is_scanned_under_every_condition(tmp_path: Path) -> None:
    text = GOOD + 'seed = 7\nscanners = ["quadra", "vision600"]\ntracers = ["fdg", "psma"]\n'
    todo = exams(read_cohort(write(tmp_path, text)))
    assert len({exam.name for exam in todo}) == 8
    assert [exam.seed for exam in todo] == [7] * 4 + [8] * 4


def test_methods_may_be_a_table_and_a_model_a_file_beside_the_cohort(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"weights")
    text = (
        "doses = [4]\n[methods]\nmeasured = {}\n"
        'quick = { model = "flow3d" }\ndrawn = { model = "flow3d", steps = 4, samples = 2 }\n'
        '"mine.safetensors" = {}\n'
    )
    cohort = read_cohort(write(tmp_path, text))
    assert cohort.methods["drawn"] == ComparedMethod(model="flow3d", steps=4, samples=2)
    assert list(cohort.methods) == ["measured", "quick", "drawn", "mine"]
    assert cohort.methods["mine"].model == str(tmp_path.resolve() / "mine.safetensors")
    digests = identity(cohort)["weights_sha256"]
    assert digests["quick"] == digests["drawn"] != digests["mine"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (GOOD + "patient = 3\n", "patient: unknown; did you mean patients?"),
        (GOOD.replace("2", '"two"', 1), "patients: "),
        (GOOD + 'scanners = ["quadro"]\n', "scanners: "),
        (GOOD + 'tracers = ["fdg", "fdg"]\n', "tracers: fdg is given twice"),
        (GOOD + "tracers = []\n", "tracers: "),
        (GOOD + 'extent = "knee"\n', "extent: "),
        (GOOD + "voxel_mm = 0.1\n", "voxel_mm: "),
        (GOOD.replace("[4, 20]", "[4, 1]"), "doses: 1 is not a dose reduction factor"),
        (GOOD.replace("doses = [4, 20]\n", ""), "doses: missing"),
        ("doses = [4]\n", "methods: missing"),
        ("doses = [4]\nmethods = []\n", "methods: "),
        ('doses = [4]\nmethods = ["gausian"]\n', "methods: gausian: 'gausian' is not a filter"),
        ('doses = [4]\nmethods = ["measured", "measured"]\n', "methods: a method is named twice"),
        ("doses = [4]\n[methods]\nflow3d = { step = 4 }\n", "methods.flow3d.step: unknown"),
        ("doses = [4]\n[methods]\nflow3d = { steps = 0 }\n", "methods.flow3d.steps: "),
        ("doses = [4]\n[methods]\ngaussian = { steps = 4 }\n", "methods: gaussian: gaussian is a"),
        (
            'doses = [4]\n[methods]\nmine = { model = "logunet.safetensors", tell_dose = true }\n',
            "methods: mine: logunet does not use the dose",
        ),
        ("doses = [4]\n[methods]\ngaussian = { tell_dose = true }\n", "methods: gaussian: "),
        ('doses = [4]\n[methods]\nfull = { model = "flow3d" }\n', "methods: full: "),
        ('doses = [4]\n[methods]\nfull = { model = "measured" }\n', "methods: full: "),
        (
            'doses = [4]\nmethods = ["one/flow3d.safetensors", "two/flow3d.safetensors"]\n',
            "methods: a method is named twice",
        ),
        ('pairs = "nowhere"\nmethods = ["measured"]\n', "pairs: "),
        ('pairs = "."\npatients = 2\nmethods = ["measured"]\n', "patients: is only for simulated"),
        ("doses = [4\n", "is not TOML"),
        (
            GOOD + '[[claims]]\nmethod = "gausian"\nbeats = ["measured"]\n',
            "claims.0: gausian is not one of",
        ),
        (GOOD + '[[claims]]\nmethod = "gaussian"\nbeats = []\n', "claims.0.beats: "),
        (GOOD + '[[claims]]\nmethod = "gaussian"\nbeats = ["gaussian"]\n', "claims.0: gaussian is"),
        (
            GOOD + '[[claims]]\nmethod = "gaussian"\nbeat = ["measured"]\n',
            "claims.0.beats: missing",
        ),
        (
            GOOD + '[[claims]]\nmethod = "gaussian"\nbeats = ["measured"]\nmetric = "seconds"\n',
            "claims.0.metric: 'seconds' is not a metric that ranks",
        ),
    ],
)
def test_what_is_wrong_with_the_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    fresh_model_file(tmp_path, "logunet", "logunet")
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        read_cohort(path)
    assert f"{path}: {named}" in str(raised.value) or f"{path} {named}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_run_killed_in_the_middle_repeats_and_loses_no_row(tmp_path: Path) -> None:
    """96 conditions and two patients; SIGKILL leaves no chance to tidy up."""
    cohort, folder = wide_cohort(), tmp_path / "run"
    rows = folder / "rows"
    command = [sys.executable, little_cohort.__file__, str(folder)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while len(list(rows.glob("*.json"))) < 5 and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    time.sleep(0.3)
    before = {file.name: file.stat().st_mtime_ns for file in rows.glob("*.json")}
    assert 5 <= len(before) < 32
    time.sleep(0.7)  # the processes that it had started have ended with it
    assert len(list(rows.glob("*.json"))) == len(before)
    (rows / ".half.json.unfinished-1").write_text('{"unit"', encoding="utf-8")

    told: list[tuple[int, int]] = []
    done = run_cohort(
        cohort, folder, workers=1, work=made_up_rows, progress=lambda *now: told.append(now)
    )
    assert told == [(n, 32) for n in range(len(before), 33)]
    after = {file.name: file.stat().st_mtime_ns for file in rows.glob("*.json")}
    assert len(after) == 32
    assert {name: after[name] for name in before} == before
    assert not list(rows.glob(".*"))
    found = [(one.exam.name, row.dose, row.method, row.value) for one in done for row in one.rows]
    expected = [
        (exam.name, dose, method, made_up_psnr(exam, dose, method))
        for exam in exams(cohort)
        for dose in cohort.doses
        for method in cohort.methods
    ]
    assert found == expected
    assert len(found) == 96 * 2 * 3


def test_folder_of_another_run_is_refused_and_the_change_named(tmp_path: Path) -> None:
    cohort = Cohort(doses=(4,), methods=["measured"])  # type: ignore[arg-type]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "cohort.json").write_text(json.dumps(identity(cohort)), encoding="utf-8")
    other = cohort.model_copy(update={"doses": (4.0, 20.0)})
    with pytest.raises(UsageError, match=r"doses was \[4\.0\], is \[4\.0, 20\.0\]") as raised:
        run_cohort(other, tmp_path / "run", work=made_up_rows)
    assert "patients" not in str(raised.value)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is not the folder of a cohort"):
        run_cohort(cohort, tmp_path / "full", work=made_up_rows)


def test_process_that_dies_is_an_error_that_says_how_to_go_on(tmp_path: Path) -> None:
    cohort = Cohort(doses=(4,), methods=["measured"])  # type: ignore[arg-type]
    with pytest.raises(PetdiffError, match="`workers`"):
        run_cohort(cohort, tmp_path / "run", work=deadly)


def test_unit_is_scanned_answered_by_every_method_and_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model that answers the full-dose scan is perfect; each scan's noise is asked for once."""
    scans = made_up_scans()
    assert scans.twin is not None
    assert scans.truth is not None
    asked: list[tuple[int, Any]] = []

    def simulate(seed: int, **options: Any) -> SimpleNamespace:
        asked.append((seed, options["scanner"]))
        return SimpleNamespace(
            record="the record", full=scans.full, lows=scans.lows, labels=scans.labels,
            names=scans.names, patient=SimpleNamespace(lesions=scans.lesions), truth=scans.truth,
        )  # fmt: skip

    told: list[Any] = []

    def denoise(low: PETImage, model: Any, **options: Any) -> SimpleNamespace:
        told.append(options["drf"])
        twin = scans.twin
        assert twin is not None
        ours = any(low is image for image in scans.lows.values())
        drawn = scans.full.with_values(np.ones_like(scans.full.suv)) if options["samples"] else None
        return SimpleNamespace(image=scans.full if ours else twin.full, uncertainty=drawn)

    monkeypatch.setattr(study, "simulate", simulate)
    monkeypatch.setattr(study, "rescan", lambda record, lesions: scans.twin)
    card = SimpleNamespace(training_patients=frozenset())
    monkeypatch.setattr(cohort_exam, "_model", lambda name: SimpleNamespace(method=None, card=card))
    monkeypatch.setattr("petdiff.inference.denoise.denoise", denoise)
    methods: Any = {
        "measured": {}, "gaussian": {}, "flow3d": {},
        "told": {"model": "flow3d", "tell_dose": True, "samples": 3},
    }  # fmt: skip
    cohort = Cohort(doses=(4, 20), lesions=True, methods=methods)
    exam = Exam("0003-quadra-fdg", "0003", "quadra", "fdg", 3)
    measured = measure_exam(cohort, exam)
    assert asked == [(3, "quadra")]
    found = {(r.method, r.dose, r.metric, r.region): r.value for r in measured.rows}
    assert len(found) == len(measured.rows)
    for dose in (4.0, 20.0):
        assert found["flow3d", dose, "nrmse", "body"] == 0
        assert found["gaussian", dose, "nrmse", "body"] < found["measured", dose, "nrmse", "body"]
        error = scans.lows[dose].suv - scans.full.suv
        whole = np.sqrt(np.mean(error.astype(float) ** 2)) / scans.full.suv.mean(dtype=float)
        assert found["measured", dose, "nrmse_whole", "volume"] == pytest.approx(whole, rel=1e-5)
        assert found["flow3d", dose, "suv_peak_bias", "lesion 2 (node)"] == 0
        assert found["told", dose, "within_1_sd", "body"] == 1
        assert ("flow3d", dose, "within_1_sd", "body") not in found
    assert not any("outside" in row.region for row in measured.rows)
    assert {(r.method, r.dose) for r in measured.readings} == {
        ("full", 1.0), *((m, d) for m in cohort.methods for d in (4.0, 20.0))
    }  # fmt: skip
    perfect = next(r for r in measured.readings if (r.method, r.dose) == ("flow3d", 20.0))
    assert len(perfect.lesions) == 2
    assert np.isfinite(perfect.lesions).all()
    assert perfect.lesions == measured.readings[0].lesions
    assert told == [None, None, 4, 4, None, None, 20, 20]  # the patient, and the twin
    assert len(measured.snapshots.pictures) == 2 * 5 * 2
    assert (measured.snapshots.places["4"].lesion or "").startswith("lesion ")


def test_reading_with_a_lesion_that_was_not_found_goes_through_json() -> None:
    channels = ((1.0, 2.0), (3.0, 4.0))
    found = ((3.5, -np.inf), ("a", "b"), ("c", "d"), (4.0,), (), channels, channels)
    reading = Reading("s", "p", "m", 4.0, *found)
    text = StoredReading.of(reading).model_dump_json()
    assert "Infinity" not in text
    assert StoredReading.model_validate_json(text).reading() == reading


def test_summary_is_what_scipy_says_of_each_patients_mean() -> None:
    rng = np.random.default_rng(5)
    psnr = rng.normal([[[30.0]], [[31.0]], [[31.3]]], 1.0, (3, 12, 4))
    summary = summarise(table_of(psnr, ("a", "b", "c")), generator=np.random.default_rng(0))
    over_doses = psnr.mean(axis=2)
    cell = summary.means["psnr_db"]["overall"]["b"]
    assert cell.mean == pytest.approx(over_doses[1].mean())
    students = stats.t.interval(0.95, 11, over_doses[1].mean(), stats.sem(over_doses[1]))
    assert (cell.low, cell.high) == pytest.approx(students)
    tests = summary.tests["psnr_db"]["overall"]
    raw = [
        stats.wilcoxon(over_doses[j] - over_doses[i]).pvalue for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    assert [test.wilcoxon_p for test in tests] == pytest.approx(raw)
    ordered = np.sort(raw) * [3, 2, 1]
    stepped = np.minimum(np.maximum.accumulate(ordered), 1)
    assert sorted(test.holm_p for test in tests) == pytest.approx(sorted(stepped))
    one_dose = summary.tests["psnr_db"]["4"][0]
    assert one_dose.difference == pytest.approx((psnr[1] - psnr[0])[:, 2].mean())
    assert summary.means["ssim"]["overall"]["a"].mean is None
    json.dumps(summary.model_dump(mode="json"), allow_nan=False)


def test_interval_of_a_share_or_a_count_stays_within_possible_values() -> None:
    table = table_of(np.full((1, 6, 1), 30.0), ("a",))
    table.values["within_interval_90"][0, :, 0] = [0.8, 1, 1, 1, 1, 1]
    table.values["audit_omissions"][0, :, 0] = [0, 0, 0, 0, 0, 3]
    table.values["lesion_suv_peak_bias"][0, :, 0] = [0, 0, 0, 0, 0, 0.3]
    means = summarise(table, generator=np.random.default_rng(0)).means
    share, count, bias = (
        means[name]["overall"]["a"]
        for name in ("within_interval_90", "audit_omissions", "lesion_suv_peak_bias")
    )
    assert share.high == 1
    assert (share.low or 0) == pytest.approx(
        stats.t.interval(0.95, 5, share.mean, stats.sem([0.8, 1, 1, 1, 1, 1]))[0]
    )
    assert count.low == 0
    assert (bias.low or 0) < 0


def test_means_of_many_patients_have_a_bootstraps_interval() -> None:
    psnr = np.random.default_rng(5).normal(30.0, 1.0, (2, 40, 1))
    summary = summarise(table_of(psnr, ("a", "b")), generator=np.random.default_rng(0))
    cell = summary.means["psnr_db"]["overall"]["b"]
    drawn = stats.bootstrap(
        (psnr[1, :, 0],), np.mean, n_resamples=2000, random_state=np.random.default_rng(9)
    ).confidence_interval
    assert (cell.low, cell.high) == pytest.approx((drawn.low, drawn.high), abs=0.05)


def test_fewer_than_six_patients_have_means_without_intervals_and_no_tests() -> None:
    psnr = np.random.default_rng(5).normal([[[30.0]], [[35.0]]], 1.0, (2, 5, 2))
    summary = summarise(table_of(psnr, ("a", "b")), generator=np.random.default_rng(0))
    cell = summary.means["psnr_db"]["overall"]["b"]
    assert cell.mean == pytest.approx(psnr[1].mean())
    assert (cell.n, cell.low, cell.high) == (5, None, None)
    assert summary.tests["psnr_db"]["overall"] == []


def test_a_run_does_not_go_on_with_other_pairs(tmp_path: Path) -> None:
    for patient in ("anna", "carl"):
        for scan in ("full.nii.gz", "low_drf20.nii.gz"):
            (tmp_path / patient).mkdir(exist_ok=True)
            (tmp_path / patient / scan).write_bytes(b"scan")
    cohort = read_cohort(write(tmp_path, 'pairs = "."\nmethods = ["measured"]\n'))
    before = identity(cohort)
    assert before["pair_bytes"]["anna"] == {"1": 4, "20": 4}
    (tmp_path / "carl").rename(tmp_path / "bert")
    assert identity(cohort) != before
    (tmp_path / "bert").rename(tmp_path / "carl")
    assert identity(cohort) == before
    (tmp_path / "carl" / "full.nii.gz").write_bytes(b"another scan")
    assert identity(cohort) != before


def test_pairs_at_other_doses_are_refused_with_those_they_have(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    for name in ("full", "low_drf20", "low_drf50"):
        (tmp_path / "anna" / f"{name}.nii.gz").write_bytes(b"a scan")
    cohort = read_cohort(write(tmp_path, 'pairs = "."\ndoses = [4]\nmethods = ["measured"]\n'))
    with pytest.raises(InputRefused, match=r"anna has none .* only 1/20 dose, 1/50 dose: change"):
        measure_exam(cohort, exams(cohort)[0])


def test_visits_of_a_patient_count_once_and_have_rows_of_their_own(tmp_path: Path) -> None:
    for visit in ("1", "2"):
        (tmp_path / "anna" / visit).mkdir(parents=True)
        for name in ("full", "low_drf4"):
            (tmp_path / "anna" / visit / f"{name}.nii.gz").write_bytes(b"a scan")
    found = exams(read_cohort(write(tmp_path, 'pairs = "."\nmethods = ["measured"]\n')))
    assert [exam.label for exam in found] == ["anna/1", "anna/2"]
    rows = [CohortRow(4.0, "measured", "psnr_db", "body", 30.0, "dB")]
    done: Any = [SimpleNamespace(exam=exam, rows=rows) for exam in found]
    assert len(tabulate(done, ["measured"]).patients) == 1


def test_table_takes_body_lesions_and_liver_from_the_rows() -> None:
    rows = [
        CohortRow(4.0, "measured", "psnr_db", "body", 30.0, "dB"),
        CohortRow(4.0, "measured", "suv_peak_bias", "lesion 1 (node)", 0.3, "1"),
        CohortRow(4.0, "measured", "suv_peak_bias", "lesion 2 (node)", -0.1, "1"),
        CohortRow(4.0, "measured", "cov_30mm_sphere", "liver", None, "1"),
        CohortRow(1.0, "full", "cov_30mm_sphere", "liver", 0.1, "1"),
    ]
    done: Any = SimpleNamespace(exam=Exam("u", "0000", "quadra", "fdg", 0), rows=rows)
    values = {name: float(v.item()) for name, v in tabulate([done], ["measured"]).values.items()}
    assert values["psnr_db"] == 30
    assert values["lesion_suv_peak_bias"] == pytest.approx(0.1)
    assert values["lesion_suv_peak_error"] == pytest.approx(0.2)
    assert np.isnan(values["liver_cov"])


def test_command_writes_rows_summary_and_page_and_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pairs are on disk, the processes real; the second run measures nothing again."""
    from petdiff.commands.evaluate_cohort import evaluate_cohort_file
    from petdiff.evaluation.cohort.evaluate import COLUMNS
    from petdiff.io import write as write_image

    for patient in ("a", "b"):
        scans = made_up_scans(seed=len(patient), twin=False)
        folder = tmp_path / "data" / patient
        folder.mkdir(parents=True)
        write_image(scans.full, folder / "full.nii.gz")
        write_image(scans.lows[4.0], folder / "low_drf4.nii.gz")
    path = write(tmp_path, 'pairs = "data"\nmethods = ["measured", "gaussian"]\n')
    out = tmp_path / "out"
    written = evaluate_cohort_file(path, out, workers=1, quiet=True)
    assert [file.name for file in written] == ["rows.csv", "summary.json", "report.html"]
    with (out / "rows.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["patient"] for row in rows} == {"a", "b"}
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    psnr = [
        float(row["value"])
        for row in rows
        if (row["method"], row["metric"]) == ("gaussian", "psnr_db")
    ]
    assert summary["means"]["psnr_db"]["4"]["gaussian"]["mean"] == pytest.approx(np.mean(psnr))
    before = (out / "rows.csv").read_bytes()
    evaluate_cohort_file(path, out, workers=1, quiet=True)
    assert (out / "rows.csv").read_bytes() == before
    claim = '[[claims]]\nmethod = "gaussian"\nbeats = ["measured"]\n'
    path.write_text(path.read_text(encoding="utf-8") + claim, encoding="utf-8")
    evaluate_cohort_file(path, out, workers=1, quiet=True)  # a claim more is no other run
    again = petdiff.evaluate_cohort(path, out, workers=1)
    assert [file.name for file in again.files] == ["rows.csv", "summary.json"]
    assert again.summary.means["psnr_db"]["4"]["gaussian"].mean == pytest.approx(np.mean(psnr))
    assert "differences are tested from 6 patients" in (out / "report.html").read_text().lower()

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("no font")

    monkeypatch.setattr("petdiff.commands.evaluate_cohort.write_comparison", broken)
    written = evaluate_cohort_file(path, out, workers=1, quiet=True)
    assert [file.name for file in written] == ["rows.csv", "summary.json"], "the page only informs"


def test_a_dose_that_no_name_states_is_called_so_and_not_a_number(tmp_path: Path) -> None:
    """A published .npz holds both doses and names none; its rows, summary and page say so."""
    for patient in (3, 4):
        scans = made_up_scans(seed=patient, twin=False)
        pair = np.stack([scans.lows[4.0].suv, scans.full.suv])
        (tmp_path / "data").mkdir(exist_ok=True)
        np.savez(tmp_path / "data" / f"s{patient}.npz", arr_0=pair)
    path = write(
        tmp_path, 'pairs = "data"\nunits = "suv"\nmethods = ["measured"]\nsuv_factor = 1.0\n'
    )
    found = petdiff.evaluate_cohort(path, tmp_path / "out", workers=1)
    assert found.table.doses == (None,)
    assert set(found.summary.means["psnr_db"]) == {"overall", "not stated"}
    with (tmp_path / "out" / "rows.csv").open(newline="", encoding="utf-8") as file:
        doses = {(row["method"], row["dose"]) for row in csv.DictReader(file)}
    assert doses == {("full", "1"), ("measured", "not stated")}
    again = petdiff.evaluate_cohort(path, tmp_path / "out", workers=1)
    assert again.summary == found.summary
