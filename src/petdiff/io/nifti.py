"""NIfTI volumes in and out, with affine, codes, units and missing values as they were."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from petdiff import __version__
from petdiff.errors import InputRefused, PetdiffError
from petdiff.image import PETImage
from petdiff.io.missing_values import fill_air
from petdiff.io.nifti_header import read_header
from petdiff.io.parallel_gzip import write_gzip
from petdiff.io.stored_units import suv_without_header
from petdiff.io.stored_values import read_scan_values
from petdiff.runs import whole_file

_PIECE_BYTES = 4 << 20
# Free text of a source header: it may name the patient, and it does not describe the result.
_FREE_TEXT = ("descrip", "aux_file", "intent_name", "db_name", "data_type")


@dataclass(frozen=True)
class NiftiSource:
    """What a NIfTI file is written from again.

    header  of the file that was read
    affine  in mm, as it was read
    nan     where the file held NaN; None: nowhere
    """

    header: Any = field(repr=False)
    affine: NDArray[np.float64]
    nan: NDArray[np.bool_] | None = field(default=None, repr=False)


def read_nifti(path: Path, units: str | None, suv_factor: float | None) -> PETImage:
    """Read a 3-D NIfTI-1 or -2 volume; it is SUV unless the caller says otherwise."""
    file = read_header(path)
    if len(file.stored.shape) != 3:
        raise InputRefused(
            f"{path.name} has {len(file.stored.shape)} dimensions {file.stored.shape}, and one 3-D "
            "volume is wanted: split it, or take the mean over frames"
        )
    values, damage = read_scan_values(file.stored)
    nan, missing = fill_air(path.name, values, file.affine)
    suv = suv_without_header(path.name, units, suv_factor)
    if suv.factor != 1:
        values *= np.float32(suv.factor)
    return PETImage(
        values=values,
        affine=file.affine,
        stored_per_value=1 / float(suv.factor),
        unit=suv.unit,
        facts={
            "format": "nifti",
            "suv": suv.as_dict(),
            "warnings": [*file.warnings, *damage, *missing],
        },
        source=NiftiSource(file.header, file.affine, nan),
    )


def write_nifti(image: PETImage, path: Path) -> None:
    """Write float32 NIfTI: in its own unit and header where it was NIfTI, else `image.values`.

    Voxels in which the source held NaN hold NaN again. Free text of the source's header and its
    extensions are left out. Raises PetdiffError for an image with NaN or infinite values.
    """
    if not np.isfinite(image.values).all():
        raise PetdiffError(f"{path.name} is not written: the image holds NaN or infinite values")
    source = image.source if isinstance(image.source, NiftiSource) else None
    same_grid = source is not None and np.array_equal(source.affine, image.affine)
    header = _header(image, source if same_grid else None)
    per_value = np.float32(image.stored_per_value if source else 1.0)
    nan = source.nan if source is not None and same_grid else None
    pieces = _pieces(header, image.values, per_value, nan)
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        if path.name.lower().endswith(".gz"):
            write_gzip(file, pieces)
        else:
            file.writelines(pieces)


def _header(image: PETImage, source: NiftiSource | None) -> Any:
    if source is not None:
        header = source.header.as_byteswapped("<")
        header["magic"] = header.single_magic
        for name in _FREE_TEXT:
            if name in header:
                header[name] = b""
    else:
        header = nib.Nifti1Header()
        header.set_sform(image.affine, code="scanner")
        header.set_qform(image.affine, code="scanner")
        header.set_xyzt_units("mm")
    unit = _written_unit(image)
    header["descrip"] = f"{unit}, petdiff {__version__}, for research"[:79].encode()
    header.set_data_shape(image.shape)
    header.set_data_dtype(np.float32)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    return header


def _written_unit(image: PETImage) -> str:
    """The unit of the values as they are written, for the header's text."""
    if isinstance(image.source, NiftiSource) and image.unit != "GML":
        return image.unit or "unknown unit"
    return "SUV" if image.in_suv else image.unit or "unknown unit"


def _pieces(
    header: Any,
    values: NDArray[np.float32],
    per_value: np.float32,
    nan: NDArray[np.bool_] | None,
) -> Iterator[bytes]:
    """The file's bytes: header, then the values with i fastest, a few slices at a time."""
    buffer = io.BytesIO()
    header.set_data_offset(0)  # nibabel then takes the smallest offset
    header.write_to(buffer)
    yield buffer.getvalue().ljust(header.get_data_offset(), b"\0")
    slices = max(1, _PIECE_BYTES // (4 * values.shape[0] * values.shape[1]))
    for k in range(0, values.shape[2], slices):
        piece = values[:, :, k : k + slices] * per_value
        if nan is not None:
            piece[nan[:, :, k : k + slices]] = np.nan
        yield piece.astype("<f4", copy=False).tobytes(order="F")
