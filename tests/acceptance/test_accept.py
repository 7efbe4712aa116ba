"""The whole acceptance test: it can resume, and no patient is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from petdiff import cli
from petdiff.acceptance import measure
from petdiff.acceptance.plan import Plan, find_scans, identity
from petdiff.acceptance.run import accept
from petdiff.data.fingerprint import fingerprint
from petdiff.errors import InputRefused, UsageError
from petdiff.evaluation.protocol import Case, Row
from petdiff.image import PETImage
from petdiff.inference.denoise import denoise
from petdiff.io import read_in_suv, write
from petdiff.methods.flow3d import Flow3D
from petdiff.methods.model import load_model, save_model
from petdiff.simulation.phantom.image_quality import image_quality_phantom
from petdiff.units import FWHM_PER_SIGMA
from support.dicom_factory import pet_slices, save

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SHAPE = (26, 28, 26)
PATIENT = "Mustermann"
OMISSIONS = "audit_omissions"


def body(seed: int) -> np.ndarray:
    i, j, k = np.indices(SHAPE) - np.array([13, 14, 13]).reshape(3, 1, 1, 1)
    suv = np.where(np.hypot(i, j) < 11, 1.0, 0.01)
    suv = np.where((i - 4) ** 2 + j**2 + k**2 < 9, 6.0, suv)
    return (suv * np.random.default_rng(seed).gamma(30, 1 / 30, SHAPE)).astype(np.float32)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    method = Flow3D.create("tiny")
    save_model(path, method.network, method.card({}), torch.float16)
    return str(path)


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for n in range(2):
        write(PETImage(body(n), AFFINE), folder / f"{PATIENT}_{n}.nii.gz")
    patient = folder / f"{PATIENT}_2"
    patient.mkdir()
    write(PETImage(body(2), AFFINE), patient / "full.nii.gz")
    labels = np.where(body(2) > 0.5, 1, 0).astype(np.float32)
    write(PETImage(labels, AFFINE), patient / "labels.nii.gz")
    (patient / "labels.json").write_text('{"1": "liver"}', encoding="utf-8")
    (folder / "notes.txt").write_text("no scan", encoding="utf-8")
    return folder


def test_entries_of_a_folder_are_scans_and_other_files_are_not(scans: Path) -> None:
    found = find_scans(scans)
    assert [one.name for one in found] == ["scan 001", "scan 002", "scan 003"]
    assert [one.labels is not None for one in found] == [False, False, True]
    with pytest.raises(InputRefused, match="has no scans"):
        find_scans(_empty(scans))
    patient = next(one.scan.parent for one in found if one.labels)
    with pytest.raises(InputRefused, match="the folder of one patient: give the folder that holds"):
        find_scans(patient)
    slices = save(pet_slices(), scans.parent / "slices")
    with pytest.raises(InputRefused, match="the folder of one patient"):
        find_scans(slices)
    for file in slices.iterdir():
        file.rename(file.with_suffix(".DCM"))
    with pytest.raises(InputRefused, match="the folder of one patient"):
        find_scans(slices)


@pytest.mark.parametrize("changed", ["full.nii.gz", "labels.nii.gz", "labels.json"])
def test_a_run_with_other_scans_labels_or_names_is_another_run(
    scans: Path, tmp_path: Path, changed: str
) -> None:
    folder = shutil.copytree(scans, tmp_path / "scans")
    plan = Plan(folder)

    def now() -> object:
        return identity(plan, find_scans(folder), "0" * 64)

    before = now()
    assert now() == before
    with (folder / f"{PATIENT}_2" / changed).open("ab") as file:
        file.write(b" ")
    assert now() != before


def _empty(scans: Path) -> Path:
    folder = scans.parent / "empty"
    folder.mkdir(exist_ok=True)
    return folder


def test_scans_are_measured_once_and_nobody_is_named(
    scans: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    arguments = ["accept", str(scans), "-o", str(out), "--dose", "1/4", "--model", model]
    assert cli.run([*arguments, "--quiet"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "no verdict on 3 scans" in printed[0]
    assert printed[1:] == [str(out / "report.html"), str(out / "summary.json")]
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["verdicts"][0]["psnr_db"]["n"] == 3
    third = summary["scans"][2]
    assert third["organs"] == 1
    measured = {f[2] for f in third["figures"]}
    assert measured >= {"psnr_db", "suv_peak_bias", "cov_30mm_sphere"}
    assert measured >= {"audit_fabrications", OMISSIONS, "audit_false_alarms"}
    for metric, region in (("suv_mean_bias", "hot spot"), ("organ_suv_mean_bias", "liver")):
        assert {f[3].rstrip(" 0123456789") for f in third["figures"] if f[2] == metric} == {region}
    omissions = sum(f[4] for scan in summary["scans"] for f in scan["figures"] if f[2] == OMISSIONS)
    page = (out / "report.html").read_text(encoding="utf-8")
    row = page.split("<th>Omissions that the audit lists</th>")[1].split("</tr>")[0]
    assert f"<td>{omissions:.0f}<small>in 3 scans</small></td>" in row
    for file in out.rglob("*"):
        assert file.is_dir() or PATIENT not in file.read_text(encoding="utf-8")

    first = out / "rows" / "001.json"
    kept = json.loads(first.read_bytes())
    first.write_text(json.dumps({**kept, "spots": 77}), encoding="utf-8")
    (out / "rows" / "002.json").unlink()
    assert cli.run([*arguments, "--quiet"]) == 0
    again = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert again["scans"][0]["spots"] == 77
    figures = [[f for f in x["scans"][1]["figures"] if f[2] != "seconds"] for x in (again, summary)]
    assert figures[0] == figures[1]
    with pytest.raises(UsageError, match="doses was"):
        accept(Plan(scans, (10.0,), model), out)


def test_scans_that_cannot_take_part_are_named_by_their_number(
    scans: Path, model: str, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(scans, mixed)
    stored = np.rint(body(5).transpose(2, 1, 0) * 1000).astype(np.int16)
    made = pet_slices(
        stored, PixelSpacing=[4.0, 4.0], ImageType=["DERIVED", "PRIMARY", "SIMULATED"]
    )
    save(made, mixed / f"A_{PATIENT}")
    write(PETImage(np.zeros(SHAPE, np.float32), AFFINE), mixed / f"B_{PATIENT}.nii.gz")
    shutil.copy(mixed / f"{PATIENT}_0.nii.gz", mixed / f"Z_{PATIENT}.nii.gz")
    found = accept(Plan(mixed, (4.0,), model), tmp_path / "report")
    refused = {scan.name: scan.refused for scan in found.scans if scan.refused}
    assert set(refused) == {"scan 001", "scan 002", "scan 006"}
    assert "derived image (SIMULATED)" in refused["scan 001"]
    assert "no activity" in refused["scan 002"]
    assert refused["scan 006"] == "it is the same scan as scan 003"
    assert len(found.taken) == 3
    assert any(text.startswith("scan 001 takes no part") for text in found.warnings)
    assert not any(PATIENT in text for text in found.warnings)
    for kept in sorted(mixed.iterdir())[2:]:
        shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
    with pytest.raises(InputRefused, match="none of the 2 scans can take part"):
        accept(Plan(mixed, (4.0,), model), tmp_path / "other")


def test_the_phantom_of_each_call_is_measured_and_before_the_scans(
    scans: Path, model: str, tmp_path: Path
) -> None:
    true = image_quality_phantom((4.0, 4.0, 4.0), length_mm=120.0).activity_bqml
    noise = np.random.default_rng(0).gamma(30, 1 / 30, true.shape)
    write(PETImage((true * noise).astype(np.float32), AFFINE), tmp_path / "nema.nii.gz")

    def accepted(phantom: Path, out: Path) -> int:
        arguments = ["accept", str(scans), "-o", str(out), "--dose", "1/4", "--model", model]
        return cli.run([*arguments, "--quiet", "--phantom", str(phantom), "--units", "suv"])

    out, no_phantom = tmp_path / "report", scans / f"{PATIENT}_0.nii.gz"
    assert accepted(tmp_path / "nema.nii.gz", out) == 0
    rows = json.loads((out / "summary.json").read_text(encoding="utf-8"))["phantom"]
    assert [(row["drf"], row["method"]) for row in rows] == [
        (1, "full dose"), (4, "thinned"), (4, "filter"), (4, "model")
    ]  # fmt: skip
    assert rows[0]["recovery_mean"][0] == pytest.approx(1, abs=0.1)
    assert "within EARL 2" in (out / "report.html").read_text(encoding="utf-8")
    assert accepted(no_phantom, out) == 3
    assert accepted(no_phantom, tmp_path / "other") == 3
    assert not list((tmp_path / "other" / "rows").iterdir())


def test_each_scan_has_its_own_noise_at_each_dose() -> None:
    seeds = {
        measure.noise_seed(seed, name, dose)
        for seed in (0, 1)
        for name in ("scan 001", "scan 002")
        for dose in (0, 1)
    }
    assert len(seeds) == 8


def test_filter_and_model_get_the_thinned_scan_and_are_compared_with_the_full_one(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[np.ndarray] = []

    def noted(case: Case, suv: np.ndarray) -> list[Row]:
        measured.append(suv)
        return []

    monkeypatch.setattr(measure, "measure_regions", noted)
    plan = Plan(Path("scans"), (4.0, 10.0), filter_fwhm_mm=6.0)
    scan = measure.prepare_image("scan 001", PETImage(body(0), AFFINE))
    found = measure.measure_scan(scan, plan, load_model(model)).figures
    image, inside = scan.measured.image, scan.case.body
    for drf, (low, filtered, denoised) in zip(
        (4.0, 10.0), (measured[:3], measured[3:]), strict=True
    ):
        np.testing.assert_allclose(
            filtered, gaussian_filter(low, 6.0 / FWHM_PER_SIGMA / 4, mode="nearest"), atol=1e-5
        )
        again = denoise(image.with_values(low), load_model(model), drf=drf).image.suv
        np.testing.assert_allclose(denoised, again, atol=1e-3 * again.max())
        for method, suv in (("thinned", low), ("filter", filtered), ("model", denoised)):
            error = np.square(suv - image.suv, dtype=np.float64)[inside].mean()
            [psnr] = [f.value for f in found if f[:3] == (drf, method, "psnr_db")]
            assert psnr == pytest.approx(10 * np.log10(image.suv.max() ** 2 / error), abs=1e-3)
    at_4, at_10 = ((measured[n] - image.suv)[inside] for n in (0, 3))
    assert at_10.std() / at_4.std() == pytest.approx(np.sqrt(9 / 3), rel=0.15)
    assert abs(np.corrcoef(at_4, at_10)[0, 1]) < 0.1


def test_a_refusal_by_the_model_names_no_file_either(
    scans: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(scan: measure.PreparedScan, *_: object) -> None:
        raise InputRefused(f"{scans / f'{PATIENT}_0.nii.gz'} cannot be denoised")

    monkeypatch.setattr("petdiff.acceptance.run.measure_scan", refuse)
    with pytest.raises(InputRefused, match="none of the 3 scans can take part: it cannot be"):
        accept(Plan(scans, (4.0,), model=model), tmp_path / "report")


def test_a_scan_that_the_model_was_trained_on_is_named(
    scans: Path, model: str, tmp_path: Path
) -> None:
    trained = load_model(model)
    seen = fingerprint(read_in_suv(scans / f"{PATIENT}_1.nii.gz"))
    card = trained.card.model_copy(update={"training": {"patients": [seen, "0" * 64]}})
    other = tmp_path / "trained.safetensors"
    save_model(other, trained.network, card, torch.float16)
    found = accept(Plan(scans, (4.0,), str(other)), tmp_path / "report")
    named = [text for text in found.warnings if "trained on it" in text]
    assert [text.split(":")[0] for text in named] == ["scan 002"]


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--dose", "1"], 2, "--dose: give fractions of the full dose below 1"),
        (["--dose", "1/4,1/4"], 2, "twice"),
        (["--filter", "99"], 2, "--filter 99: give a width above 0, up to 20 mm"),
        (["--dose", "1/4", "--model", "nosuch"], 2, "nosuch"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(
    scans: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    says: str,
) -> None:
    out = tmp_path / "report"
    assert cli.run(["accept", str(scans), "-o", str(out), *options, "--quiet"]) == code
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("petdiff: ")]
    assert len(lines) == 1
    assert says in lines[0]
    assert not out.exists()
