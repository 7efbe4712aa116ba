"""Measure regions in a measured and in its denoised scan, with an interval for each figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from petdiff.errors import InputRefused, UsageError
from petdiff.image import PETImage
from petdiff.measurement.figures import CALIBRATED, FIGURES, FigureName, region_figures, unit_of
from petdiff.measurement.record import MeasuredFigure, MeasuredRegion, Measurement
from petdiff.measurement.region import Region
from petdiff.uncertainty.calibration.features import ScanFeatures, region_features
from petdiff.uncertainty.calibration.record import (
    PLURAL,
    Calibration,
    Interval,
    Refused,
    dose_facts,
)

_SAME_MM = 0.1  # tolerance of voxel positions on one grid


class IntervalSettings(NamedTuple):
    """The settings of the intervals of figures.

    calibration  of the model that denoised the scan
    drf          dose reduction factor that the model was given; None: unknown
    """

    calibration: Calibration
    level: float = 0.9
    drf: float | None = None

    def refused(self, scan: PETImage) -> str:
        """Return the reason why no figure of a scan can have an interval; "" if some can."""
        return self.calibration.dose_refused(self.drf) or self.calibration.regions_refused(
            scan.spacing_mm, self.level
        )


def measure(
    measured: PETImage,
    denoised: PETImage,
    regions: Sequence[Region],
    *,
    calibration: Calibration | None = None,
    level: float = 0.9,
    drf: float | None = None,
) -> Measurement:
    """Measure regions in a measured and in its denoised scan, which are on one grid.

    regions      of `mask_region`, `ball_region`, `read_regions` or `find_lesions`
    calibration  of `calibration_of`; None: no intervals
    level        of the intervals
    drf          dose reduction factor; if it was calibrated, the bounds of this dose are used

    Raises UsageError for scans with different grids or units, InputRefused without regions and if
    the calibration has no interval for any figure of such a scan.
    """
    if not measured.shares_voxels(denoised, _SAME_MM):
        raise UsageError("the measured and the denoised scan have different grids")
    if measured.unit_name != denoised.unit_name:
        raise UsageError(
            f"the measured scan is in {measured.unit_name} and the denoised one in "
            f"{denoised.unit_name}"
        )
    if not regions:
        raise InputRefused("there are no regions to measure")
    intervals = None if calibration is None else IntervalSettings(calibration, level, drf)
    if intervals is not None and (reason := intervals.refused(measured)):
        raise InputRefused(reason)
    features = None if intervals is None else ScanFeatures.of(measured.values, denoised.values)
    rows = [_row(one, measured, denoised, intervals, features) for one in regions]
    return Measurement(
        unit=measured.unit_name,
        level=None if intervals is None else level,
        regions=tuple(rows),
        notes=tuple(_notes(regions)),
    )


def _row(
    region: Region,
    measured: PETImage,
    denoised: PETImage,
    intervals: IntervalSettings | None,
    features: ScanFeatures | None,
) -> MeasuredRegion:
    before, after = (
        region_figures(region, scan.values, scan.spacing_mm) for scan in (measured, denoised)
    )
    of_region: dict[str, float] = {}
    if features is not None:
        mask = region.mask
        of_region = region_features(
            features, measured.values, denoised.values, mask.box, mask.weights, mask.volume_ml
        )
    figures, patients = [], None
    for name in FIGURES:
        unit, was, now = unit_of(name, measured.unit_name), before[name], after[name]
        figure = MeasuredFigure(figure=name, unit=unit, measured=was, denoised=now)
        if intervals is not None and now is not None:
            found = _interval(region, name, before, after, of_region, intervals, measured)
            if isinstance(found, Refused):
                figure = figure.model_copy(update={"no_interval": found.reason})
            else:
                figure = figure.model_copy(update={"lower": found.lower, "upper": found.upper})
                patients = found.patients if name == "mean" else patients
        figures.append(figure)
    return MeasuredRegion(
        name=region.name,
        kind=region.kind,
        volume_ml=region.volume_ml,
        voxels=region.voxels,
        centre_mm=region.centre_mm(measured.affine),
        figures=tuple(figures),
        patients=patients,
    )


def _interval(
    region: Region,
    name: FigureName,
    before: dict[FigureName, float | None],
    after: dict[FigureName, float | None],
    of_region: dict[str, float],
    intervals: IntervalSettings,
    scan: PETImage,
) -> Interval | Refused:
    """Return the interval of a figure; for the total, that of the mean times the volume."""
    calibrated, times = CALIBRATED[name], 1.0
    if name == "tlg":
        name, times = "mean", region.volume_ml
    calibration = intervals.calibration
    if not any(calibration.covers(one, region.kind) for one in CALIBRATED.values()):
        return Refused(f"no interval: {PLURAL[region.kind]} were not calibrated")
    if not calibration.covers(calibrated, region.kind):
        what = "41 % volume" if name == "mtv_41" else name
        return Refused(f"no interval: the {what} of {PLURAL[region.kind]} was not calibrated")
    denoised, measured = after[name], before[name]
    assert denoised is not None
    if measured is None:  # only the 41 % volume may be missing
        return Refused("no interval: the measured scan has no 41 % volume")
    found = calibration.interval(
        calibrated,
        denoised,
        measured,
        of_region,
        spacing_mm=scan.spacing_mm,
        region=region.kind,
        facts=dose_facts(intervals.drf),
        level=intervals.level,
    )
    if isinstance(found, Refused):
        return found
    return Interval(times * found.lower, times * found.upper, found.level, found.patients)


def _notes(regions: Sequence[Region]) -> list[str]:
    cut = [one.name for one in regions if one.cut]
    if not cut:
        return []
    return [f"The field of view cuts {', '.join(cut)}: only the part in it was measured."]
