"""NIfTI headers: every odd but legal form is read as it is meant, every other one refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.io import read, write

AFFINE = np.array(
    [[-1.9, 0.3, 0.2, 40.0], [0.3, 2.8, -0.6, -55.0], [-0.1, 0.5, 4.9, 12.5], [0, 0, 0, 1]]
)


def values(shape: tuple[int, ...] = (5, 4, 3)) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.5, 3, shape).astype(np.float32)


def saved(path: Path, data: np.ndarray | None = None, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(values() if data is None else data, affine), path)
    return path


def patched(path: Path, **fields: Any) -> Path:
    """Overwrite fields of a single-file NIfTI-1 header, as bytes."""
    content = bytearray(path.read_bytes())
    header = np.ndarray((), nib.nifti1.header_dtype, content)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("make", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("given", [".hdr", ".img"])
def test_a_pair_is_read_from_either_file(tmp_path: Path, make: Any, given: str) -> None:
    nib.save(make(values(), AFFINE), tmp_path / "scan.img")
    image = read(tmp_path / f"scan{given}")
    np.testing.assert_array_equal(image.values, values())
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
    write(image, tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(nib.load(tmp_path / "out.nii.gz").get_fdata(), values())


@pytest.mark.parametrize("given", [".hdr", ".img"])
def test_half_a_pair_is_refused(tmp_path: Path, given: str) -> None:
    nib.save(nib.Nifti1Pair(values(), AFFINE), tmp_path / "scan.img")
    (tmp_path / ("scan.hdr" if given == ".img" else "scan.img")).unlink()
    with pytest.raises(InputRefused, match="not beside it" if given == ".hdr" else "DICOM"):
        read(tmp_path / f"scan{given}")


@pytest.mark.parametrize("given", [".hdr", ".img"])
def test_analyze_is_refused_with_advice(tmp_path: Path, given: str) -> None:
    nib.save(nib.AnalyzeImage(values(), np.diag([2, 2, 2, 1])), tmp_path / "scan.img")
    with pytest.raises(InputRefused, match=r"Analyze 7\.5.*convert"):
        read(tmp_path / f"scan{given}")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_2_and_other_byte_order(tmp_path: Path, suffix: str) -> None:
    image = nib.Nifti2Image(values().astype(">f4"), AFFINE)
    nib.save(image, tmp_path / f"scan{suffix}")
    np.testing.assert_array_equal(read(tmp_path / f"scan{suffix}").values, values())
    header = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Image(values().astype(">i2"), AFFINE, header), tmp_path / f"big{suffix}")
    np.testing.assert_array_equal(read(tmp_path / f"big{suffix}").values, np.trunc(values()))


STRAIGHT = np.array([[-2.0, 0, 0, 40], [0, 3, 0, -55], [0, 0, 4, 12], [0, 0, 0, 1]])


def shifted(mm: float) -> np.ndarray:
    return STRAIGHT + np.array([[0, 0, 0, mm], *np.zeros((3, 4))])


@pytest.mark.parametrize(
    ("qform", "code", "told"),
    [
        (shifted(0.5), 1, None),  # less than half a voxel
        (shifted(30), 1, "lie up to 15 voxels apart"),
        (shifted(30), 4, None),  # another space
        (np.diag([-1, 1, 1, 1]) @ STRAIGHT, 1, "are mirror images"),
        (np.diag([-1, 1, 1, 1]) @ STRAIGHT, 4, "are mirror images"),
    ],
)
def test_a_qform_that_contradicts_the_sform_is_told(
    tmp_path: Path, qform: np.ndarray, code: int, told: str | None
) -> None:
    stored = nib.Nifti1Image(values(), STRAIGHT)
    stored.set_sform(STRAIGHT, 1)
    stored.set_qform(qform, code)
    nib.save(stored, tmp_path / "scan.nii")
    image = read(tmp_path / "scan.nii")
    np.testing.assert_array_equal(image.affine, STRAIGHT)
    warnings = [one for one in image.facts.get("warnings", ()) if "qform" in one]
    assert len(warnings) == (told is not None)
    assert all(told in one for one in warnings if told)


def test_a_qform_that_is_no_rotation_is_ignored_beside_an_sform(tmp_path: Path) -> None:
    path = patched(saved(tmp_path / "scan.nii", affine=STRAIGHT), qform_code=1, quatern_b=3)
    np.testing.assert_array_equal(read(path).affine, STRAIGHT)


@pytest.mark.parametrize("module", ["nifti_header.open_inflated", "stored_values._open_gzip"])
def test_a_file_without_permission_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    path = saved(tmp_path / "scan.nii.gz")

    def refuse(file: object, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(f"petdiff.io.{module}", refuse)
    with pytest.raises(InputRefused, match=r"^scan\.nii\.gz cannot be read: Permission denied$"):
        read(path)


def test_gzip_is_known_by_its_bytes_not_its_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "scan.nii")
    plain = path.read_bytes()
    (tmp_path / "packed.nii").write_bytes(gzip.compress(plain))
    (tmp_path / "plain.nii.gz").write_bytes(plain)
    for name in ("packed.nii", "plain.nii.gz"):
        np.testing.assert_array_equal(read(tmp_path / name).values, values())


@pytest.mark.parametrize(
    ("slope", "intercept", "expected", "warned"),
    [
        (0.5, 1.0, 6.0, False),
        (0.0, 0.0, 10.0, False),
        (np.nan, np.nan, 10.0, False),
        (0.0, 3.0, 10.0, True),
        (np.inf, 0.0, 10.0, True),
    ],
)
def test_slopes(
    tmp_path: Path, slope: float, intercept: float, expected: float, warned: bool
) -> None:
    data = np.full((3, 3, 3), 10, np.int16)
    path = patched(saved(tmp_path / "scan.nii", data), scl_slope=slope, scl_inter=intercept)
    image = read(path)
    assert np.all(image.values == expected)
    assert any("scl_slope" in warning for warning in image.facts["warnings"]) == warned


def test_an_intercept_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = patched(saved(tmp_path / "scan.nii"), scl_slope=1, scl_inter=np.nan)
    with pytest.raises(InputRefused, match="scl_inter"):
        read(path)


@pytest.mark.parametrize("offset", [np.inf, -np.inf, np.nan, 0.0, -352.0, 1e30, 1e9])
def test_impossible_offsets_are_refused(tmp_path: Path, offset: float) -> None:
    with pytest.raises(InputRefused, match=r"offset|truncated|damaged"):
        read(patched(saved(tmp_path / "scan.nii"), vox_offset=offset))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_sform_that_is_no_number_leaves_the_qform(tmp_path: Path, value: float) -> None:
    image = nib.Nifti1Image(values(), np.diag([-2.0, 2.0, 3.0, 1.0]))
    image.set_qform(np.diag([-2.0, 2.0, 3.0, 1.0]), code=1)
    nib.save(image, tmp_path / "scan.nii")
    path = patched(tmp_path / "scan.nii", srow_y=[value, 0, 0, 0])
    found = read(path)
    np.testing.assert_array_equal(found.affine, np.diag([-2.0, 2.0, 3.0, 1.0]))
    assert any("its qform is used" in warning for warning in found.facts["warnings"])
    with pytest.raises(InputRefused, match="NaN or infinite"):
        read(patched(path, qform_code=0))
    with pytest.raises(InputRefused, match="scan"):
        read(patched(path, qform_code=1, quatern_b=value))


def test_voxel_sizes_that_contradict_each_other_are_reported(tmp_path: Path) -> None:
    path = patched(saved(tmp_path / "scan.nii"), pixdim=[1, 4, 4, 4, 0, 0, 0, 0])
    assert any("pixdim" in warning for warning in read(path).facts["warnings"])
    sound = saved(tmp_path / "sound.nii", affine=np.diag([-2.0, 3, 5, 1]))
    assert not read(sound).facts["warnings"]


def test_more_values_than_declared_are_reported(tmp_path: Path) -> None:
    for suffix in (".nii", ".nii.gz"):
        path = saved(tmp_path / f"scan{suffix}", values((5, 4, 6)))
        content = path.read_bytes() if suffix == ".nii" else gzip.decompress(path.read_bytes())
        content = content[:46] + struct.pack("<h", 3) + content[48:]  # dim[3]: 6 → 3
        path.write_bytes(content if suffix == ".nii" else gzip.compress(content))
        image = read(path)
        np.testing.assert_array_equal(image.values, values((5, 4, 6))[:, :, :3])
        assert any("more values" in warning for warning in image.facts["warnings"])


def test_damage_within_gzip_is_noticed(tmp_path: Path) -> None:
    """A flipped byte of a checksum: the values are all there, and not to be trusted."""
    path = saved(tmp_path / "scan.nii.gz", values((9, 9, 9)))
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputRefused, match="damaged"):
        read(path)
