"""NIfTI in and out: values, place and codes kept; files that are no scan refused."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.image import PETImage
from petdiff.io import read, read_suv, write
from petdiff.io.fast_gzip import write_gzip
from support.dicom_factory import pet_slices, save

OBLIQUE = np.array(
    [[-1.9, 0.3, 0.2, 40.0], [0.3, 2.8, -0.6, -55.0], [-0.1, 0.5, 4.9, 12.5], [0, 0, 0, 1]]
)


def values(shape: tuple[int, ...] = (5, 4, 3)) -> np.ndarray:
    return np.random.default_rng(0).normal(1, 2, shape).astype(np.float32)


def saved(path: Path, data: np.ndarray, affine: np.ndarray | None = OBLIQUE) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8, ">f4", ">i2"])
def test_values_and_place_are_nibabels(tmp_path: Path, suffix: str, dtype: Any) -> None:
    path = saved(tmp_path / f"scan{suffix}", (10 + 9 * values()).clip(0, 200).astype(dtype))
    image, oracle = read(path), nib.load(path)
    np.testing.assert_array_equal(image.suv, oracle.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(image.affine, oracle.affine)
    assert image.suv.dtype == np.float32
    assert image.suv.flags.writeable


@pytest.mark.parametrize(
    ("stated", "unit", "in_suv"),
    [("kBq/mL", "kBq/mL", False), ("Bq/mL", "BQML", False), ("SUV", "GML", True)],
)
def test_a_written_file_states_its_unit_without_a_sidecar(
    tmp_path: Path, stated: str, unit: str, in_suv: bool
) -> None:
    """Values in kBq/ml are as large as SUV, so that no reader could tell them apart."""
    (tmp_path / "scan.json").write_text(f'{{"Units": "{stated}"}}')
    write(read(saved(tmp_path / "scan.nii", values() ** 2)), tmp_path / "out.nii")
    image = read(tmp_path / "out.nii")
    assert (image.unit, image.in_suv) == (unit, in_suv)
    (tmp_path / "out.json").write_text('{"Units": "SUV"}')
    assert read(tmp_path / "out.nii").in_suv  # the sidecar comes first


def test_scaled_integers(tmp_path: Path) -> None:
    image = nib.Nifti1Image((100 * values()).astype(np.int16), OBLIQUE)
    image.header.set_slope_inter(0.01, 1.5)
    nib.save(image, tmp_path / "scan.nii")
    oracle = nib.load(tmp_path / "scan.nii").get_fdata()
    np.testing.assert_allclose(read(tmp_path / "scan.nii").suv, oracle, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_there_and_back_keeps_values_affine_and_codes(tmp_path: Path, suffix: str) -> None:
    source = nib.Nifti1Image(values(), OBLIQUE)
    source.set_sform(OBLIQUE, code="mni")
    source.set_qform(OBLIQUE @ np.diag([1, 1, 1, 1]), code="aligned", strip_shears=True)
    source.header.set_xyzt_units("mm", "sec")
    nib.save(source, tmp_path / f"in{suffix}")
    write(read(tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}")
    before, after = nib.load(tmp_path / f"in{suffix}"), nib.load(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(after.get_fdata(), before.get_fdata())
    for name in ("sform_code", "qform_code", "xyzt_units", "srow_x", "quatern_b"):
        assert np.all(after.header[name] == before.header[name]), name
    np.testing.assert_array_equal(after.header.get_zooms(), before.header.get_zooms())


def test_free_text_of_the_source_is_left_out(tmp_path: Path) -> None:
    """It may name the patient: converters put names and IDs into these fields and extensions."""
    source = nib.Nifti1Image(values(), OBLIQUE)
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        source.header[field] = b"Doe^Jane 4711"
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Doe^Jane " * 20))
    nib.save(source, tmp_path / "in.nii")
    assert (tmp_path / "in.nii").read_bytes().count(b"Doe") == 24
    write(read(tmp_path / "in.nii"), tmp_path / "out.nii")
    assert b"Doe" not in (tmp_path / "out.nii").read_bytes()


def test_written_in_the_unit_it_came_in(tmp_path: Path) -> None:
    path = saved(tmp_path / "bqml.nii.gz", 1000 * values())
    image = read(path, units="bqml", suv_factor=0.002)
    np.testing.assert_allclose(image.suv, 2 * values(), rtol=1e-6)
    assert image.unit == "BQML"
    write(image, tmp_path / "out.nii.gz")
    written = nib.load(tmp_path / "out.nii.gz").get_fdata()
    np.testing.assert_allclose(written, 1000 * values(), rtol=1e-6)


def test_bqml_needs_a_factor(tmp_path: Path) -> None:
    path = saved(tmp_path / "scan.nii", values())
    image = read(path, units="bqml")
    assert (image.in_suv, image.unit_name) == (False, "Bq/ml")
    np.testing.assert_array_equal(image.values, values())
    with pytest.raises(InputRefused, match="`suv_factor`"):
        read_suv(path, units="bqml")
    with pytest.raises(UsageError, match="contradict"):
        read(path, units="suv", suv_factor=2)
    with pytest.raises(UsageError, match="`suv_factor`"):
        read(path, suv_factor=-1)
    with pytest.raises(UsageError, match="`series` is for DICOM"):
        read(path, series="1.2")


def test_dicom_becomes_suv_on_the_same_grid(tmp_path: Path) -> None:
    image = read(save(pet_slices(), tmp_path / "dicom"))
    write(image, tmp_path / "scan.nii.gz")
    back = read(tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(back.suv, image.suv)
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-5)


def test_another_grid_gets_a_header_of_its_own(tmp_path: Path) -> None:
    image = read(saved(tmp_path / "scan.nii", values()))
    moved = PETImage(image.suv[1:], np.diag([2.0, 2, 2, 1]), source=image.source)
    write(moved, tmp_path / "moved.nii")
    written = nib.load(tmp_path / "moved.nii")
    assert written.shape == (4, 4, 3)
    np.testing.assert_array_equal(written.affine, np.diag([2.0, 2, 2, 1]))


def test_metres_are_read_as_millimetres_and_kept(tmp_path: Path) -> None:
    small = OBLIQUE.copy()
    small[:3] /= 1000
    image = nib.Nifti1Image(values(), small)
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "scan.nii")
    scan = read(tmp_path / "scan.nii")
    np.testing.assert_allclose(scan.affine, OBLIQUE, rtol=1e-6)
    write(scan, tmp_path / "out.nii")
    np.testing.assert_allclose(nib.load(tmp_path / "out.nii").affine, small, rtol=1e-6)


def test_no_codes_is_reported(tmp_path: Path) -> None:
    path = saved(tmp_path / "scan.nii", values(), affine=None)
    assert "assumed" in read(path).facts["warnings"][0]


def test_last_dimensions_of_one_are_no_dimensions(tmp_path: Path) -> None:
    path = saved(tmp_path / "scan.nii", values((5, 4, 3, 1)))
    np.testing.assert_array_equal(read(path).suv, values((5, 4, 3, 1))[..., 0])


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (values((3, 3, 3, 2, 2)), "5 dimensions"),
        (values((3, 3)), "2 dimensions"),
        (np.full((2, 2, 2), np.nan, np.float32), "NaN"),
        (np.full((2, 2, 2), np.inf, np.float32), "8 infinite"),
        (np.ones((2, 2, 2), np.complex64), "complex64"),
    ],
)
def test_what_is_no_scan_is_refused(tmp_path: Path, data: np.ndarray, named: str) -> None:
    with pytest.raises(InputRefused, match=named):
        read(saved(tmp_path / "scan.nii", data))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_truncated_file_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = saved(tmp_path / f"scan{suffix}", values((9, 9, 9)))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputRefused, match="scan"):
        read(path)


def test_flat_affine_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "scan.nii", values())
    content = bytearray(path.read_bytes())
    content[312:328] = bytes(16)  # srow_z
    path.write_bytes(content)
    with pytest.raises(InputRefused, match="affine"):
        read(path)


def test_nan_is_never_written(tmp_path: Path) -> None:
    image = read(saved(tmp_path / "scan.nii", values()))
    with pytest.raises(PetdiffError, match="NaN"):
        write(image.with_values(image.suv * np.nan), tmp_path / "out.nii")
    with pytest.raises(UsageError, match="exists"):
        write(image, tmp_path / "scan.nii")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii"]


def test_joined_pieces_are_one_gzip_file(tmp_path: Path) -> None:
    """Another inflater reads the pieces as one member, and the bytes are always the same."""
    pieces = [np.random.default_rng(n).bytes(70_000) + bytes(50_000) for n in range(40)] + [b""]
    for name in "ab":
        with (tmp_path / name).open("wb") as file:
            write_gzip(file, iter(pieces))
    packed = (tmp_path / "a").read_bytes()
    assert packed == (tmp_path / "b").read_bytes()
    assert gzip.decompress(packed) == b"".join(pieces)
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert inflater.decompress(packed) == b"".join(pieces)
    assert inflater.eof
    assert inflater.unused_data == b""
