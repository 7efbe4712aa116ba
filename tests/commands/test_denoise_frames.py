"""`petdiff denoise` on dynamic and gated scans: one command, all frames and their times out."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from petdiff import cli
from petdiff.frames import PETFrames
from petdiff.io import read
from petdiff.volume.regions import body_mask
from support.dicom_factory import dynamic_slices, save
from support.enhanced_factory import enhanced
from support.model_files import fresh_model_file

SHAPE = (20, 22, 24)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
COPIED = (
    "AcquisitionTime",
    "FrameReferenceTime",
    "ActualFrameDuration",
    "DecayFactor",
    "ImageIndex",
    "NumberOfTimeSlices",
    "SeriesType",
)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network with fresh weights."""
    return fresh_model_file(tmp_path_factory.mktemp("model"))


def activity(frame: int) -> np.ndarray:
    """A noisy ball [i, j, k] that fills up; the first frame is empty."""
    rng = np.random.default_rng(frame)
    index = np.indices(SHAPE) - np.array([10, 11, 12])[:, None, None, None]
    ball = (2.0 * ((index**2).sum(0) < 80) + 0.1) * rng.gamma(8, 1 / 8, SHAPE)
    return np.asarray(frame * ball, dtype=np.float32)


@pytest.fixture(scope="session")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = np.stack([activity(n).transpose(2, 1, 0) for n in range(3)])
    pixels = np.rint(3000 * frames).astype(np.int16)
    return save(dynamic_slices(pixels=pixels), tmp_path_factory.mktemp("scan") / "PT")


@pytest.fixture(scope="session")
def nifti(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the frames as dcm2niix does, with their sidecar."""
    folder = tmp_path_factory.mktemp("scan")
    image = nib.Nifti1Image(np.stack([activity(n) for n in range(3)], axis=-1), AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, folder / "pet.nii.gz")
    sidecar = {"FrameTimesStart": [0, 10, 30], "FrameDuration": [10, 20, 60]}
    (folder / "pet.json").write_text(json.dumps(sidecar))
    return folder / "pet.nii.gz"


def denoised(scan: Path, model: Path, output: Path, *more: str) -> Path:
    arguments = ["denoise", str(scan), "-o", str(output), "--model", str(model), *more]
    assert cli.run(arguments) == 0
    return output


def test_dicom_frames_come_out_with_their_times(
    dicom: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = denoised(dicom, model, tmp_path / "out")
    printed = capsys.readouterr()
    assert "3 dynamic frames of 10 to 60 s" in printed.err
    assert set(printed.out.split()) == {
        str(out / name)
        for name in ("denoised", "frames.png", "preview.png", "report.html", "run.json")
    }

    def by_index(folder: Path) -> list[Dataset]:
        return sorted(map(dcmread, folder.iterdir()), key=lambda ds: int(ds.ImageIndex))

    for source, made in zip(by_index(dicom), by_index(out / "denoised"), strict=True):
        assert {k: made[k].value for k in COPIED} == {k: source[k].value for k in COPIED}
        assert made.ImagePositionPatient == source.ImagePositionPatient
        assert "DENOISED" in made.ImageType


def test_record_has_a_row_per_frame(dicom: Path, model: Path, tmp_path: Path) -> None:
    out = denoised(dicom, model, tmp_path / "out")
    record = json.loads((out / "run.json").read_text())
    rows = record["denoising"]["frames"]
    assert [row["frame"] for row in rows] == [1, 2, 3]
    assert [row["start_s"] for row in rows] == [0, 10, 30]
    assert [row["unchanged"] for row in rows] == [True, False, False]
    before, after = read(dicom), read(out / "denoised")
    assert isinstance(before, PETFrames)
    assert isinstance(after, PETFrames)
    shown = after.mean()
    body = body_mask(shown.values, shown.spacing_mm)
    for n, row in enumerate(rows):
        changed = float(after[n].values.sum()) / max(float(before[n].values.sum()), 1e-9) - 1
        if not row["unchanged"]:
            assert row["relative_change"] == pytest.approx(changed, abs=1e-3)
        assert row["mean_measured"] == pytest.approx(before[n].values[body].mean(), rel=1e-3)
    page = (out / "report.html").read_text()
    assert "mean over 3 frames" in page
    assert "frame 1." in page  # it was not changed


def test_nifti_frames_come_out_as_one_file(nifti: Path, model: Path, tmp_path: Path) -> None:
    out = denoised(nifti, model, tmp_path / "out", "--samples", "2", "--steps", "2", "--quiet")
    before, after = nib.load(nifti), nib.load(out / "denoised.nii.gz")
    assert after.shape == before.shape
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(after.header["pixdim"], before.header["pixdim"])
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()
    assert json.loads((out / "denoised.json").read_text()) == {
        "Units": "SUV",
        "FrameTimesStart": [0, 10, 30],
        "FrameDuration": [10, 20, 60],
    }
    uncertainty = nib.load(out / "uncertainty.nii.gz")
    assert uncertainty.shape == before.shape
    values = uncertainty.get_fdata()
    assert (values[..., 0] == 0).all()  # the empty frame
    assert values[10, 11, 12, 1:].min() > 0


def test_dicom_frames_can_become_nifti(dicom: Path, model: Path, tmp_path: Path) -> None:
    out = denoised(dicom, model, tmp_path / "out", "--to", "nifti", "--quiet")
    scan = read(out / "denoised.nii.gz")
    assert isinstance(scan, PETFrames)
    assert [timing.start_s for timing in scan.timings] == [0, 10, 30]


def test_multi_frame_dicom_comes_out_as_single_frames(
    dicom: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slices = sorted(map(dcmread, dicom.iterdir()), key=lambda ds: int(ds.ImageIndex))
    (tmp_path / "in").mkdir()
    enhanced(slices).save_as(tmp_path / "in" / "pet.dcm", enforce_file_format=True)
    out = denoised(tmp_path / "in", model, tmp_path / "out")
    assert "single-frame PET slices" in capsys.readouterr().err
    back, before = read(out / "denoised"), read(dicom)
    assert isinstance(back, PETFrames)
    assert isinstance(before, PETFrames)
    assert back.timings == before.timings
    assert back.first.shares_voxels(before.first, 0.01)


def test_info_tells_the_frames(dicom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["info", str(dicom), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["frames"]
    assert found == {
        "kind": "dynamic",
        "count": 3,
        "start_s": [0, 10, 30],
        "duration_s": [10, 20, 60],
    }
