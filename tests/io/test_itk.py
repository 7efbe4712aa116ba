"""NRRD and MetaImage: the same volume as NIfTI, in and out, or refused."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.image import PETImage
from petdiff.io import read, read_suv, write
from petdiff.io.labels import read_label_volume

sitk = pytest.importorskip("SimpleITK", reason="the extra `formats` is not installed")

SUFFIXES = [".nrrd", ".nhdr", ".mha", ".mhd"]
# Rotated about two axes, with flips, so that no two axes can be mixed up unnoticed.
C, S = np.cos(0.3), np.sin(0.3)
TURN = np.array([[C, -S, 0], [S, C, 0], [0, 0, 1.0]]) @ np.array([[1, 0, 0], [0, C, -S], [0, S, C]])
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN @ np.diag([-1.9, 2.8, 4.9])
AFFINE[:3, 3] = 40, -55, 12.5


def values(shape: tuple[int, ...] = (5, 4, 3)) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.5, 3, shape).astype(np.float32)


def converted(folder: Path, suffix: str, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """A NIfTI by nibabel, turned into another form by SimpleITK."""
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, code=1)
    nib.save(image, folder / "oracle.nii")
    path = folder / f"scan{suffix}"
    sitk.WriteImage(sitk.ReadImage(str(folder / "oracle.nii")), str(path))
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
def test_values_and_place_are_nibabels(tmp_path: Path, suffix: str, dtype: type) -> None:
    data = (10 * values()).astype(dtype)
    image = read(converted(tmp_path, suffix, data))
    np.testing.assert_array_equal(image.values, data.astype(np.float32))
    np.testing.assert_allclose(image.affine, AFFINE, atol=2e-5)
    assert image.values.flags.writeable
    assert image.facts["format"] == suffix[1:]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_written_files_lie_where_simpleitk_finds_them(tmp_path: Path, suffix: str) -> None:
    write(PETImage(values(), AFFINE), tmp_path / f"out{suffix}")
    back = read(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(back.values, values())
    np.testing.assert_allclose(back.affine, AFFINE, atol=1e-5)
    oracle = sitk.ReadImage(str(tmp_path / f"out{suffix}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(oracle), values().transpose(2, 1, 0))
    right, anterior, superior = (AFFINE @ [4, 3, 2, 1])[:3]
    place = oracle.TransformIndexToPhysicalPoint((4, 3, 2))
    np.testing.assert_allclose(place, (-right, -anterior, superior), atol=1e-5)  # ITK: LPS
    names = {".nhdr": ["out.nhdr", "out.raw.gz"], ".mhd": ["out.mhd", "out.zraw"]}
    assert sorted(p.name for p in tmp_path.iterdir()) == names.get(suffix, [f"out{suffix}"])


@pytest.mark.parametrize("space", ["right-anterior-superior", "left-posterior-superior", "RAS"])
def test_nrrd_in_any_space(tmp_path: Path, space: str) -> None:
    sign = -1 if space.startswith("left") else 1
    header = (
        f"NRRD0004\ntype: float\ndimension: 3\nspace: {space}\nsizes: 5 4 3\n"
        f"space directions: ({2 * sign},0,0) (0,{3 * sign},0) (0,0,4)\n"
        f"endian: little\nencoding: raw\nspace origin: ({7 * sign},{8 * sign},9)\n\n"
    )
    data = values().tobytes(order="F")
    (tmp_path / "scan.nrrd").write_bytes(header.encode() + data)
    image = read(tmp_path / "scan.nrrd")
    np.testing.assert_array_equal(image.values, values())
    expected = np.array([[2, 0, 0, 7], [0, 3, 0, 8], [0, 0, 4, 9], [0, 0, 0, 1]])
    np.testing.assert_allclose(image.affine, expected)
    assert image.facts["warnings"] == []


def test_directions_that_are_not_stated_are_reported(tmp_path: Path) -> None:
    header = (
        "NRRD0004\ntype: float\ndimension: 3\nsizes: 5 4 3\nspacings: 2 3 4\n"
        "endian: little\nencoding: raw\n\n"
    )
    (tmp_path / "scan.nrrd").write_bytes(header.encode() + values().tobytes(order="F"))
    image = read(tmp_path / "scan.nrrd")
    assert image.spacing_mm == (2, 3, 4)
    assert any("does not say its directions" in warning for warning in image.facts["warnings"])


@pytest.mark.parametrize(
    "geometry",
    [
        "space dimension: 3\nspace directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (1,2,3)\n",
        "spacings: 2 3 4\naxis mins: 10 20 30\n",
        "spacings: 2 3 4\naxis mins: 10 20 30\ncenters: node node node\n",
        "spacings: 2 3 4\naxis mins: 10 20 30\naxis maxs: 20 32 42\ncenterings: cell cell cell\n",
    ],
)
def test_places_without_a_named_space_are_those_of_simpleitk(tmp_path: Path, geometry: str) -> None:
    header = (
        f"NRRD0004\ntype: float\ndimension: 3\nsizes: 5 4 3\n{geometry}"
        "endian: little\nencoding: raw\n\n"
    )
    path = tmp_path / "scan.nrrd"
    path.write_bytes(header.encode() + values().tobytes(order="F"))
    oracle = sitk.ReadImage(str(path))
    affine = read(path).affine
    for index in ((0, 0, 0), (4, 0, 0), (0, 3, 0), (0, 0, 2)):
        left, posterior, superior = oracle.TransformIndexToPhysicalPoint(index)
        assert (affine @ [*index, 1])[:3] == pytest.approx((-left, -posterior, superior))


def test_unit_nan_and_form_come_back(tmp_path: Path) -> None:
    data = np.full((9, 9, 6), 4000, np.float32) * np.random.default_rng(0).uniform(0.9, 1.1)
    data[0] = np.nan
    path = tmp_path / "scan.nrrd"  # by SimpleITK from memory: its NIfTI reader turns NaN to 0
    sitk.WriteImage(sitk.GetImageFromArray(data.transpose(2, 1, 0)), str(path))
    (tmp_path / "scan.json").write_text('{"Units": "Bq/mL"}')
    image = read(path)
    assert (image.in_suv, image.unit) == (False, "BQML")
    assert read(path, suv_factor=0.5).suv.max() == pytest.approx(np.nanmax(data) / 2)
    for name in ("out.mha", "out.nii.gz", "out.nrrd"):
        write(read(path, suv_factor=0.5), tmp_path / name)
        again = read(tmp_path / name)
        np.testing.assert_array_equal(again.values, np.nan_to_num(data))
        assert any("NaN in 54 voxels" in warning for warning in again.facts["warnings"])
    assert read(tmp_path / "out.nrrd").unit == "BQML"  # stated in the file itself
    assert read(tmp_path / "out.mha").unit == "BQML"


@pytest.mark.parametrize("unit", ["kBq/mL", "unknown unit"])
def test_a_factor_to_suv_leaves_the_unit_of_the_values_as_stated(tmp_path: Path, unit: str) -> None:
    """The values are written as they are stored, in kBq/ml or in what nothing states."""
    stated = {} if unit == "unknown unit" else {"Units": unit}
    (tmp_path / "scan.json").write_text(json.dumps(stated))
    sitk.WriteImage(sitk.GetImageFromArray(values((9, 9, 6))), str(tmp_path / "scan.nrrd"))
    scan = read(tmp_path / "scan.nrrd", suv_factor=0.5)
    assert isinstance(scan, PETImage)
    write(scan, tmp_path / "out.nrrd")
    written = sitk.ReadImage(str(tmp_path / "out.nrrd"))
    assert written.GetMetaData("Units") == unit
    np.testing.assert_allclose(sitk.GetArrayFromImage(written), values((9, 9, 6)), rtol=1e-6)


def test_nothing_of_the_sources_text_is_copied(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(values((4, 4, 4)))
    image.SetMetaData("PatientName", "Doe^Jane")
    for suffix in (".nrrd", ".mha"):
        sitk.WriteImage(image, str(tmp_path / f"in{suffix}"))
        assert b"Doe" in (tmp_path / f"in{suffix}").read_bytes()
        write(read(tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}")
        assert b"Doe" not in (tmp_path / f"out{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_label_maps(tmp_path: Path, suffix: str) -> None:
    data = np.zeros((5, 4, 3), np.int32)
    data[1, 2, 1], data[4, 3, 2] = 7, 2**31 - 1
    found = read_label_volume(converted(tmp_path, suffix, data))
    np.testing.assert_array_equal(found.labels, data)
    np.testing.assert_allclose(found.affine, AFFINE, atol=2e-5)
    with pytest.raises(InputRefused, match="not a label map"):
        read_label_volume(converted(tmp_path, suffix, values()))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = converted(tmp_path, suffix, values((9, 9, 9)))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    if suffix in (".nrrd", ".mha") or kept < 0.2:  # the rest of a detached header is free text
        with pytest.raises(InputRefused, match="scan"):
            read(path)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_small_file_that_declares_gigabytes(tmp_path: Path, suffix: str, packed: bool) -> None:
    if suffix == ".nrrd":
        header = (
            "NRRD0004\ntype: float\ndimension: 3\nspace: RAS\nsizes: 1290 1290 1290\n"
            "space directions: (2,0,0) (0,2,0) (0,0,2)\nendian: little\n"
            f"encoding: {'gzip' if packed else 'raw'}\nspace origin: (0,0,0)\n\n"
        )
    else:
        header = (
            f"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = {packed}\n"
            "ElementSpacing = 2 2 2\nDimSize = 1290 1290 1290\nElementType = MET_FLOAT\n"
            "ElementDataFile = LOCAL\n"
        )
    (tmp_path / f"scan{suffix}").write_bytes(header.encode() + gzip.compress(bytes(1000)))
    with pytest.raises(InputRefused, match="declares"):
        read(tmp_path / f"scan{suffix}")


@pytest.mark.parametrize("name", ["/etc/passwd", "../scan.raw", "LIST", "slice%03d.raw", "absent"])
@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_values_elsewhere_are_refused(tmp_path: Path, name: str, suffix: str) -> None:
    path = converted(tmp_path, suffix, values())
    text = path.read_text()
    for line in text.splitlines():
        if "data file" in line or "ElementDataFile" in line:
            path.write_text(text.replace(line, line.replace(line.split()[-1], name)))
    with pytest.raises(InputRefused, match=r"beside it|several files"):
        read(path)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3, 2)])
def test_other_dimensions_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.zeros(shape[::-1], np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=False), str(tmp_path / "scan.nrrd"))
    with pytest.raises(InputRefused, match="dimensions"):
        read(tmp_path / "scan.nrrd")
    vector = sitk.GetImageFromArray(np.zeros((3, 4, 5, 2), np.float32), isVector=True)
    sitk.WriteImage(vector, str(tmp_path / "vector.mha"))
    with pytest.raises(InputRefused, match="several values per voxel"):
        read(tmp_path / "vector.mha")


def test_what_is_none_of_both_is_refused(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"scan{suffix}"
        for content in (b"", b"hello", bytes(1000), json.dumps({"a": 1}).encode()):
            path.write_bytes(content)
            with pytest.raises(InputRefused, match="scan"):
                read(path)


def test_long_lines_do_not_reach_simpleitk(tmp_path: Path) -> None:
    """They crash its NRRD reader; free text may be as long as it likes."""
    path = converted(tmp_path, ".nrrd", values())
    content = path.read_bytes()
    free = content.replace(b"type: float", b"type: float\nnote:=" + b"x" * 100_000)
    path.write_bytes(free)
    np.testing.assert_array_equal(read(path).values, values())
    for field in (b"kinds: ", b"space origin: ", b"space: ", b"space directions: ", b"type: "):
        path.write_bytes(content.replace(field, field + b"1" * 5000))
        with pytest.raises(InputRefused, match=r"scan\.nrrd"):
            read(path)


@pytest.mark.parametrize("encoding", ["gzip", "gz", "bzip2", "bz2", "raw"])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_nrrd_encodings_and_byte_orders(tmp_path: Path, encoding: str, endian: str) -> None:
    header = (
        f"NRRD0005\ntype: short\ndimension: 3\nspace: RAS\nsizes: 5 4 3\nendian: {endian}\n"
        f"space directions: (2,0,0) (0,3,0) (0,0,4)\nencoding: {encoding}\n"
        "space origin: (0,0,0)\n\n"
    )
    data = (10 * values()).astype("<i2" if endian == "little" else ">i2")
    pack = {"raw": bytes, "gz": gzip.compress, "gzip": gzip.compress}.get(encoding, bz2.compress)
    (tmp_path / "scan.nrrd").write_bytes(header.encode() + pack(data.tobytes(order="F")))
    np.testing.assert_array_equal(read(tmp_path / "scan.nrrd").values, data)
    if not encoding.startswith("b"):  # SimpleITK is built without bzip2
        oracle = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "scan.nrrd")))
        np.testing.assert_array_equal(oracle.transpose(2, 1, 0), data)


def test_values_at_the_end_of_a_detached_file(tmp_path: Path) -> None:
    """`byte skip: -1` and `HeaderSize = -1`: whatever stands before the values is not looked at."""
    (tmp_path / "scan.raw").write_bytes(b"some header" + values().tobytes(order="F"))
    (tmp_path / "scan.nhdr").write_text(
        "NRRD0004\ntype: float\ndimension: 3\nspace: RAS\nsizes: 5 4 3\nendian: little\n"
        "space directions: (2,0,0) (0,3,0) (0,0,4)\nencoding: raw\nbyte skip: -1\n"
        "space origin: (0,0,0)\ndata file: scan.raw\n"
    )
    (tmp_path / "scan.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\nElementSpacing = 2 3 4\n"
        "HeaderSize = -1\nElementType = MET_FLOAT\nElementDataFile = scan.raw\n"
    )
    for name in ("scan.nhdr", "scan.mhd"):
        np.testing.assert_array_equal(read(tmp_path / name).values, values())


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    image = PETImage(values(), AFFINE)
    write(image, tmp_path / "a.nhdr")
    (tmp_path / "a.nhdr").unlink()
    with pytest.raises(UsageError, match=r"a\.raw\.gz exists"):
        write(image, tmp_path / "a.nhdr")
    assert [path.name for path in tmp_path.iterdir()] == ["a.raw.gz"]
    with pytest.raises(PetdiffError, match="NaN"):
        write(image.with_values(image.values * np.nan), tmp_path / "b.nrrd")


@pytest.mark.parametrize("name", ["x.png", "x.nii.bz2", "x.npz", "x.hdr", "x.dcm", "x.img.gz"])
def test_unknown_suffixes_are_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.nii\.gz, \.nrrd, \.nhdr, \.mha, \.mhd"):
        write(PETImage(values(), AFFINE), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_without_simpleitk_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: Any = converted(tmp_path, ".nrrd", values())
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    with pytest.raises(UsageError, match=r"petdiff\[formats\]"):
        read_suv(path)
