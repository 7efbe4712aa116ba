"""Sort the slices of a dynamic or gated PET series into frames.

A series has several frames if it has several slices at every position. At each position the slices
are sorted by time. This is also correct for several beds in several passes, where the slices of one
frame have different times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from pydicom import Dataset

from petdiff.errors import InputRefused
from petdiff.frames import FrameTiming
from petdiff.io.dicom_facts import number_or_none
from petdiff.io.dicom_frame_times import (
    FrameSlice,
    acquired_s,
    correction_warnings,
    frame_timings,
)
from petdiff.io.dicom_geometry import SAME_MM, SlicePlane, require_same_grid, stack_order

_MAX_NAMED = 5  # positions or files in a message

Key = tuple[float, ...]


@dataclass(frozen=True)
class FrameOrder:
    """The frames of a series.

    frames   indices of the slices [frame][k], from the bottom of the stack to its top
    timings  of each frame, counted from the start of the first
    kind     None for a static series, which is one frame
    """

    frames: tuple[tuple[int, ...], ...]
    timings: tuple[FrameTiming, ...]
    kind: Literal["dynamic", "gated"] | None
    warnings: tuple[str, ...] = ()


def frame_order(slices: Sequence[FrameSlice]) -> FrameOrder:
    """Sort the slices of a series into frames: evenly spaced stacks at the same positions.

    Raises InputRefused that names slices and positions if repeated slices cannot be distinguished,
    if frames have different positions, or if a frame is not evenly spaced.
    """
    planes = [s.plane for s in slices]
    require_same_grid(planes)
    positions = _positions(planes)
    count = max(len(position) for position in positions)
    if count == 1:
        order = tuple(stack_order(planes))
        return FrameOrder((order,), (FrameTiming(),), None, tuple(correction_warnings(slices)))
    by, keys = _distinct_keys(slices, positions)
    if any(len(position) != count for position in positions):
        raise InputRefused(_uneven(slices, positions, by, keys))
    if not by:
        raise InputRefused(_repeated(slices, positions))
    ordered = [sorted(position, key=lambda n: keys[n]) for position in positions]
    frames = tuple(tuple(position[n] for position in ordered) for n in range(count))
    stack_order([planes[n] for n in frames[0]])
    _require_same_positions(planes, frames)
    kind = _kind(slices, by)
    members = [[slices[n] for n in frame] for frame in frames]
    warnings = [*_warnings(slices[0], count, by), *correction_warnings(slices)]
    return FrameOrder(frames, frame_timings(members), kind, tuple(warnings))


def _positions(planes: Sequence[SlicePlane]) -> list[list[int]]:
    """Return the slices of each position, from the bottom of the stack to its top."""
    order = sorted(range(len(planes)), key=lambda n: planes[n].height_mm)
    positions = [[order[0]]]
    for before, here in pairwise(order):
        if planes[here].height_mm - planes[before].height_mm < SAME_MM:
            positions[-1].append(here)
        else:
            positions.append([here])
    return positions


def _require_same_positions(planes: Sequence[SlicePlane], frames: Sequence[Sequence[int]]) -> None:
    """Raise InputRefused for a slice that lies beside that of the first frame in its plane."""
    for first, *others in zip(*frames, strict=True):
        for other in others:
            apart_mm = np.linalg.norm(planes[other].position_mm - planes[first].position_mm)
            if apart_mm > SAME_MM:
                raise InputRefused(
                    f"{planes[other].name} and {planes[first].name} are of two frames, and their "
                    f"positions at {planes[first].height_mm:.2f} mm differ by {apart_mm:.2f} mm: "
                    "resample the frames to one grid"
                )


def _distinct_keys(
    slices: Sequence[FrameSlice], positions: Sequence[Sequence[int]]
) -> tuple[str, list[Key]]:
    """Return the first attribute that differs for all slices of a position, and its values."""
    acquired = acquired_s([s.times.acquired for s in slices])
    reference = [s.times.frame_reference_s for s in slices]
    trigger = [number_or_none(s.header, "TriggerTime") for s in slices]
    candidates: list[tuple[str, list[Sequence[float | None]]]] = [
        ("AcquisitionTime (0008,0032)", [acquired]),
        ("FrameReferenceTime (0054,1300)", [reference]),
        ("TriggerTime (0018,1060)", [trigger]),
        ("AcquisitionTime (0008,0032) and TriggerTime (0018,1060)", [acquired, trigger]),
        ("FrameReferenceTime (0054,1300) and TriggerTime (0018,1060)", [reference, trigger]),
    ]
    if _declared(slices[0].header):
        # These numbers also differ between copies of one slice, so they are only used if the
        # header declares several frames.
        candidates += [
            ("ImageIndex (0054,1330)", [_numbers(slices, "ImageIndex")]),
            ("InstanceNumber (0020,0013)", [_numbers(slices, "InstanceNumber")]),
        ]
    for name, columns in candidates:
        keys = [tuple(v for v in row if v is not None) for row in zip(*columns, strict=True)]
        complete = all(len(key) == len(columns) for key in keys)
        if complete and all(len({keys[n] for n in p}) == len(p) for p in positions):
            return name, keys
    return "", []


def _numbers(slices: Sequence[FrameSlice], keyword: str) -> list[float | None]:
    return [number_or_none(s.header, keyword) for s in slices]


def _series_type(header: Dataset) -> str:
    """Return the first value of SeriesType (0054,1000): STATIC, DYNAMIC, GATED, WHOLE BODY, ""."""
    value = header.get("SeriesType") or ""
    return str(value if isinstance(value, str) else value[0]).upper()


def _declared(header: Dataset) -> bool:
    """Return whether the header declares several frames."""
    counts = ("NumberOfTimeSlices", "NumberOfTimeSlots", "NumberOfRRIntervals")
    several = any((number_or_none(header, keyword) or 1) > 1 for keyword in counts)
    return several or _series_type(header) in ("DYNAMIC", "GATED")


def _kind(slices: Sequence[FrameSlice], by: str) -> Literal["dynamic", "gated"]:
    gated = _series_type(slices[0].header) == "GATED" or by.startswith("TriggerTime")
    return "gated" if gated else "dynamic"


def _warnings(first: FrameSlice, count: int, by: str) -> list[str]:
    found = []
    declared = number_or_none(first.header, "NumberOfTimeSlices")
    if declared and declared > 1 and declared != count:
        found.append(
            f"NumberOfTimeSlices (0054,0101) is {declared:g} and {count} frames were found: "
            "the scan may be cut short"
        )
    if by.startswith(("ImageIndex", "InstanceNumber")):
        found.append(f"the frames have no different times: they are in the order of {by}")
    return found


def _repeated(slices: Sequence[FrameSlice], positions: Sequence[Sequence[int]]) -> str:
    pairs = [position[:2] for position in positions if len(position) > 1][:_MAX_NAMED]
    return (
        "slices lie twice at one position, and no AcquisitionTime, FrameReferenceTime or "
        "TriggerTime tells them apart as frames: "
        + "; ".join(
            f"{slices[a].plane.name} and {slices[b].plane.name} at "
            f"{slices[a].plane.height_mm:.2f} mm"
            for a, b in pairs
        )
    )


def _uneven(
    slices: Sequence[FrameSlice],
    positions: Sequence[Sequence[int]],
    by: str,
    keys: Sequence[Key],
) -> str:
    """Return why positions have different numbers of slices: repeated or missing slices.

    If less than half of the positions repeat, and the header declares no frames, the repeated
    slices are reported, else the missing ones.
    """
    count = max(len(position) for position in positions)
    complete = sum(len(position) == count for position in positions)
    if not by or (not _declared(slices[0].header) and 2 * complete < len(positions)):
        return _repeated(slices, positions)
    heights = [slices[position[0]].plane.height_mm for position in positions]
    present = Counter(keys)
    if len(present) == count:
        lacking = []
        for n, key in enumerate(sorted(present)):
            found = {
                p for p, position in enumerate(positions) if any(keys[m] == key for m in position)
            }
            missing = [f"{heights[p]:.2f}" for p in range(len(positions)) if p not in found]
            if missing:
                shown = ", ".join(missing[:_MAX_NAMED]) + (
                    " …" if len(missing) > _MAX_NAMED else ""
                )
                lacking.append(f"frame {n + 1} lacks {len(missing)} at {shown} mm")
        return f"slices are missing in {count} frames: " + "; ".join(lacking[:_MAX_NAMED])
    short = [
        f"{len(position)} slices at {height:.2f} mm"
        for position, height in zip(positions, heights, strict=True)
        if len(position) != count
    ]
    return f"slices are missing: {count} frames, but only " + "; ".join(short[:_MAX_NAMED])
