"""The record of a measurement: for each region its figures in both scans, with intervals."""

from __future__ import annotations

from pydantic import BaseModel

from petdiff.errors import UsageError
from petdiff.measurement.figures import FigureName
from petdiff.measurement.region import RegionKind


class MeasuredFigure(BaseModel, frozen=True, extra="forbid"):
    """One figure of a region; None if it does not exist.

    lower, upper  interval for the figure of the full-dose scan; None without interval
    no_interval   why there is none; "" if there is one, or none was requested
    """

    figure: FigureName
    unit: str
    measured: float | None
    denoised: float | None
    lower: float | None = None
    upper: float | None = None
    no_interval: str = ""


class MeasuredRegion(BaseModel, frozen=True, extra="forbid"):
    """A region and its figures.

    kind       lesion, organ, sphere or focus: selects the intervals of the calibration
    volume_ml  of the part in the field of view
    voxels     the same in voxels
    centre_mm  centre of its volume, RAS+ (right, anterior, superior are positive)
    patients   of the calibration of its mean; None without interval
    """

    name: str
    kind: RegionKind
    volume_ml: float
    voxels: float
    centre_mm: tuple[float, float, float]
    figures: tuple[MeasuredFigure, ...]
    patients: int | None = None

    def figure(self, name: FigureName) -> MeasuredFigure:
        """Return one of its figures."""
        return next(one for one in self.figures if one.figure == name)


class Measurement(BaseModel, frozen=True, extra="forbid"):
    """The figures of all regions.

    unit   of the values of both scans: SUV, or the scan's own
    level  of the intervals; None if there are none
    notes  remarks for the reader, one sentence each
    """

    unit: str
    level: float | None
    regions: tuple[MeasuredRegion, ...]
    notes: tuple[str, ...] = ()

    def region(self, name: str) -> MeasuredRegion:
        """Return a region by its name. Raises UsageError for an unknown name."""
        for one in self.regions:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.regions)
        raise UsageError(f"unknown region {name!r}: known are {known}")
