"""NaN: air where a masking tool wrote it around the body, refused where it hides the body."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.io import read, write


def phantom() -> np.ndarray:
    """A noisy body of SUV 1, cut above and below by the field of view, in air [30, 30, 12]."""
    x, y = np.meshgrid(np.arange(30) - 14.5, np.arange(30) - 14.5, indexing="ij")
    body = np.repeat(((x / 12) ** 2 + (y / 8) ** 2 <= 1)[:, :, None], 12, axis=2)
    noise = np.random.default_rng(0).normal(1, 0.3, body.shape).clip(0.1)
    return np.where(body, noise, 0).astype(np.float32)


def saved(path: Path, data: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(data, np.diag([4.0, 4, 4, 1])), path)
    return path


def test_nan_outside_is_air_and_comes_back(tmp_path: Path) -> None:
    data = phantom()
    outside = data == 0
    masked = np.where(outside, np.nan, data).astype(np.float32)
    image = read(saved(tmp_path / "scan.nii.gz", masked))
    np.testing.assert_array_equal(image.values, data)
    assert [f"NaN in {outside.sum()} voxels" in w for w in image.facts["warnings"]] == [True]
    write(image.with_values(2 * image.values), tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(nib.load(tmp_path / "out.nii.gz").get_fdata(), 2 * masked)


def test_nan_in_noisy_air_and_in_whole_end_planes(tmp_path: Path) -> None:
    """Air has specks of noise between the NaN, and a rotation left planes empty at one end."""
    data = phantom()
    noise = np.random.default_rng(1).random(data.shape)
    data[(data == 0) & (noise < 0.1)] = 0.05
    data[data == 0] = np.nan
    data[:, :, -2:] = np.nan
    image = read(saved(tmp_path / "scan.nii", data))
    assert np.isfinite(image.values).all()


def test_nan_in_the_body_is_refused_with_its_number(tmp_path: Path) -> None:
    data = phantom()
    data[data == 0] = np.nan
    data[14:16, 14, 5] = np.nan
    with pytest.raises(InputRefused, match=r"2 of them within the body.*\(14, 14, 5\).*fslmaths"):
        read(saved(tmp_path / "scan.nii", data))


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)], ids=["ijk", "ikj", "kij"])
def test_a_column_of_nan_through_the_body_is_refused(
    tmp_path: Path, order: tuple[int, int, int]
) -> None:
    """It reaches the first and the last axial plane, where the body goes on."""
    data = phantom()
    data[14, 14, :] = np.nan
    affine = np.diag([4.0, 4, 4, 1])[:, [*order, 3]]
    nib.save(nib.Nifti1Image(data.transpose(order), affine), tmp_path / "scan.nii")
    with pytest.raises(InputRefused, match="12 of them within the body"):
        read(tmp_path / "scan.nii")


def test_infinite_values_and_nothing_but_nan_are_refused(tmp_path: Path) -> None:
    data = phantom()
    data[0, 0, 0] = np.inf
    with pytest.raises(InputRefused, match="holds 1 infinite value, the first"):
        read(saved(tmp_path / "scan.nii", data))
    with pytest.raises(InputRefused, match="nothing but NaN"):
        read(saved(tmp_path / "empty.nii", np.full((4, 4, 4), np.nan, np.float32)))
    with pytest.raises(InputRefused, match="infinite"):  # beyond float32
        read(saved(tmp_path / "large.nii", np.full((4, 4, 4), 1e300)))


def test_npz_with_nan_around_the_body(tmp_path: Path) -> None:
    data = phantom()
    np.savez(tmp_path / "scan.npz", np.where(data == 0, np.nan, data))
    np.testing.assert_array_equal(read(tmp_path / "scan.npz").values, data)
