"""NIfTI volumes in and out, with affine, codes and units as they were."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import imageglobals
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from petdiff import __version__
from petdiff.errors import InputRefused, PetdiffError
from petdiff.image import PETImage
from petdiff.io.parallel_gzip import write_gzip
from petdiff.io.stored_units import suv_without_header
from petdiff.runs import whole_file

_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # of NIfTI's codes for space: metres, microns; else mm
_MOST_VOXELS = 1 << 31  # ten times the largest total-body scan
_PIECE_BYTES = 4 << 20


@dataclass(frozen=True)
class NiftiSource:
    """The header of the file that was read, and the affine it gave (mm)."""

    header: Any = field(repr=False)
    affine: NDArray[np.float64]


def read_nifti(path: Path, units: str | None, suv_factor: float | None) -> PETImage:
    """Read a 3-D NIfTI-1 or -2 volume; it is SUV unless the caller says otherwise."""
    try:
        file = _loaded(path)
        values = _values(path, file)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as problem:
        raise InputRefused(f"{path.name} is no sound NIfTI: truncated? ({problem})") from problem
    suv = suv_without_header(path.name, units, suv_factor)
    if suv.factor != 1:
        values *= np.float32(suv.factor)
    if not np.isfinite(values).all():
        raise InputRefused(f"{path.name} holds NaN or infinite values, which no scan has")
    affine, warnings = _affine_mm(path, file)
    return PETImage(
        values=values,
        affine=affine,
        stored_per_value=1 / float(suv.factor),
        unit=suv.unit,
        facts={"format": "nifti", "suv": suv.as_dict(), "warnings": warnings},
        source=NiftiSource(file.header, affine),
    )


def _loaded(path: Path) -> Any:
    """nibabel's image; what it puts right in odd headers it would tell stderr, a line each."""
    before, imageglobals.logger.disabled = imageglobals.logger.disabled, True
    try:
        return nib.load(path, mmap=False)
    finally:
        imageglobals.logger.disabled = before


def _values(path: Path, file: Any) -> NDArray[np.float32]:
    """The stored values as float32, without a detour over float64."""
    shape = file.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or 0 in shape:
        raise InputRefused(
            f"{path.name} has {len(file.shape)} dimensions {file.shape}, and one 3-D volume is "
            "wanted: split it, or take the mean over frames"
        )
    if int(np.prod(shape, dtype=np.int64)) > _MOST_VOXELS:
        raise InputRefused(f"{path.name} declares {shape} voxels, more than any scan has")
    if file.get_data_dtype().kind not in "iuf":
        raise InputRefused(f"{path.name} holds {file.get_data_dtype()}, not plain numbers")
    values = np.asarray(file.dataobj.get_unscaled(), dtype=np.float32).reshape(shape, order="F")
    if (file.dataobj.slope, file.dataobj.inter) != (1, 0):
        values *= np.float32(file.dataobj.slope)
        values += np.float32(file.dataobj.inter)
    return values


def _affine_mm(path: Path, file: Any) -> tuple[NDArray[np.float64], list[str]]:
    affine = np.array(file.affine, dtype=np.float64)
    affine[:3] *= _MM_PER_UNIT.get(int(file.header["xyzt_units"]) & 7, 1.0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputRefused(f"{path.name} has an affine that cannot be inverted: {affine.tolist()}")
    coded = file.header["sform_code"] > 0 or file.header["qform_code"] > 0
    warning = f"{path.name} has neither sform nor qform: its directions are assumed"
    return affine, [] if coded else [warning]


def write_nifti(image: PETImage, path: Path) -> None:
    """Write float32 NIfTI: in its own unit and header where it was NIfTI, else `image.values`."""
    if not np.isfinite(image.values).all():
        raise PetdiffError(f"{path.name} is not written: the image holds NaN or infinite values")
    header = _header(image)
    per_value = image.stored_per_value if isinstance(image.source, NiftiSource) else 1.0
    pieces = _pieces(header, image.values, np.float32(per_value))
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        if path.name.lower().endswith(".gz"):
            write_gzip(file, pieces)
        else:
            file.writelines(pieces)


def _header(image: PETImage) -> Any:
    source = image.source
    if isinstance(source, NiftiSource) and np.array_equal(source.affine, image.affine):
        header = source.header.as_byteswapped("<")
    else:
        header = nib.Nifti1Header()
        header.set_sform(image.affine, code="scanner")
        header.set_qform(image.affine, code="scanner")
        header.set_xyzt_units("mm")
        unit = "SUV" if image.in_suv else image.unit or "unknown unit"
        header["descrip"] = f"{unit}, petdiff {__version__}, for research"[:79].encode()
    header.set_data_shape(image.shape)
    header.set_data_dtype(np.float32)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    return header


def _pieces(header: Any, values: NDArray[np.float32], per_value: np.float32) -> Iterator[bytes]:
    """The file's bytes: header, then the values with i fastest, a few slices at a time."""
    buffer = io.BytesIO()
    header.set_data_offset(0)  # nibabel then finds the smallest offset behind the extensions
    header.write_to(buffer)
    yield buffer.getvalue().ljust(header.get_data_offset(), b"\0")
    slices = max(1, _PIECE_BYTES // (4 * values.shape[0] * values.shape[1]))
    for k in range(0, values.shape[2], slices):
        slab = values[:, :, k : k + slices] * per_value
        yield slab.astype("<f4", copy=False).tobytes(order="F")
