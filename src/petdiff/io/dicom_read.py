"""A PET series of DICOM files as a PETImage, or as PETFrames, each slice by its own slope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array

from petdiff.errors import InputRefused, SUVRefused
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.io.dicom_facts import acquisition_facts, header_fields
from petdiff.io.dicom_frames import FrameOrder, FrameSlice, frame_order
from petdiff.io.dicom_geometry import plane_of, stack_affine, stack_warnings
from petdiff.io.dicom_series import Series, pet_series, read_dataset
from petdiff.io.entries import Entry
from petdiff.suv.header import SliceHeader
from petdiff.suv.rules import (
    SUVResult,
    WithoutSUV,
    given_factor,
    stored_as_suv,
    suv_from_headers,
)

# Decoders that the extra `dicom` installs; others exist only under licences that we do not ship.
_BY_EXTRA = ("JPEG 2000", "JPEG-LS", "RLE", "High-Throughput")


@dataclass(frozen=True)
class DicomSource:
    """The headers that a derived series starts from, without pixels, one per slice k."""

    headers: tuple[Dataset, ...] = field(repr=False)


@dataclass(frozen=True)
class _Slice(FrameSlice):
    entry: Entry


@dataclass(frozen=True)
class _Scan:
    """A series' slices [frame][k], each frame from the bottom of the stack to its top."""

    stacks: tuple[tuple[_Slice, ...], ...]
    order: FrameOrder

    @property
    def slices(self) -> list[_Slice]:
        return [s for stack in self.stacks for s in stack]


def read_dicom(
    path: Path, series_uid: str | None, units: str | None, suv_factor: float | None
) -> PETImage | PETFrames:
    """Read the one PET series of a folder, zip or file; arguments as in petdiff.io.read.

    All frames of a series are corrected to one time and have one factor to SUV.
    """
    with pet_series(path, series_uid) as series:
        scan = _scan_of(series)
        suv = _suv_or_none(scan.slices, units, suv_factor)
        facts = _facts(scan, suv)
        factor = suv.factor if isinstance(suv, SUVResult) else 1.0
        factors = np.broadcast_to(np.asarray(factor, dtype=np.float64), len(scan.slices))
        by_frame = factors.reshape(len(scan.stacks), -1)
        frames = [
            _image(stack, suv, factors_k, facts)
            for stack, factors_k in zip(scan.stacks, by_frame, strict=True)
        ]
    if scan.order.kind is None:
        return frames[0]
    return PETFrames(tuple(frames), scan.order.timings, scan.order.kind, facts)


def read_dicom_suv(
    path: Path, series_uid: str | None, units: str | None, suv_factor: float | None
) -> SUVResult:
    """Find the SUV factor alone, without reading pixels. Raises SUVRefused where there is none."""
    with pet_series(path, series_uid) as series:
        return _suv(_scan_of(series).slices, units, suv_factor)


def _scan_of(series: Series) -> _Scan:
    slices = []
    for entry, header in series.files:
        _require_readable(entry, header)
        times = SliceHeader.from_fields(header_fields(header), entry.name)
        slices.append(_Slice(header, plane_of(entry.name, header), times, entry))
    order = frame_order(slices)
    return _Scan(tuple(tuple(slices[n] for n in frame) for frame in order.frames), order)


def _facts(scan: _Scan, suv: SUVResult | WithoutSUV) -> dict[str, Any]:
    stack = scan.stacks[0]
    facts = {"suv": suv.as_dict(), **acquisition_facts([s.header for s in stack])}
    if (intercept := stack[0].times.rescale_intercept) != 0:
        facts["warnings"].append(f"RescaleIntercept (0028,1052) is {intercept:g} on every slice")
    facts["warnings"] += [*stack_warnings([s.plane for s in stack]), *scan.order.warnings]
    if scan.order.kind is not None:
        facts["frame_duration_s"] = None
    return facts


def _image(
    stack: Sequence[_Slice],
    suv: SUVResult | WithoutSUV,
    factors: NDArray[np.float64],
    facts: dict[str, Any],
) -> PETImage:
    """Read one frame; factors [k] to SUV, or 1 where there is none."""
    same = bool((factors == factors[0]).all())
    return PETImage(
        values=_volume(stack, factors),
        affine=stack_affine([s.plane for s in stack]),
        stored_per_value=1 / float(factors[0]) if same else 1 / factors,
        unit=suv.unit,
        in_suv=isinstance(suv, SUVResult),
        facts=facts,
        source=DicomSource(tuple(s.header for s in stack)),
    )


def _require_readable(entry: Entry, header: Dataset) -> None:
    """Decode every element now: pydicom does so on first use, which would be minutes later."""
    try:
        for _ in header.iterall():
            pass
    except Exception as problem:  # pydicom raises a dozen kinds
        raise InputRefused(f"{entry.name} has a damaged header: {problem}") from problem


def _suv_or_none(
    stack: Sequence[_Slice], units: str | None, suv_factor: float | None
) -> SUVResult | WithoutSUV:
    """Find the factor to SUV, or why there is none; raises where the caller asks for SUV."""
    try:
        return _suv(stack, units, suv_factor)
    except SUVRefused as problem:
        if suv_factor is not None or units == "suv":
            raise
        return WithoutSUV("BQML" if units == "bqml" else stack[0].times.units, str(problem))


def _suv(stack: Sequence[_Slice], units: str | None, suv_factor: float | None) -> SUVResult:
    """Find the factor by the caller's word, or else by the headers; never without ATTN."""
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
    """Refuse a series whose slices do not all turn stored numbers into values the same way."""
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


def _volume(stack: Sequence[_Slice], factors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Read the values, stored × factor, as [i, j, k] = [column, row, slice]."""
    plane = stack[0].plane
    # Slices are filled one after the other in memory, and the view has them as its last axis.
    volume = np.empty((len(stack), plane.rows, plane.columns), dtype=np.float32)
    for k, s in enumerate(stack):
        volume[k] = _stored_values(s.entry) * factors[k]
        if not np.isfinite(volume[k]).all():
            raise InputRefused(f"{s.entry.name} holds NaN or infinite values, which no scan has")
    return volume.transpose(2, 1, 0)


def _stored_values(entry: Entry) -> NDArray[np.float64]:
    """Read a slice's values in its stored unit, float64 [row, column]."""
    dataset = read_dataset(entry)
    if dataset is None or "PixelData" not in dataset:
        raise InputRefused(f"{entry.name} has no PixelData (7FE0,0010): truncated?")
    if not str(dataset.get("PhotometricInterpretation")).startswith("MONOCHROME"):
        raise InputRefused(f"{entry.name}: PhotometricInterpretation (0028,0004) is not MONOCHROME")
    scale: dict[str, float] = {}
    for keyword, otherwise in (("RescaleSlope", None), ("RescaleIntercept", 0.0)):
        value = dataset.get(keyword, otherwise)
        try:
            scale[keyword] = float(value)
        except (TypeError, ValueError):
            raise InputRefused(f"{entry.name}: {keyword} is {value!r}, not a number") from None
    pixels = _pixels(entry, dataset)
    if scale["RescaleSlope"] == 0 and pixels.any():
        raise InputRefused(f"{entry.name}: RescaleSlope (0028,1053) is 0, so its values are lost")
    return pixels * scale["RescaleSlope"] + scale["RescaleIntercept"]


def _pixels(entry: Entry, dataset: Dataset) -> NDArray[Any]:
    try:
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed and not get_decoder(syntax).is_available:
            remedy = (
                "pip install 'petdiff[dicom]'"
                if syntax.name.startswith(_BY_EXTRA)
                else "unpack the files with dcmtk's dcmdjpeg or gdcmconv --raw"
            )
            raise InputRefused(f"{entry.name} is compressed by {syntax.name} (0002,0010): {remedy}")
        return pixel_array(dataset)
    except InputRefused:
        raise
    except Exception as problem:  # each decoder raises its own kinds
        raise InputRefused(
            f"{entry.name}: PixelData (7FE0,0010) cannot be decoded, truncated? ({problem})"
        ) from problem
