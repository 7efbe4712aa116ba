"""Label volumes: read exactly, whatever their numbers, or refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.evaluation.inputs import labelled_lesions
from petdiff.evaluation.organs import find_organs
from petdiff.io.labels import read_label_volume

AFFINE = np.diag([-2.0, 2, 3, 1])


def labels() -> np.ndarray:
    volume = np.zeros((6, 5, 4))
    volume[1:3, 1:3, 1:3] = 7
    volume[4, 4, 3] = 2**31 - 1
    return volume


def saved(path: Path, data: np.ndarray, slope: float | None = None) -> Path:
    image = nib.Nifti1Image(data, AFFINE, dtype=np.int16 if slope else None)
    if slope:
        image.header.set_slope_inter(slope, 0)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.float64, ">i4"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_numbers_beyond_float32_are_kept(tmp_path: Path, dtype: type, suffix: str) -> None:
    found = read_label_volume(saved(tmp_path / f"labels{suffix}", labels().astype(dtype)))
    np.testing.assert_array_equal(found.labels, labels())
    np.testing.assert_array_equal(found.affine, AFFINE)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64, np.uint32])
def test_numbers_above_2_to_31_are_refused(tmp_path: Path, dtype: type) -> None:
    data = labels()
    data[0, 0, 0] = 2**31
    nib.save(nib.Nifti1Image(data.astype(dtype), AFFINE, dtype=dtype), tmp_path / "labels.nii")
    with pytest.raises(InputRefused, match="2147483648"):
        read_label_volume(tmp_path / "labels.nii")


@pytest.mark.parametrize("wrong", [0.5, -1.0, np.nan, np.inf, -0.01, 1e30])
def test_values_that_are_not_labels_are_refused(tmp_path: Path, wrong: float) -> None:
    data = labels()
    data[0, 0, 0] = wrong
    with pytest.raises(InputRefused, match="not a label map"):
        read_label_volume(saved(tmp_path / "labels.nii", data))


def test_scaled_labels_are_rounded(tmp_path: Path) -> None:
    data = np.zeros((3, 3, 3), np.float32)
    data[1] = 1
    data[2] = 3
    found = read_label_volume(saved(tmp_path / "labels.nii", 3 * data, 1 / 3))
    np.testing.assert_array_equal(found.labels, data)


def test_npz_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", labels().astype(np.int64))
    np.testing.assert_array_equal(read_label_volume(tmp_path / "labels.npz").labels, labels())


def test_another_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("1")
    with pytest.raises(InputRefused, match=r"\.nii"):
        read_label_volume(tmp_path / "labels.txt")
    with pytest.raises(InputRefused, match="does not exist"):
        read_label_volume(tmp_path / "absent.nii")


def test_high_labels_cost_no_more_than_low_ones() -> None:
    """A list of regions up to the highest label would have 2147483647 entries."""
    volume = labels().astype(np.int32)
    organs = find_organs(volume, {7: "liver"})
    assert [(organ.name, int(organ.mask.sum())) for organ in organs] == [
        ("liver", 8),
        ("label 2147483647", 1),
    ]
    lesions = labelled_lesions(volume, (2.0, 2.0, 3.0))
    assert [(lesion.name, lesion.volume_ml) for lesion in lesions] == [
        ("lesion 7", pytest.approx(0.096)),
        ("lesion 2147483647", pytest.approx(0.012)),
    ]
