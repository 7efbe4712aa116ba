"""`petdiff audit`: files in; verdict, table, JSON and maps out; one clear line of error."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

import petdiff
from petdiff import cli
from petdiff.methods.flow3d import Flow3D
from petdiff.methods.model import save_model
from support.audited import body, image, lesion, measured


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("audited")
    scans = {"measured": measured(body()), "right": body(), "painted": body() + lesion(5.0)}
    for name, values in scans.items():
        petdiff.write(image(values), folder / f"{name}.nii.gz")
    return {name: folder / f"{name}.nii.gz" for name in scans}


def test_a_painted_focus_is_listed_in_every_form(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["audit", files["measured"], files["painted"], "-o", out, "--quiet"]
    assert cli.run([str(one) for one in arguments]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("contradicts the measured scan: 1 fabrication\n")
    record = json.loads((out / "audit.json").read_text())
    assert record["audit"]["found"] == {"fabrication": 1, "omission": 0, "shift": 0}
    (found,) = record["audit"]["findings"]
    with (out / "findings.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert [int(row[axis]) for axis in "ijk"] == found["voxel"]
    again = petdiff.audit(petdiff.read(files["measured"]), petdiff.read(files["painted"]))
    assert again.record.model_dump(mode="json") == record["audit"]
    assert '<a href="#focus-1">' in (out / "audit.html").read_text(encoding="utf-8")
    assert record["missing"] == {}
    for diameter in (8, 11, 16, 23, 32):
        assert petdiff.read(out / f"deviation-{diameter}mm.nii.gz").shape == (48, 40, 44)


def test_a_right_answer_has_a_verdict_and_no_table(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["audit", str(files["measured"]), str(files["right"]), "-o", str(tmp_path / "o")]
    assert cli.run([*arguments, "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("agrees: ")
    assert len((tmp_path / "o" / "findings.csv").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["--alpha", "1.5"], 2, "--alpha is 1.5"),
        (["--units", "suv", "--suv-factor", "2"], 2, "contradict"),
    ],
)
def test_what_cannot_be_has_one_line_and_writes_nothing(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    options: list[str], code: int, reason: str,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    arguments = ["audit", str(files["measured"]), str(files["right"]), "-o", str(out), "--quiet"]
    assert cli.run([*arguments, *options]) == code
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_another_grid_is_refused(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    petdiff.write(image(body()[4:]), tmp_path / "cut.nii.gz")
    arguments = ["audit", str(files["measured"]), str(tmp_path / "cut.nii.gz")]
    assert cli.run([*arguments, "-o", str(tmp_path / "o"), "--quiet"]) == 3
    assert "resample the denoised scan" in capsys.readouterr().err


def test_denoise_audits_its_own_result(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    method = Flow3D.create("tiny")
    save_model(tmp_path / "tiny.safetensors", method.network, method.card({}), torch.float16)
    out = tmp_path / "out"
    arguments = ["denoise", files["measured"], "-o", out, "--model", tmp_path / "tiny.safetensors"]
    assert cli.run([str(one) for one in arguments]) == 0
    record = json.loads((out / "run.json").read_text())
    assert f"audit   {record['audit']['verdict']}\n" in capsys.readouterr().err
    again = petdiff.audit(petdiff.read(files["measured"]), petdiff.read(out / "denoised.nii.gz"))
    assert again.record.verdict == record["audit"]["verdict"]
    assert "Audit against the measured scan" in (out / "report.html").read_text(encoding="utf-8")
