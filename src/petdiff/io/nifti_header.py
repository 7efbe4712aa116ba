"""Read NIfTI-1 and -2 headers of single files and of .hdr/.img pairs.

The header is parsed from the first bytes of the file. Its declared sizes are compared with the file
before they are used (petdiff.io.stored_values).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import imageglobals
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from petdiff.errors import InputRefused
from petdiff.image import by_axis, spacing_of
from petdiff.io.formats import NIFTI_PAIR, stem_of, suffix_of
from petdiff.io.geometry import affine_in_mm
from petdiff.io.stored_values import DAMAGED, StoredValues, open_inflated, require_readable

_UNITS = {1: "metres", 2: "millimetres", 3: "micrometres"}  # of xyzt_units, its lowest three bits
_HEADER_BYTES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}  # by sizeof_hdr
_MAX_HEADER_BYTES = 16 << 20  # with extensions, which may hold a DICOM header
_SIZE_TOLERANCE = 0.01  # relative; larger differences of voxel sizes give a warning


@dataclass(frozen=True)
class NiftiFile:
    """A parsed header.

    header      of nibabel, without extensions
    extensions  their bytes
    stored      position and type of the values
    affine      voxel index → mm, RAS+
    """

    header: Any
    extensions: bytes
    stored: StoredValues
    affine: NDArray[np.float64]
    warnings: list[str]


def read_header(path: Path) -> NiftiFile:
    """Read a header; the values are not read.

    Raises InputRefused for Analyze 7.5, for a pair with a missing file, and for a header that is
    damaged or has no volume of numbers.
    """
    header_path, values_path = _files(path)
    try:
        with open_inflated(header_path) as file:
            header = _parsed(path, file.read(540))
            offset = _offset(path, header, pair=header_path != values_path)
            end = offset if header_path == values_path else _MAX_HEADER_BYTES
            file.seek(header.sizeof_hdr + 4)
            extensions = file.read(max(end - header.sizeof_hdr - 4, 0))
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype = header.get_data_dtype()
        if dtype.kind not in "iuf":
            raise InputRefused(f"{path.name} holds {dtype}, not plain numbers")
        slope, intercept, warnings = _scaling(path, header)
        affine, more = _affine(path, header)
    except (HeaderDataError, OverflowError, *DAMAGED) as problem:
        require_readable(path.name, problem)
        raise InputRefused(
            f"{path.name} has a damaged NIfTI header ({problem}): get the file again"
        ) from problem
    shape = shape[:3] + tuple(n for n in shape[3:] if n != 1)
    if len(shape) < 3 or min(shape) < 1:
        raise InputRefused(
            f"{path.name} has {len(shape)} dimensions {shape}, and a 3-D volume is wanted"
        )
    stored = StoredValues(values_path, path.name, offset, shape, dtype, slope, intercept)
    return NiftiFile(header, extensions, stored, affine, [*warnings, *more])


def _files(path: Path) -> tuple[Path, Path]:
    """Return the files with the header and with the values: the same, or a .hdr/.img pair."""
    if suffix_of(path) not in NIFTI_PAIR:
        return path, path
    stem = stem_of(path)
    found = {}
    for kind in (".hdr", ".img"):
        names = [f"{stem}{s}" for k in (kind, kind.upper()) for s in (k, f"{k}.gz")]
        found[kind] = next((p for n in names if (p := path.with_name(n)).is_file()), None)
    header, values = found[".hdr"], found[".img"]
    if header is None or values is None:
        absent = ".hdr" if header is None else ".img"
        raise InputRefused(f"{path.name} is half of a pair: {stem}{absent} is not beside it")
    return header, values


def _parsed(path: Path, content: bytes) -> Any:
    """Return nibabel's header, with nibabel's repairs."""
    little = int.from_bytes(content[:4], "little")
    size = little if little in _HEADER_BYTES else int.from_bytes(content[:4], "big")
    if size not in _HEADER_BYTES or len(content) < size:
        raise InputRefused(f"{path.name} is not NIfTI: it does not begin with a NIfTI header")
    magic = content[344:347] if size == 348 else content[4:7]
    if magic not in (b"n+1", b"ni1", b"n+2", b"ni2"):
        raise InputRefused(
            f"{path.name} is Analyze 7.5, which does not say where left and right are, nor how to "
            "scale its values: convert the DICOM source to NIfTI (dcm2niix), or the pair with a "
            "program that knows its directions, and check left and right"
        )
    before, imageglobals.logger.disabled = imageglobals.logger.disabled, True
    try:
        header_class: Any = _HEADER_BYTES[size]
        return header_class(content[:size], check=True)
    finally:
        imageglobals.logger.disabled = before


def _offset(path: Path, header: Any, *, pair: bool) -> int:
    offset = float(header["vox_offset"])
    minimum = 0 if pair else header.sizeof_hdr + 4
    if not minimum <= offset <= (np.inf if pair else _MAX_HEADER_BYTES) or not np.isfinite(offset):
        raise InputRefused(
            f"{path.name} has a damaged NIfTI header: vox_offset, where the values begin, is "
            f"{offset:g}"
        )
    return int(offset)


def _scaling(path: Path, header: Any) -> tuple[float, float, list[str]]:
    """Return slope and intercept; a slope of 0 or NaN means none (NIfTI-1, scl_slope)."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isfinite(slope) and slope != 0:
        if not np.isfinite(intercept):
            raise InputRefused(f"{path.name}: scl_inter is {intercept:g}, and scl_slope {slope:g}")
        return slope, intercept, []
    odd = np.isinf(slope) or (np.isfinite(intercept) and intercept != 0)
    warning = f"{path.name}: scl_slope is {slope:g}, so values are taken without scaling"
    return 1.0, 0.0, [warning] if odd else []


def _affine(path: Path, header: Any) -> tuple[NDArray[np.float64], list[str]]:
    unit = _UNITS.get(int(header["xyzt_units"]) & 7)
    with np.errstate(all="ignore"):  # headers with extreme numbers, which are refused
        raw, warnings = _stored_affine(path, header)
    affine, more = affine_in_mm(path.name, raw, unit)
    return affine, [*warnings, *more]


def _stored_affine(path: Path, header: Any) -> tuple[NDArray[np.float64], list[str]]:
    """Return the sform, or the qform, or the affine of the voxel sizes without directions."""
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    if sform_code > 0:
        sform = np.array(header.get_sform(), dtype=np.float64)
        if np.isfinite(sform).all():
            return sform, _size_warning(path, header, sform) or _form_warning(path, header, sform)
        if qform_code <= 0:
            return sform, []
        warning = f"{path.name} has an sform with NaN or infinite values: its qform is used"
        return np.array(header.get_qform(), dtype=np.float64), [warning]
    if qform_code > 0:
        return np.array(header.get_qform(), dtype=np.float64), []
    warning = f"{path.name} has neither sform nor qform: its directions are assumed"
    return np.array(header.get_base_affine(), dtype=np.float64), [warning]


def _size_warning(path: Path, header: Any, sform: NDArray[np.float64]) -> list[str]:
    """Return a warning if the sform and pixdim have different voxel sizes."""
    sizes = spacing_of(sform)
    stated = np.abs(np.array(header["pixdim"][1:4], dtype=np.float64))
    if np.allclose(sizes, stated, rtol=_SIZE_TOLERANCE) or not stated.all():
        return []
    first, second = (by_axis(s) for s in (sizes, stated))
    return [f"{path.name}: voxels are {first} by its sform, which is used, and {second} by pixdim"]


def _form_warning(path: Path, header: Any, sform: NDArray[np.float64]) -> list[str]:
    """Return a warning if the qform mirrors the sform, or lies elsewhere under the same code.

    Under different codes the two describe different spaces, such as a scanner's and an atlas's.
    """
    qform = _usable_qform(header)
    if qform is None:
        return []
    which = f"{path.name}: the sform, which is used, and the qform"
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        return [f"{which} are mirror images: compare left and right with the scan's source"]
    corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array(header.get_data_shape()[:3]) - 1)
    apart = np.linalg.norm(corners @ (sform - qform)[:3, :3].T + (sform - qform)[:3, 3], axis=1)
    voxels = apart.max() / min(spacing_of(sform))
    one_space = int(header["sform_code"]) == int(header["qform_code"])
    if not one_space or voxels <= 0.5:
        return []
    return [f"{which} lie up to {voxels:.3g} voxels apart: other programs may use the qform"]


def _usable_qform(header: Any) -> NDArray[np.float64] | None:
    try:
        qform = np.array(header.get_qform(), dtype=np.float64)
    except ValueError:  # no rotation
        return None
    return qform if int(header["qform_code"]) > 0 and np.isfinite(qform).all() else None
