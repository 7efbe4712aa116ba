"""4-D NIfTI: frames, their times from the sidecar or the header, and the same form out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from petdiff.errors import InputRefused, UsageError
from petdiff.frames import FrameTiming, PETFrames
from petdiff.io import read, write
from support.dicom_factory import dynamic_slices, save

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 3, 0, -5], [0, 0, 4, 7], [0, 0, 0, 1]])
STARTS, DURATIONS = [0.0, 10.0, 40.0], [10.0, 30.0, 60.0]


def values(shape: tuple[int, ...] = (4, 5, 6, 3)) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def saved(
    path: Path, data: np.ndarray, *, units: tuple[str, str] = ("mm", "sec"), step: float = 0.0,
    sidecar: Any = None,
) -> Path:  # fmt: skip
    image = nib.Nifti1Image(data, AFFINE)
    image.header.set_xyzt_units(*units)
    image.header["pixdim"][4:6] = step
    image.header["descrip"] = b"Patient^Marked"
    nib.save(image, path)
    if sidecar is not None:
        path.with_name("scan.json").write_text(
            sidecar if isinstance(sidecar, str) else json.dumps(sidecar)
        )
    return path


def frames_of(path: Path) -> PETFrames:
    scan = read(path)
    assert isinstance(scan, PETFrames)
    return scan


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (4, 5, 6, 1, 3), (4, 5, 6, 3, 1)])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_frames_are_nibabels_and_come_back_in_the_same_form(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    data = values(shape)
    source = saved(tmp_path / name, data, step=2.5)
    scan = frames_of(source)
    for n, frame in enumerate(scan):
        np.testing.assert_array_equal(frame.values, data.reshape(4, 5, 6, 3)[..., n])
        np.testing.assert_allclose(frame.affine, AFFINE)
    write(scan, tmp_path / "out.nii.gz")
    before, after = nib.load(source), nib.load(tmp_path / "out.nii.gz")
    # nibabel itself drops a last dimension of one on its way to the disk or back.
    assert after.shape == before.shape
    np.testing.assert_array_equal(after.get_fdata(), before.get_fdata())
    np.testing.assert_array_equal(after.header["pixdim"], before.header["pixdim"])
    assert after.header.get_xyzt_units() == ("mm", "sec")
    assert b"Marked" not in after.header.binaryblock


def test_times_are_those_of_the_sidecar(tmp_path: Path) -> None:
    sidecar = {"FrameTimesStart": STARTS, "FrameDuration": DURATIONS}
    scan = frames_of(saved(tmp_path / "scan.nii.gz", values(), step=10.0, sidecar=sidecar))
    assert scan.timings == tuple(map(FrameTiming, STARTS, DURATIONS))
    assert scan.facts["frame_times"] == "scan.json"
    assert scan.facts["warnings"] == []
    write(scan, tmp_path / "out.nii.gz")
    assert json.loads((tmp_path / "out.json").read_text()) == {"Units": "SUV", **sidecar}
    assert frames_of(tmp_path / "out.nii.gz").timings == scan.timings


@pytest.mark.parametrize(("unit", "step"), [("sec", 2.5), ("msec", 2500.0), ("usec", 2.5e6)])
def test_without_a_sidecar_the_header_spaces_the_frames(
    tmp_path: Path, unit: str, step: float
) -> None:
    scan = frames_of(saved(tmp_path / "scan.nii", values(), units=("mm", unit), step=step))
    assert [timing.start_s for timing in scan.timings] == pytest.approx([0, 2.5, 5])
    assert scan.facts["frame_times"] == "pixdim"
    assert any("every 2.5 s" in warning for warning in scan.facts["warnings"])


def test_unknown_times_give_a_warning(tmp_path: Path) -> None:
    scan = frames_of(saved(tmp_path / "scan.nii", values(), units=("mm", "unknown"), step=1.0))
    assert scan.timings == (FrameTiming(),) * 3
    assert any("times of its 3 frames" in warning for warning in scan.facts["warnings"])
    write(scan, tmp_path / "out.nii")
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("sidecar", "named"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deep"),
        ("[1]", "is not a JSON object"),
        ({"FrameTimesStart": [0, 1]}, "FrameTimesStart does not hold one number for each of 3"),
        ({"FrameDuration": [1, "2", 3]}, "FrameDuration does not hold"),
        ({"FrameDuration": 10}, "FrameDuration does not hold"),
        ('{"FrameDuration": [1, 2, NaN]}', "FrameDuration does not hold"),
        ({"FrameDuration": None}, "FrameDuration does not hold"),
    ],
)
def test_a_damaged_sidecar_is_a_warning(tmp_path: Path, sidecar: Any, named: str) -> None:
    scan = frames_of(saved(tmp_path / "scan.nii", values(), step=10.0, sidecar=sidecar))
    assert any(named in warning for warning in scan.facts["warnings"])
    assert scan.timings[2] == FrameTiming(20, 10)


def test_nan_in_the_air_of_frames_comes_back(tmp_path: Path) -> None:
    data = np.zeros((12, 12, 10, 3), np.float32)
    data[3:9, 3:9, :, :] = 1 + values((6, 6, 10, 3))
    data[0, :, :, 1:] = np.nan
    scan = frames_of(saved(tmp_path / "scan.nii", data))
    assert all(np.isfinite(frame.values).all() for frame in scan)
    told = [warning for warning in scan.facts["warnings"] if "NaN" in warning]
    assert "frame 2" in told[0]
    assert told[1] == "scan.nii holds NaN in 1 more frame"
    write(scan, tmp_path / "out.nii")
    np.testing.assert_array_equal(nib.load(tmp_path / "out.nii").get_fdata(), data)


def test_a_small_file_that_declares_many_frames_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "scan.nii", values())
    content = bytearray(path.read_bytes())
    content[48:50] = (30_000).to_bytes(2, "little")  # dim[4]
    path.write_bytes(content)
    with pytest.raises(InputRefused, match="truncated"):
        read(path)


def test_dicom_frames_become_one_file_with_their_times(tmp_path: Path) -> None:
    scan = read(save(dynamic_slices(), tmp_path / "source"))
    assert isinstance(scan, PETFrames)
    write(scan, tmp_path / "out.nii.gz")
    back = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(
        back.get_fdata(dtype=np.float32), np.stack([frame.values for frame in scan], axis=-1)
    )
    assert back.header.get_xyzt_units() == ("mm", "sec")
    again = frames_of(tmp_path / "out.nii.gz")
    assert [timing.start_s for timing in again.timings] == [0, 10, 30]
    assert [timing.duration_s for timing in again.timings] == [10, 20, 60]


def test_a_single_frame_is_a_3d_file(tmp_path: Path) -> None:
    scan = frames_of(saved(tmp_path / "scan.nii", values(), step=2.0))
    write(scan[1], tmp_path / "out.nii")
    assert nib.load(tmp_path / "out.nii").shape == (4, 5, 6)


def test_an_existing_sidecar_is_not_overwritten(tmp_path: Path) -> None:
    sidecar = {"FrameTimesStart": STARTS, "FrameDuration": DURATIONS}
    scan = frames_of(saved(tmp_path / "scan.nii.gz", values(), sidecar=sidecar))
    (tmp_path / "out.json").write_text("{}")
    with pytest.raises(UsageError, match=r"out\.json exists"):
        write(scan, tmp_path / "out.nii.gz")
    assert not (tmp_path / "out.nii.gz").exists()
