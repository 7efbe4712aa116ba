"""Structured reports of TID 1500: read back, checked by dciodvfy and dsrdump, and refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

import petdiff
from petdiff.errors import InputRefused, UsageError
from petdiff.image import PETImage
from petdiff.inference.record import ModelUsed
from petdiff.io import read_static, write
from petdiff.measurement.record import Measurement
from petdiff.measurement.region import Region, ball_region, mask_region
from petdiff.measurement.structured_report import OWN_SCHEME, write_structured_report
from support.dicom_factory import pet_slices, save
from support.measured_run import easy_calibration, noisy_scan
from support.run_records import MODEL

highdicom = pytest.importorskip("highdicom")
USED = ModelUsed.model_validate(MODEL)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[PETImage, PETImage]:
    """A DICOM scan of 4 mm and its derived series."""
    folder = tmp_path_factory.mktemp("dicom")
    pixels = np.random.default_rng(0).integers(2000, 3000, (10, 12, 12), dtype=np.int16)

    def four_millimetres(k: int, ds: Dataset) -> None:
        ds.PixelSpacing = [4, 4]

    scan = read_static(save(pet_slices(pixels, edit=four_millimetres), folder / "PT"))
    write(scan.with_values(0.9 * scan.values), folder / "denoised")
    return scan, read_static(folder / "denoised")


def regions(scan: PETImage) -> list[Region]:
    mask = np.zeros(scan.shape, bool)
    mask[2:8, 2:8, 3:7] = True
    x, y, z = (scan.affine @ [5, 6, 5, 1])[:3]
    return [
        mask_region(mask, scan, name="node"),
        ball_region((x, y, z), 9, scan),
        ball_region((x, y, z), 9, scan, name="focus 1", kind="focus"),
    ]


@pytest.fixture(scope="module")
def report(
    pair: tuple[PETImage, PETImage], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Measurement]:
    path = tmp_path_factory.mktemp("sr") / "report.dcm"
    found = petdiff.measure(*pair, regions(pair[0]), calibration=easy_calibration())
    write_structured_report(path, found, regions(pair[0]), *pair, USED)
    return path, found


def numbers(item: Dataset) -> dict[str, float]:
    """Return the numbers of a measurement group by concept and derivation."""
    found = {}
    for one in item.ContentSequence:
        if one.ValueType == "NUM":
            name = one.ConceptNameCodeSequence[0].CodeMeaning
            for inner in one.get("ContentSequence", []):
                if inner.ConceptNameCodeSequence[0].CodeMeaning == "Derivation":
                    name += " " + inner.ConceptCodeSequence[0].CodeMeaning
                if inner.ConceptNameCodeSequence[0].CodingSchemeDesignator == OWN_SCHEME:
                    number = float(inner.MeasuredValueSequence[0].NumericValue)
                    found[f"{name} {inner.ConceptNameCodeSequence[0].CodeValue}"] = number
            found[name] = float(one.MeasuredValueSequence[0].NumericValue)
    return found


def groups(path: Path) -> list[Dataset]:
    sr = pydicom.dcmread(path)
    measurements = next(
        one for one in sr.ContentSequence
        if one.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    )  # fmt: skip
    return list(measurements.ContentSequence)


def test_all_figures_come_back_with_their_intervals(
    report: tuple[Path, Measurement], pair: tuple[PETImage, PETImage]
) -> None:
    path, found = report
    measured, denoised, *_ = map(numbers, groups(path))
    row = found.region("node")
    for name, figure in (
        ("SUVbw Mean", row.figure("mean")),
        ("SUVbw Maximum", row.figure("max")),
        ("SUVbw Peak Value Within ROI", row.figure("peak")),
        ("Total Lesion Glycolysis", row.figure("tlg")),
    ):
        assert measured[name] == pytest.approx(figure.measured, rel=1e-4)
        assert denoised[name] == pytest.approx(figure.denoised, rel=1e-4)
        assert f"{name} interval-lower" not in measured
        bounds = denoised[f"{name} interval-lower"], denoised[f"{name} interval-upper"]
        assert bounds == pytest.approx((figure.lower, figure.upper), rel=1e-4)
        assert denoised[f"{name} interval-level"] == 90
    assert denoised["Volume"] == pytest.approx(144 * 4 * 4 * 4 / 1000)
    assert len(groups(path)) == 6


def test_groups_refer_to_the_slices_of_their_scan(
    report: tuple[Path, Measurement], pair: tuple[PETImage, PETImage]
) -> None:
    for group, scan in zip(groups(report[0]), pair, strict=False):
        named = {
            one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            for one in group.ContentSequence
            if one.ValueType == "IMAGE"
        }
        headers = scan.source.headers[3:7]
        assert named == {one.SOPInstanceUID for one in headers}


def test_the_report_belongs_to_the_study(
    report: tuple[Path, Measurement], pair: tuple[PETImage, PETImage]
) -> None:
    sr, source = pydicom.dcmread(report[0]), pair[0].source.headers[0]
    assert sr.StudyInstanceUID == source.StudyInstanceUID
    assert sr.PatientID == source.PatientID
    assert sr.ContentTemplateSequence[0].TemplateIdentifier == "1500"


@pytest.mark.oracle
@pytest.mark.parametrize("program", ["dciodvfy", "dsrdump"])
def test_other_programs_find_no_error(report: tuple[Path, Measurement], program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: dicom3tools, dcmtk)")
    done = subprocess.run([program, str(report[0])], capture_output=True, text=True)
    errors = [
        line for line in (done.stdout + done.stderr).splitlines()
        if line.startswith(("Error", "E:"))
    ]  # fmt: skip
    assert errors == []
    assert done.returncode == 0


def test_what_is_not_dicom_or_not_suv_is_refused(
    pair: tuple[PETImage, PETImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = petdiff.measure(*pair, regions(pair[0]))
    path = tmp_path / "sr.dcm"
    with pytest.raises(InputRefused, match="the measured scan is not DICOM"):
        write_structured_report(path, found, regions(pair[0]), noisy_scan(), pair[1], USED)
    raw = found.model_copy(update={"unit": "Bq/ml"})
    with pytest.raises(InputRefused, match="needs SUV"):
        write_structured_report(path, raw, regions(pair[0]), *pair, USED)
    monkeypatch.setitem(sys.modules, "highdicom.sr", None)
    with pytest.raises(UsageError, match=r"petdiff\[regions\]"):
        write_structured_report(path, found, regions(pair[0]), *pair, USED)
    assert not path.exists()
