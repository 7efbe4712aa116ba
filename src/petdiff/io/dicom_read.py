"""Read a PET series of DICOM files as a PETImage or as PETFrames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from petdiff.errors import InputRefused, SUVRefused
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.io.dicom_enhanced import MULTI_FRAME_PET, classic_headers, complete_series
from petdiff.io.dicom_facts import acquisition_facts, header_fields
from petdiff.io.dicom_file import DicomFile, refusing
from petdiff.io.dicom_frame_times import FrameSlice
from petdiff.io.dicom_frames import FrameOrder, frame_order
from petdiff.io.dicom_geometry import plane_of, stack_affine, stack_warnings
from petdiff.io.dicom_pixels import PixelReader
from petdiff.io.dicom_search import Series
from petdiff.io.dicom_series import SeriesUID, pet_series
from petdiff.suv.header import SliceHeader
from petdiff.suv.result import SUVResult, WithoutSUV, given_factor, stored_as_suv
from petdiff.suv.rules import suv_from_headers

_HARMLESS_BYTES = 900 << 20  # of voxels: the largest total-body scan has 850 MB
_MAX_RATIO = 16  # of float32 voxels to files: PET compresses to 1/2 … 1/8 of 16 bits


@dataclass(frozen=True)
class DicomSource:
    """The headers of the source of a derived series, without pixels, one per slice k."""

    headers: tuple[Dataset, ...] = field(repr=False)
    # Number of the slice in a multi-frame file, from 1; None in a single-frame file.
    frame_numbers: tuple[int | None, ...]


@dataclass(frozen=True)
class _Slice(FrameSlice):
    file: DicomFile
    frame: int | None = None  # index within a multi-frame file


@dataclass(frozen=True)
class _Scan:
    """A series' slices [frame][k], each frame from the bottom of the stack to its top."""

    stacks: tuple[tuple[_Slice, ...], ...]
    order: FrameOrder

    @property
    def slices(self) -> list[_Slice]:
        return [s for stack in self.stacks for s in stack]


def read_dicom(
    path: Path,
    series_uid: SeriesUID,
    units: str | None,
    suv_factor: float | None,
    *,
    recursive: bool = True,
) -> PETImage | PETFrames:
    """Read the one PET series of a folder, zip or file; arguments as in petdiff.io.read.

    All frames of a series are corrected to one time and have one factor to SUV.
    """
    with pet_series(path, series_uid, recursive=recursive) as series:
        scan = _scan_of(series)
        suv = _suv_or_none(scan.slices, units, suv_factor)
        _require_plausible_size(scan.slices)
        facts = _facts(scan, suv)
        facts["warnings"] += series.warnings
        factor = suv.factor if isinstance(suv, SUVResult) else 1.0
        factors = np.broadcast_to(np.asarray(factor, dtype=np.float64), len(scan.slices))
        by_frame = factors.reshape(len(scan.stacks), -1)
        reader = PixelReader()
        affine = stack_affine([s.plane for s in scan.stacks[0]])
        frames = [
            _image(stack, affine, suv, factors_k, facts, reader)
            for stack, factors_k in zip(scan.stacks, by_frame, strict=True)
        ]
    if reader.padded:
        facts["warnings"].append(
            f"{reader.padded} pixels are no part of the image, by PixelPaddingValue (0028,0120): "
            "taken as air (0)"
        )
    if scan.order.kind is None:
        return frames[0]
    return PETFrames(tuple(frames), scan.order.timings, scan.order.kind, facts)


def read_dicom_suv(
    path: Path, series_uid: SeriesUID, units: str | None, suv_factor: float | None
) -> SUVResult:
    """Find the SUV factor without reading pixels. Raises SUVRefused if there is none."""
    with pet_series(path, series_uid) as series:
        scan = _scan_of(series)
        suv = _suv(scan.slices, units, suv_factor)
        return replace(suv, warnings=(*suv.warnings, *scan.order.warnings, *series.warnings))


def _scan_of(series: Series) -> _Scan:
    slices = []
    for file in series.files:
        for name, header, frame in _slice_headers(file):
            times = SliceHeader.from_fields(header_fields(header), name)
            slices.append(_Slice(header, plane_of(name, header), times, file, frame))
    order = frame_order(slices)
    scan = _Scan(tuple(tuple(slices[n] for n in frame) for frame in order.frames), order)
    if any(s.frame is not None for s in slices):
        complete_series([[s.header for s in stack] for stack in scan.stacks], order.kind)
    return scan


def _slice_headers(file: DicomFile) -> list[tuple[str, Dataset, int | None]]:
    """Return name, header and frame index of each slice of a file."""
    name = file.entry.name
    if file.dataset.get("SOPClassUID") not in MULTI_FRAME_PET:
        return [(name, file.dataset, None)]
    with refusing(f"{name}: its functional groups cannot be read"):
        headers = classic_headers(name, file.dataset)
    return [(f"{name}, frame {n + 1}", header, n) for n, header in enumerate(headers)]


def _facts(scan: _Scan, suv: SUVResult | WithoutSUV) -> dict[str, Any]:
    stack = scan.stacks[0]
    facts = {"suv": suv.as_dict(), **acquisition_facts([s.header for s in stack])}
    if (intercept := stack[0].times.rescale_intercept) != 0:
        facts["warnings"].append(f"RescaleIntercept (0028,1052) is {intercept:g} on every slice")
    facts["warnings"] += [*stack_warnings([s.plane for s in stack]), *scan.order.warnings]
    facts["multi_frame"] = stack[0].frame is not None
    if scan.order.kind is not None:
        facts["frame_duration_s"] = None
    return facts


def _image(
    stack: Sequence[_Slice],
    affine: NDArray[np.float64],
    suv: SUVResult | WithoutSUV,
    factors: NDArray[np.float64],
    facts: dict[str, Any],
    reader: PixelReader,
) -> PETImage:
    """Read one frame; factors [k] to SUV, or 1 without SUV."""
    same = bool((factors == factors[0]).all())
    return PETImage(
        values=_volume(stack, factors, reader),
        affine=affine,
        stored_per_value=1 / float(factors[0]) if same else 1 / factors,
        unit=suv.unit,
        in_suv=isinstance(suv, SUVResult),
        facts=facts,
        source=DicomSource(
            tuple(s.header for s in stack),
            tuple(None if s.frame is None else s.frame + 1 for s in stack),
        ),
    )


def _suv_or_none(
    stack: Sequence[_Slice], units: str | None, suv_factor: float | None
) -> SUVResult | WithoutSUV:
    """Find the factor to SUV, or why there is none; raises SUVRefused if the caller needs SUV."""
    try:
        return _suv(stack, units, suv_factor)
    except SUVRefused as problem:
        if suv_factor is not None or units == "suv":
            raise
        return WithoutSUV("BQML" if units == "bqml" else stack[0].times.units, str(problem))


def _suv(stack: Sequence[_Slice], units: str | None, suv_factor: float | None) -> SUVResult:
    """Find the factor from the caller's options or the headers. Requires attenuation correction."""
    headers = [s.times for s in stack]
    _require_one_scale(headers)
    for header in headers:
        if header.corrections is not None and "ATTN" not in header.corrections:
            raise SUVRefused(
                f"{header.name} is not attenuation corrected: CorrectedImage (0028,0051) is "
                f"{', '.join(header.corrections)}; give the series that is"
            )
    stored = headers[0].units
    if units == "suv":
        return stored_as_suv(stored or "GML")
    if suv_factor is not None and (stored or units):
        return given_factor(stored or "BQML", suv_factor)
    if units == "bqml":
        headers = [replace(header, units="BQML") for header in headers]
    return suv_from_headers(headers)


def _require_one_scale(headers: Sequence[SliceHeader]) -> None:
    """Raise InputRefused if slices differ in units or intercept, or have a negative slope."""
    first = headers[0]
    for header in headers:
        slope = header.rescale_slope
        if slope is not None and slope < 0:
            raise InputRefused(f"{header.name}: RescaleSlope (0028,1053) is {slope:g}, below 0")
        if header.rescale_intercept != first.rescale_intercept:
            raise InputRefused(
                f"{header.name}: RescaleIntercept (0028,1052) is {header.rescale_intercept:g}, but "
                f"{first.rescale_intercept:g} in {first.name}: one of them is damaged, get it again"
            )
        if header.units != first.units:
            raise InputRefused(
                f"{header.name}: Units (0054,1001) is {header.units or 'absent'}, but "
                f"{first.units or 'absent'} in {first.name}: truncated, or not one volume"
            )


def _volume(
    stack: Sequence[_Slice], factors: NDArray[np.float64], reader: PixelReader
) -> NDArray[np.float32]:
    """Read the values, stored × factor, as [i, j, k] = [column, row, slice]."""
    plane = stack[0].plane
    # Slices are contiguous in memory; the returned view has them as its last axis.
    volume = np.empty((len(stack), plane.rows, plane.columns), dtype=np.float32)
    for k, s in enumerate(stack):
        values = reader.values(s.file, s.header, s.frame) * factors[k]
        if not np.abs(values).max() <= np.finfo(np.float32).max:
            raise InputRefused(f"{s.plane.name} holds values beyond what float32 can hold")
        volume[k] = values
    return volume.transpose(2, 1, 0)


def _require_plausible_size(slices: Sequence[_Slice]) -> None:
    """Raise InputRefused if headers declare far more voxels than their files can contain."""
    files = {id(s.file): s.file for s in slices}.values()
    plane, on_disk = slices[0].plane, sum(file.entry.size for file in files)
    needed = 4 * len(slices) * plane.rows * plane.columns
    if needed > _HARMLESS_BYTES + _MAX_RATIO * on_disk:
        raise InputRefused(
            f"{plane.name}: Rows × Columns is {plane.rows} × {plane.columns}, and the "
            f"{len(slices)} slices together have {on_disk} bytes: a damaged header?"
        )
