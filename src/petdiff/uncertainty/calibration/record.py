"""A calibration: intervals of a model's figures, from its errors on simulated patients.

An error is the figure of the full-dose scan minus that of the denoised scan. It is divided by the
scale, its expected size, which is computed from the measured and the denoised scan. Conformal
bounds of this ratio come from patients that were used neither for training nor for the scale. The
interval is these bounds times the scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from petdiff.errors import InputRefused
from petdiff.methods.weights_files import path_beside, read_beside, write_beside
from petdiff.uncertainty.calibration.conformal import Bounds, fewest_patients
from petdiff.uncertainty.calibration.features import (
    SUV_FEATURES,
    Features,
    ScanFeatures,
    figure_features,
)
from petdiff.uncertainty.calibration.scale import ErrorScale
from petdiff.units import share_of, significant
from petdiff.volume.regions import Volume

CalibratedFigure = Literal["voxel", "suv_mean", "suv_max", "suv_peak", "volume_41_ml", "cov"]
RegionKind = Literal["lesion", "organ", "sphere", "focus"]
PLURAL: Mapping[RegionKind, str] = {
    "lesion": "lesions", "organ": "organs", "sphere": "spheres", "focus": "foci",
}  # fmt: skip
SUFFIX = ".calibration.json"  # of the file beside the weights
LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
_VOXEL_TOLERANCE = 0.1  # relative, beyond the voxel sizes of the calibration
_SIZE_TOLERANCE = 0.1  # relative, beyond the volumes of regions of the calibration


@dataclass(frozen=True)
class Interval:
    """The range in which the figure of the full-dose scan is expected, in the figure's unit.

    level     share of patients whose figure lies within such an interval, on average
    patients  number of patients of the calibration
    """

    lower: float
    upper: float
    level: float
    patients: int


@dataclass(frozen=True)
class Refused:
    """Why there is no interval, in one line."""

    reason: str


class BoundsOfGroup(BaseModel, frozen=True, extra="forbid"):
    """Conformal bounds of error / scale by level, from patients with all of `facts`."""

    facts: dict[str, str] = {}
    patients: int
    bounds: dict[str, Bounds]


class FigureCalibration(BaseModel, frozen=True, extra="forbid"):
    """The calibration of one figure.

    region           kind of region; None for voxels and for all kinds of regions together
    scale            expected size of the error
    toward_measured  weight of the measured figure in the centre of intervals, beside the denoised
                     one; it minimises the errors, and is larger for means over large regions
    errors           number of errors in the patients of `groups`
    groups           bounds for all patients, then for groups with enough patients
    """

    figure: CalibratedFigure
    region: RegionKind | None = None
    scale: ErrorScale
    toward_measured: float = Field(default=0.0, ge=0, le=1)
    errors: int
    groups: tuple[BoundsOfGroup, ...] = Field(min_length=1)

    def bounds(self, facts: Mapping[str, str], level: float) -> BoundsOfGroup | None:
        """Return the most specific group that has bounds at `level` and matches `facts`."""
        fitting = [
            group
            for group in self.groups
            if f"{level:g}" in group.bounds and group.facts.items() <= facts.items()
        ]
        return max(fitting, key=lambda group: len(group.facts), default=None)


class Coverage(BaseModel, frozen=True, extra="forbid"):
    """The coverage of intervals for patients that were not used for the calibration.

    held   share of errors within their interval, mean over patients
    width  width of the intervals in the unit of the figure, mean over patients
    """

    figure: CalibratedFigure
    region: RegionKind | None
    level: float
    patients: int
    held: float
    width: float
    unseen_scanner: bool = False


class Calibration(BaseModel, frozen=True, extra="forbid"):
    """The calibration of a model, from which its intervals are computed.

    weights_sha256  digest of the calibrated weights; the calibration is valid for no others
    steps           network calls for the calibrated denoised scan
    patients        description of the patients: their origin and number
    voxel_mm        smallest and largest voxel size of their scans
    region_ml       range of volumes of the middle 98 % of their regions, by kind; other kinds have
                    no limits
    coverage        measured on further patients
    """

    version: Literal[1] = 1
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    steps: int = Field(ge=1)
    patients: str = Field(max_length=2000)
    voxel_mm: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    region_ml: dict[RegionKind, tuple[float, float]] = {}
    figures: tuple[FigureCalibration, ...]
    coverage: tuple[Coverage, ...] = ()

    def interval(
        self,
        figure: CalibratedFigure,
        denoised: float,
        measured: float,
        features: Features,
        *,
        spacing_mm: tuple[float, float, float],
        region: RegionKind | None = None,
        facts: Mapping[str, str] | None = None,
        level: float = 0.9,
    ) -> Interval | Refused:
        """Return the interval of a region's figure in the full-dose scan.

        denoised, measured  the figure in the two scans
        features            `region_features` of the region
        region              kind of the region; None: not known
        facts               of the scan, such as {"tracer": "fdg"}, to use the bounds of its group;
                            a dose, {"drf": "20"}, outside the calibrated range is refused
        """
        found = self._find(figure, region, facts or {}, level, spacing_mm)
        if isinstance(found, Refused):
            return found
        calibrated, group = found
        if missing := {*SUV_FEATURES, "volume_ml"} - set(features):
            return Refused(f"{figure} has no interval: {min(missing)} of the region is not known")
        if region and (reason := self._size_refused(region, features["volume_ml"])):
            return Refused(reason)
        scale = float(calibrated.scale(figure_features(figure, features, denoised)))
        lower, upper = _bounds_about_centre(calibrated, group, level, denoised, measured, scale)
        return Interval(float(lower), float(upper), level, group.patients)

    def voxel_intervals(
        self,
        measured: Volume,
        denoised: Volume,
        *,
        spacing_mm: tuple[float, float, float],
        facts: Mapping[str, str] | None = None,
        level: float = 0.9,
    ) -> tuple[Volume, Volume] | Refused:
        """Return the lower and upper bound of each voxel of the full-dose scan [i, j, k]."""
        found = self._find("voxel", None, facts or {}, level, spacing_mm)
        if isinstance(found, Refused):
            return found
        calibrated, group = found
        scale = calibrated.scale(vars(ScanFeatures.of(measured, denoised)))
        lower, upper = _bounds_about_centre(calibrated, group, level, denoised, measured, scale)
        return lower.astype(np.float32), upper.astype(np.float32)

    def voxels_refused(self, spacing_mm: tuple[float, float, float], level: float) -> str:
        """Return why voxels of this size have no intervals at `level`; "" if they have."""
        found = self._find("voxel", None, {}, level, spacing_mm)
        return found.reason if isinstance(found, Refused) else ""

    def covers(self, figure: CalibratedFigure, region: RegionKind) -> bool:
        """Return whether a figure was calibrated on this kind of region."""
        return any((one.figure, one.region) == (figure, region) for one in self.figures)

    def regions_refused(self, spacing_mm: tuple[float, float, float], level: float) -> str:
        """Return why no figure of a region has an interval in such a scan; "" if one has."""
        reason = "no interval: the model's calibration is of voxels only"
        for one in self.figures:
            if one.figure == "voxel":
                continue
            found = self._find(one.figure, one.region, {}, level, spacing_mm)
            if not isinstance(found, Refused):
                return ""
            reason = found.reason
        return reason

    def dose_refused(self, drf: float | None) -> str:
        """Return why scans of this dose have no intervals; "" if they have, or drf is None."""
        groups = [group.facts for one in self.figures for group in one.groups]
        known = sorted({float(facts["drf"]) for facts in groups if "drf" in facts})
        if drf is None or not known or known[0] <= drf <= known[-1]:
            return ""
        return (
            f"no interval: the dose is {share_of(drf)}, and the model was calibrated at "
            f"{share_of(known[0])} to {share_of(known[-1])}"
        )

    def _size_refused(self, kind: RegionKind, volume_ml: float) -> str:
        least, most = self.region_ml.get(kind, (0.0, np.inf))
        if least * (1 - _SIZE_TOLERANCE) <= volume_ml <= most * (1 + _SIZE_TOLERANCE):
            return ""
        return (
            f"no interval: it has {significant(volume_ml, 3)} ml, and the model was calibrated on "
            f"{PLURAL[kind]} of {least:.2g} to {significant(most, 3)} ml"
        )

    def _find(
        self,
        figure: CalibratedFigure,
        region: RegionKind | None,
        facts: Mapping[str, str],
        level: float,
        spacing_mm: tuple[float, float, float],
    ) -> tuple[FigureCalibration, BoundsOfGroup] | Refused:
        size = float(np.cbrt(np.prod(spacing_mm)))
        least, most = self.voxel_mm
        if not least * (1 - _VOXEL_TOLERANCE) <= size <= most * (1 + _VOXEL_TOLERANCE):
            return Refused(
                f"no interval: the scan has voxels of {size:.3g} mm, and the model was calibrated "
                f"with voxels of {least:g} to {most:g} mm"
            )
        if "drf" in facts and (reason := self.dose_refused(float(facts["drf"]))):
            return Refused(reason)
        of_figure = [one for one in self.figures if one.figure == figure]
        calibrated = next(
            (one for kind in (region, None) for one in of_figure if one.region == kind), None
        )
        if calibrated is None:
            return Refused(f"{figure} has no interval: the model's calibration does not cover it")
        group = calibrated.bounds(facts, level)
        if group is None:
            return Refused(_no_level(calibrated, level))
        return calibrated, group


def dose_facts(drf: float | None) -> dict[str, str]:
    """Return the fact of a scan's dose reduction factor; none if it is not known."""
    return {} if drf is None else {"drf": f"{drf:g}"}


def _bounds_about_centre(
    calibrated: FigureCalibration,
    group: BoundsOfGroup,
    level: float,
    denoised: float | Volume,
    measured: float | Volume,
    scale: NDArray[np.float64] | float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lower and upper bounds. They are not negative if both scans are not negative."""
    bounds = group.bounds[f"{level:g}"]
    d, m = np.asarray(denoised, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    centre = d + calibrated.toward_measured * (m - d)
    lowest = np.minimum(np.minimum(d, m), 0)
    lower, upper = (np.maximum(centre + side * scale, lowest) for side in bounds)
    return lower, upper


def _no_level(calibrated: FigureCalibration, level: float) -> str:
    everyone = calibrated.groups[0]
    known = ", ".join(everyone.bounds)
    needed = f"{level:g}" in {f"{one:g}" for one in LEVELS} and fewest_patients(level)
    if needed and needed > everyone.patients:
        return (
            f"no interval at {level:g}: it takes {needed} calibration patients, and the model has "
            f"{everyone.patients} for {calibrated.figure}; levels there are: {known}"
        )
    return f"no interval at {level:g}: use one of the calibrated levels, {known}"


def load_calibration(weights: Path, sha256: str) -> Calibration:
    """Return the calibration beside a weights file with this digest.

    Raises InputRefused if there is none, if it is invalid, and if it is for other weights.
    """
    path = path_beside(weights, SUFFIX)
    if not path.is_file():
        raise InputRefused(
            f"{weights.name} has no calibration ({path.name} beside it), so there are no "
            "intervals: make one with benchmarks/calibrate.py, or use flow3d"
        )
    calibration = read_beside(path, Calibration, "calibration")
    if calibration.weights_sha256 != sha256:
        raise InputRefused(
            f"{path} is the calibration of other weights ({calibration.weights_sha256[:12]}, "
            f"not {sha256[:12]}): make one with benchmarks/calibrate.py"
        )
    return calibration


def save_calibration(weights: Path, calibration: Calibration) -> Path:
    """Write a calibration beside a weights file, complete or not at all, and return its path."""
    return write_beside(path_beside(weights, SUFFIX), calibration)
