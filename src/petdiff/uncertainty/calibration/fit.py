"""Fit a calibration: the scale on some patients, the conformal bounds on other patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petdiff.uncertainty.calibration.conformal import (
    Bounds,
    bounds,
    central_range,
    fewest_patients,
)
from petdiff.uncertainty.calibration.record import (
    LEVELS,
    BoundsOfGroup,
    CalibratedFigure,
    FigureCalibration,
    RegionKind,
)
from petdiff.uncertainty.calibration.scale import fit_scale

Vector = NDArray[np.float64]
_SHARES = np.linspace(0, 1, 21)
_GROUP_LEVEL = 0.95  # a group with enough patients for this level has its own bounds


@dataclass(frozen=True, eq=False)
class PatientErrors:
    """One figure of one patient: vectors with an entry for each voxel or region and each dose.

    reference, denoised, measured  the figure in the full-dose, the denoised and the measured scan
    features                       of each entry, by name
    facts                          of each entry, by name: {"tracer": ["fdg", ...]}
    """

    reference: Vector
    denoised: Vector
    measured: Vector
    features: Mapping[str, Vector]
    facts: Mapping[str, NDArray[np.str_]]

    def errors(self, toward_measured: float) -> Vector:
        """Return reference minus a value between the denoised and the measured one."""
        between = self.denoised + toward_measured * (self.measured - self.denoised)
        return np.asarray(self.reference - between)


def fit_figure(
    figure: CalibratedFigure,
    region: RegionKind | None,
    fitting: Sequence[PatientErrors],
    calibrating: Sequence[PatientErrors],
    names: Sequence[str],
    grouped_by: Sequence[str] = (),
) -> FigureCalibration | None:
    """Return the calibration of a figure; None if the patients are too few for any level.

    fitting      patients on which the scale is fitted
    calibrating  other patients, whose errors give the bounds
    names        features of the scale
    grouped_by   facts; each value with enough patients gets its own bounds
    """
    fitting = [one for one in fitting if one.reference.size]
    calibrating = [one for one in calibrating if one.reference.size]
    if not fitting or not calibrating:
        return None
    share = 0.0 if figure == "voxel" else _best_share(fitting)
    scale = fit_scale([one.errors(share) for one in fitting], [p.features for p in fitting], names)
    fitted, ratios = (
        [one.errors(share) / scale(one.features) for one in part] for part in (fitting, calibrating)
    )
    shapes = {level: central_range(fitted, level) for level in LEVELS}
    groups = [BoundsOfGroup(patients=len(ratios), bounds=_levels(ratios, shapes))]
    if not groups[0].bounds:
        return None
    for fact in grouped_by:
        for value in sorted({str(v) for one in calibrating for v in one.facts[fact]}):
            parts = [
                ratio[one.facts[fact] == value]
                for ratio, one in zip(ratios, calibrating, strict=True)
            ]
            parts = [part for part in parts if part.size]
            if len(parts) >= fewest_patients(_GROUP_LEVEL):
                of_group = BoundsOfGroup(
                    facts={fact: value}, patients=len(parts), bounds=_levels(parts, shapes)
                )
                groups.append(of_group)
    return FigureCalibration(
        figure=figure,
        region=region,
        scale=scale,
        toward_measured=share,
        errors=sum(one.reference.size for one in calibrating),
        groups=tuple(groups),
    )


def _levels(ratios: Sequence[Vector], shapes: Mapping[float, Bounds]) -> dict[str, Bounds]:
    """Return the bounds by level, each at least as wide as those of lower levels."""
    found: dict[str, Bounds] = {}
    low = high = 0.0
    for level, shape in sorted(shapes.items()):
        if (both := bounds(ratios, level, shape)) is not None:
            low, high = min(low, both.lower), max(high, both.upper)
            found[f"{level:g}"] = Bounds(low, high)
    return found


def _best_share(patients: Sequence[PatientErrors]) -> float:
    """Return the share of the measured figure with the least mean absolute error over patients."""
    losses = [
        np.mean([np.abs(one.errors(float(share))).mean() for one in patients]) for share in _SHARES
    ]
    return round(float(_SHARES[int(np.argmin(losses))]), 2)
