"""Read and write PET images: DICOM, NIfTI, NRRD, MetaImage; read the published .npz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from petdiff.errors import InputRefused, SUVRefused, UsageError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.io.bids_dataset import one_scan
from petdiff.io.derivation import Derivation
from petdiff.io.formats import (
    ITK,
    NIFTI,
    InputFormat,
    existing,
    format_of,
    is_file_suffix,
    suffix_of,
)
from petdiff.io.stored_units import REMEDY
from petdiff.suv.result import SUVResult, WithoutSUV

if TYPE_CHECKING:
    from petdiff.io.nifti import StoredNifti
    from petdiff.io.volume_source import StoredVolume

__all__ = ["Derivation", "in_suv", "read", "read_in_suv", "read_static", "read_suv", "write"]

Units = Literal["suv", "bqml"]


def read(
    path: str | Path,
    *,
    series: str | Sequence[str] | None = None,
    units: Units | None = None,
    suv_factor: float | None = None,
    recursive: bool = True,
) -> PETImage | PETFrames:
    """Read a PET scan: DICOM (folder, file, zip), NIfTI, NRRD, MetaImage or the published .npz.

    path        a folder or zip is searched through all its levels for one PET series. A single
                DICOM file is read with its series in its folder, a BIDS folder as its one PET scan
    series      SeriesInstanceUID, if there are several series; of several UIDs, the one that exists
    units       unit of the stored values; overrides the header
    suv_factor  SUV = stored value × factor; overrides the header
    recursive   False: read the DICOM files of the folder itself, without its subfolders and zips

    Without `units`, the unit of a volume file is that of the .json beside it. If that states none,
    values are SUV unless the mean of the body is above 100. If no rule gives SUV, the values are as
    stored and `in_suv` is False.

    Returns PETFrames for a dynamic or gated scan, PETImage for any other. Raises InputRefused that
    names the file, the tag and a remedy.
    """
    path = existing(path)
    path = one_scan(path) if recursive else path
    _check_options(units, suv_factor)
    file_format = format_of(path)
    if file_format == "dicom":
        from petdiff.io.dicom_read import read_dicom

        return read_dicom(path, series, units, suv_factor, recursive=recursive)
    if series is not None:
        raise UsageError(f"`series` is for DICOM; {path.name} holds one image")
    return _read_volume(path, file_format, units, suv_factor).scan()


def read_static(
    path: str | Path,
    *,
    series: str | Sequence[str] | None = None,
    units: Units | None = None,
    suv_factor: float | None = None,
    recursive: bool = True,
) -> PETImage:
    """Read a scan of one frame, as `read` does. Raises InputRefused for several frames."""
    scan = read(path, series=series, units=units, suv_factor=suv_factor, recursive=recursive)
    if isinstance(scan, PETFrames):
        raise InputRefused(
            f"{path} holds {len(scan)} {scan.kind} frames, and one volume is needed: "
            "give a single frame, or the mean over them"
        )
    return scan


def read_in_suv(
    path: str | Path,
    *,
    series: str | Sequence[str] | None = None,
    units: Units | None = None,
    suv_factor: float | None = None,
) -> PETImage:
    """Read a scan of one frame, as `read` does, in SUV. Raises SUVRefused if it has no SUV."""
    return in_suv(path, read_static(path, series=series, units=units, suv_factor=suv_factor))


def in_suv(path: str | Path, scan: PETImage) -> PETImage:
    """Return the scan that was read from `path`. Raises SUVRefused if it is not in SUV."""
    if scan.in_suv:
        return scan
    has_remedy = scan.facts.get("format") == "dicom"  # in the reason
    remedy = "" if has_remedy else f"; {REMEDY}"
    raise SUVRefused(f"{path}: SUV is needed, and {scan.no_suv_reason}{remedy}")


def read_suv(
    path: str | Path,
    *,
    series: str | Sequence[str] | None = None,
    units: Units | None = None,
    suv_factor: float | None = None,
) -> SUVResult:
    """Find the SUV factor of a scan and the rule behind it.

    DICOM pixels are not read; the values of other files are. Arguments as in `read`. Raises
    InputRefused if no rule gives SUV.
    """
    path = one_scan(existing(path))
    _check_options(units, suv_factor)
    file_format = format_of(path)
    if file_format == "dicom":
        from petdiff.io.dicom_read import read_dicom_suv

        return read_dicom_suv(path, series, units, suv_factor)
    unit = _read_volume(path, file_format, units, suv_factor).unit
    if isinstance(unit, WithoutSUV):
        raise SUVRefused(f"no SUV from {path.name}: {unit.reason}; {REMEDY}")
    return unit


def write(
    image: PETImage | PETFrames, path: str | Path, derivation: Derivation | None = None
) -> None:
    """Write a scan in the format that the suffix of `path` names; without one, a folder of DICOM.

    Volume files (.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd) hold float32 in the unit of the volume
    file that the scan was read from, and `image.values` where it was read from another format.
    Several frames become one 4-D NIfTI with their times in a .json beside it, or one DICOM series
    with the times of its source. DICOM is written as a series derived from the one that was read;
    `derivation` describes how. Raises UsageError if `path` exists, if its suffix is unknown, or for
    DICOM without a source series.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix in NIFTI:
        from petdiff.io.nifti import write_nifti

        write_nifti(image, path)
    elif suffix in ITK:
        if isinstance(image, PETFrames):
            raise UsageError(f"{path.name}: several frames are written as NIfTI or DICOM")
        from petdiff.io.itk import write_itk

        write_itk(image, path)
    elif is_file_suffix(suffix):
        known = ", ".join((*NIFTI, *ITK))
        raise UsageError(
            f"{path.name}: {suffix} cannot be written; give {known}, or a folder "
            "name without a suffix for DICOM"
        )
    else:
        from petdiff.io.dicom_write import write_series

        write_series(image, path, derivation or Derivation())


def _read_volume(
    path: Path, file_format: InputFormat, units: Units | None, suv_factor: float | None
) -> StoredVolume | StoredNifti:
    """Read a volume file and find its unit."""
    if file_format == "npz":
        from petdiff.io.npz import read_npz

        return read_npz(path, units, suv_factor)
    if file_format == "itk":
        from petdiff.io.itk import read_itk

        return read_itk(path, units, suv_factor)
    from petdiff.io.nifti import read_nifti

    return read_nifti(path, units, suv_factor)


def _check_options(units: str | None, suv_factor: float | None) -> None:
    if units not in (None, "suv", "bqml"):
        raise UsageError(f"`units` is {units!r}, not suv or bqml")
    if suv_factor is None:
        return
    if not 0 < suv_factor < float("inf"):
        raise UsageError(f"`suv_factor` is {suv_factor}, not a positive number")
    if units == "suv" and suv_factor != 1:
        raise UsageError(f"`units` suv and `suv_factor` {suv_factor:g} contradict each other")
