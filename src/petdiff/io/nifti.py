"""Read and write NIfTI volumes; affine, codes, units and missing values are preserved."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from petdiff import __version__
from petdiff.errors import InputRefused, PetdiffError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.io.fast_gzip import write_gzip
from petdiff.io.missing_values import fill_air
from petdiff.io.nifti_frames import even_step_s, frame_timings, timing_keys
from petdiff.io.nifti_header import NiftiFile, read_header
from petdiff.io.sidecar import Sidecar, bids_unit, read_sidecar, sidecar_of
from petdiff.io.stored_units import UnitEvidence, find_unit
from petdiff.io.stored_values import read_scan_values
from petdiff.io.volume_source import VolumeSource, missing, stored_factor, stored_unit
from petdiff.runs import whole_file, write_json
from petdiff.suv.result import SUVResult, WithoutSUV
from petdiff.units import counted

_PIECE_BYTES = 4 << 20
# Free text of a source header: it may name the patient, and it does not describe the result.
_FREE_TEXT = ("descrip", "aux_file", "intent_name", "db_name", "data_type")
# The unit in `descrip` as `_header` writes it, if it is not SUV, which a file is taken to hold.
_OWN_DESCRIPTION = re.compile(r"(?!SUV,)(.+?), petdiff ")


@dataclass(frozen=True, kw_only=True)
class NiftiSource(VolumeSource):
    """The source data of a NIfTI file: also its header."""

    header: Any = field(repr=False)


@dataclass(frozen=True, eq=False)
class StoredNifti:
    """A file's values as stored [i, j, k] or [i, j, k, frame], with 0 in place of NaN in air.

    nan      mask of NaN of each frame; None: no NaN
    unit     the unit of the values, and the factor to SUV if any
    sidecar  None if there is none
    """

    path: Path
    file: NiftiFile
    values: NDArray[np.float32]
    nan: list[NDArray[np.bool_] | None]
    unit: SUVResult | WithoutSUV
    sidecar: Sidecar | None
    warnings: list[str]

    def scan(self) -> PETImage | PETFrames:
        """Return the image or the frames. If there is a factor to SUV, values change in place."""
        unit, header, affine = self.unit, self.file.header, self.file.affine
        volumes = _volumes(self.values)
        factors = np.broadcast_to(unit.factor if isinstance(unit, SUVResult) else 1.0, len(volumes))
        if (factors != 1).any():
            by_frame = factors if self.values.ndim == 4 else factors[0]
            self.values[...] *= np.asarray(by_frame, dtype=np.float32)
        facts: dict[str, Any] = {
            "format": "nifti", "suv": unit.as_dict(), "warnings": self.warnings,
        }  # fmt: skip
        frames = tuple(
            PETImage(
                values=volume,
                affine=affine,
                stored_per_value=1 / float(factor),
                unit=unit.unit,
                in_suv=isinstance(unit, SUVResult),
                facts=facts,
                source=NiftiSource(header=header, affine=affine, nan=absent),
            )
            for volume, absent, factor in zip(volumes, self.nan, factors, strict=True)
        )
        if self.values.ndim == 3:
            return frames[0]
        timings, more, warnings = frame_timings(self.path, header, len(frames), self.sidecar)
        facts |= more
        facts["warnings"] += warnings
        gated = all(timing.trigger_s is not None for timing in timings)
        return PETFrames(frames, timings, "gated" if gated else "dynamic", facts)


def read_nifti(path: Path, units: str | None, suv_factor: float | None) -> StoredNifti:
    """Read a 3-D or 4-D NIfTI-1 or -2 file.

    Its unit is that of the caller, or of the .json beside it, or SUV unless the values are far too
    large.
    """
    file = read_header(path)
    shape = file.stored.shape
    if len(shape) > 4:
        raise InputRefused(
            f"{path.name} has {len(shape)} dimensions {shape}, and a volume or a scan of frames "
            "has three or four: split it"
        )
    values, damage = read_scan_values(file.stored)
    nan, absent = _fill_air(path.name, _volumes(values), file.affine)
    sidecar, ignored = read_sidecar(path)
    if sidecar is None and (written := _OWN_DESCRIPTION.match(_description(file.header))):
        sidecar = Sidecar(path.name, {"Units": written[1]})
    frames = 1 if values.ndim == 3 else values.shape[3]
    evidence = UnitEvidence(path.name, units, suv_factor, sidecar, frames)
    mean = values if values.ndim == 3 else values.mean(axis=3)
    unit = find_unit(evidence, mean, file.affine)
    warnings = [*file.warnings, *damage, *absent, *ignored]
    return StoredNifti(path, file, values, nan, unit, sidecar, warnings)


def _description(header: Any) -> str:
    return bytes(header["descrip"]).decode("utf-8", errors="replace")


def _volumes(values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the frames as views; a 3-D file has one."""
    return [values] if values.ndim == 3 else [values[..., n] for n in range(values.shape[3])]


def _fill_air(
    name: str, volumes: Sequence[NDArray[np.float32]], affine: NDArray[np.float64]
) -> tuple[list[NDArray[np.bool_] | None], list[str]]:
    """Set NaN in the air of each volume to 0, in place; returns masks of NaN, and warnings."""
    if len(volumes) == 1:
        nan, warnings = fill_air(name, volumes[0], affine)
        return [nan], warnings
    filled = [
        fill_air(f"{name}, frame {n + 1},", volume, affine) for n, volume in enumerate(volumes)
    ]
    messages = [warning for _, warnings in filled for warning in warnings]
    more = (
        [f"{name} holds NaN in {counted(len(messages) - 1, 'more frame')}"] if messages[1:] else []
    )
    return [nan for nan, _ in filled], [*messages[:1], *more]


def write_nifti(scan: PETImage | PETFrames, path: Path) -> None:
    """Write float32 NIfTI: in the unit and with the header of a NIfTI source, or `scan.values`.

    Frames are written as one 4-D file, with their times in a BIDS sidecar (.json). NaN of the
    source are restored. Free text of the source's header and its extensions are left out. Raises
    PetdiffError for an image with NaN or infinite values.
    """
    frames = scan.frames if isinstance(scan, PETFrames) else (scan,)
    if not all(np.isfinite(frame.values).all() for frame in frames):
        raise PetdiffError(f"{path.name} is not written: the image holds NaN or infinite values")
    pieces = chain([_header_bytes(scan)], *(_pieces(frame) for frame in frames))
    times = timing_keys(scan.timings) if isinstance(scan, PETFrames) else {}
    unit = bids_unit(stored_unit(frames[0]))
    with whole_file(path) as unfinished:
        with unfinished.open("wb") as file:
            if path.name.lower().endswith(".gz"):
                write_gzip(file, pieces)
            else:
                file.writelines(pieces)
        if times:
            with whole_file(sidecar_of(path)) as sidecar:
                write_json(sidecar, {"Units": unit, **times})


def _own_source(image: PETImage) -> NiftiSource | None:
    """Return the NIfTI source of an image, if the image is still on its grid."""
    source = image.source
    same = isinstance(source, NiftiSource) and np.array_equal(source.affine, image.affine)
    return source if same else None


def _header_bytes(scan: PETImage | PETFrames) -> bytes:
    """Return the header of a file, padded to the offset of the values."""
    if isinstance(scan, PETFrames):
        header = _header(scan.first)
        _set_frames(header, scan)
    else:
        header = _header(scan)
    buffer = io.BytesIO()
    header.set_data_offset(0)  # nibabel then takes the smallest offset
    header.write_to(buffer)
    return buffer.getvalue().ljust(header.get_data_offset(), b"\0")


def _set_frames(header: Any, scan: PETFrames) -> None:
    """Set a header's shape to that of all frames; the frame distance as in the source, if any."""
    shape = (*scan.first.shape, len(scan))
    source = _own_source(scan.first)
    if source is None:
        header.set_data_shape(shape)
        header.set_xyzt_units("mm", "sec")
        header["pixdim"][4] = even_step_s(scan.timings) or 0  # 0: not the same for all frames
        return
    stored = tuple(int(n) for n in source.header.get_data_shape())
    header.set_data_shape(stored if prod(stored) == prod(shape) else shape)
    header["pixdim"][4:] = source.header["pixdim"][4:]


def _header(image: PETImage) -> Any:
    source = _own_source(image)
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
    unit = stored_unit(image)
    header["descrip"] = f"{unit}, petdiff {__version__}, for research"[:79].encode()
    header.set_data_shape(image.shape)
    header.set_data_dtype(np.float32)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    return header


def _pieces(image: PETImage) -> Iterator[bytes]:
    """Yield the bytes of an image's values, i fastest, a few slices at a time."""
    nan, values, factor = missing(image), image.values, np.float32(stored_factor(image))
    slices = max(1, _PIECE_BYTES // (4 * values.shape[0] * values.shape[1]))
    for k in range(0, values.shape[2], slices):
        piece = values[:, :, k : k + slices] * factor
        if nan is not None:
            piece[nan[:, :, k : k + slices]] = np.nan
        yield piece.astype("<f4", copy=False).tobytes(order="F")
