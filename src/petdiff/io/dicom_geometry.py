"""The geometry of DICOM slices: their order, and the affine from voxel to millimetres.

The position along the stack is ImagePositionPatient projected on the slices' normal (DICOM PS3.3
C.7.6.2.1.1). File names, InstanceNumber and SliceLocation are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from petdiff.errors import InputRefused
from petdiff.io.dicom_facts import number_or_none
from petdiff.io.geometry import LPS_TO_RAS, require_possible, shear_warnings
from petdiff.suv.header import parse_number, text_values

SAME_MM = 0.01  # planes that differ by less are at the same position
# Share of the step by which a slice may deviate: positions are often rounded to 0.1 mm.
_MAX_SPACING_DEVIATION = 0.05


@dataclass(frozen=True)
class SlicePlane:
    """The plane of one slice, in DICOM's patient coordinates (LPS, mm)."""

    name: str
    position_mm: NDArray[np.float64]  # centre of the first pixel
    along_row: NDArray[np.float64]  # direction in which the column index grows
    along_column: NDArray[np.float64]
    row_spacing_mm: float  # between rows
    column_spacing_mm: float
    rows: int
    columns: int
    thickness_mm: float | None = None

    @property
    def normal(self) -> NDArray[np.float64]:
        """The direction in which slices are stacked."""
        return np.cross(self.along_row, self.along_column)

    @property
    def height_mm(self) -> float:
        """Position of the plane along its normal, in mm."""
        return float(self.position_mm @ self.normal)


def plane_of(name: str, header: Dataset) -> SlicePlane:
    """Return the plane that a slice's header describes; raises InputRefused if it has none."""
    if (number_or_none(header, "NumberOfFrames") or 1) > 1:
        raise InputRefused(f"{name} is multi-frame (0028,0008), which is not supported: split it")
    orientation = _numbers(name, header, "ImageOrientationPatient", 6)
    row_spacing_mm, column_spacing_mm = _numbers(name, header, "PixelSpacing", 2)
    rows, columns = (int(number_or_none(header, word) or 0) for word in ("Rows", "Columns"))
    if not rows or not columns:
        raise InputRefused(f"{name} has no Rows (0028,0010) or Columns (0028,0011): truncated?")
    return SlicePlane(
        name=name,
        position_mm=_numbers(name, header, "ImagePositionPatient", 3),
        along_row=orientation[:3],
        along_column=orientation[3:],
        row_spacing_mm=float(row_spacing_mm),
        column_spacing_mm=float(column_spacing_mm),
        rows=rows,
        columns=columns,
        thickness_mm=max(number_or_none(header, "SliceThickness") or 0.0, 0.0) or None,
    )


def _numbers(name: str, header: Dataset, keyword: str, count: int) -> NDArray[np.float64]:
    values = [parse_number(value) for value in text_values(header.get(keyword))]
    known = [value for value in values if value is not None]
    if not len(values) == len(known) == count:
        raise InputRefused(
            f"{name} has no usable {keyword}, so its position is unknown: truncated?"
        )
    return np.array(known, dtype=np.float64)


def stack_order(planes: Sequence[SlicePlane]) -> list[int]:
    """Return the planes' indices from the bottom of the stack to its top.

    Raises InputRefused if planes differ in grid, repeat a position, or are not evenly spaced.
    """
    require_same_grid(planes)
    order = sorted(range(len(planes)), key=lambda n: planes[n].height_mm)
    _require_even_spacing([planes[n] for n in order])
    return order


def stack_affine(planes: Sequence[SlicePlane]) -> NDArray[np.float64]:
    """Return the RAS+ affine of [i, j, k] = [column, row, slice], for planes from bottom to top.

    Raises InputRefused for impossible voxel sizes and positions.
    """
    first, last = planes[0], planes[-1]
    affine = np.eye(4)
    affine[:3, 0] = first.along_row * first.column_spacing_mm
    affine[:3, 1] = first.along_column * first.row_spacing_mm
    if len(planes) > 1:
        affine[:3, 2] = (last.position_mm - first.position_mm) / (len(planes) - 1)
    else:
        affine[:3, 2] = first.normal * (first.thickness_mm or first.row_spacing_mm)
    affine[:3, 3] = first.position_mm
    require_possible(first.name, affine)
    return LPS_TO_RAS @ affine


def stack_warnings(planes: Sequence[SlicePlane]) -> list[str]:
    """Return warnings about a stack of planes, from bottom to top."""
    thickness_mm = planes[0].thickness_mm
    if len(planes) == 1:
        across = (
            f"its SliceThickness (0018,0050), {thickness_mm:g} mm, is"
            if thickness_mm
            else f"it has no SliceThickness (0018,0050), and the {planes[0].row_spacing_mm:g} mm "
            "between its rows are"
        )
        return [f"the series has one slice: {across} taken as the size of its voxels across it"]
    warnings = shear_warnings(planes[0].name, stack_affine(planes))
    step_mm = (planes[-1].height_mm - planes[0].height_mm) / (len(planes) - 1)
    if thickness_mm and step_mm >= 1.5 * thickness_mm:
        warnings.append(
            f"slices lie {step_mm:.2f} mm apart and are {thickness_mm:.2f} mm thick (0018,0050): "
            "every other one may be missing"
        )
    return warnings


def require_same_grid(planes: Sequence[SlicePlane]) -> None:
    """Raise InputRefused unless all planes have the same size, pixel spacing and orientation."""
    first = planes[0]
    axes = np.stack([first.along_row, first.along_column])
    if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-3):
        raise InputRefused(
            f"{first.name}: ImageOrientationPatient (0020,0037) is no pair of directions at right "
            "angles"
        )
    if first.row_spacing_mm <= 0 or first.column_spacing_mm <= 0:
        raise InputRefused(f"{first.name}: PixelSpacing (0028,0030) is not positive")
    for plane in planes[1:]:
        for what, same in (
            ("Rows, Columns", (plane.rows, plane.columns) == (first.rows, first.columns)),
            (
                "PixelSpacing (0028,0030)",
                np.allclose(
                    (plane.row_spacing_mm, plane.column_spacing_mm),
                    (first.row_spacing_mm, first.column_spacing_mm),
                    rtol=1e-4,
                ),
            ),
            (
                "ImageOrientationPatient (0020,0037)",
                np.allclose(np.stack([plane.along_row, plane.along_column]), axes, atol=1e-4),
            ),
        ):
            if not same:
                raise InputRefused(
                    f"{plane.name} and {first.name} differ in {what}: not one volume"
                )


def _require_even_spacing(planes: Sequence[SlicePlane]) -> None:
    """Raise InputRefused, with the names of the files, for duplicates, gaps and uneven steps."""
    heights = np.array([plane.height_mm for plane in planes])
    steps = np.diff(heights)
    repeated = np.flatnonzero(steps < SAME_MM)
    if len(repeated):
        raise InputRefused(
            "slices lie twice at one position: "
            + "; ".join(
                f"{planes[n].name} and {planes[n + 1].name} at {heights[n]:.2f} mm"
                for n in repeated[:5]
            )
        )
    if len(steps) == 0:
        return
    step = float(steps.min())
    missing = np.rint(steps / step) - 1
    gaps = np.flatnonzero(missing > 0)
    if len(gaps) and np.all(np.abs(steps / step - 1 - missing) < 0.1):
        raise InputRefused(
            "slices are missing: "
            + "; ".join(
                f"{int(missing[n])} between {heights[n]:.2f} mm ({planes[n].name}) and "
                f"{heights[n + 1]:.2f} mm ({planes[n + 1].name})"
                for n in gaps[:5]
            )
        )
    positions = np.array([plane.position_mm for plane in planes])
    even = np.linspace(positions[0], positions[-1], len(planes))
    deviation_mm = np.linalg.norm(positions - even, axis=1)
    worst = int(np.argmax(deviation_mm))
    if deviation_mm[worst] > max(_MAX_SPACING_DEVIATION * step, SAME_MM):
        raise InputRefused(
            f"slices are not evenly spaced: steps of {steps.min():.3f} to {steps.max():.3f} mm, "
            f"and {planes[worst].name} deviates from its position by {deviation_mm[worst]:.3f} mm"
        )
