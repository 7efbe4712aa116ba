"""Measure a scan against a reference: all figures, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused
from petdiff.evaluation.challenge import Score, Target, challenge_score
from petdiff.evaluation.metrics import compare
from petdiff.evaluation.organs import (
    LIVER_SPHERE_MM,
    Organ,
    coefficient_of_variation,
    deepest_sphere,
    find_organs,
    measure_organ,
)
from petdiff.evaluation.texture import NoisePower, cubes_within, noise_power, spectral_distance
from petdiff.evaluation.weighted_mask import WeightedMask, measure_mask, true_figures
from petdiff.volume.noise import noise_level
from petdiff.volume.regions import Spacing, Volume, body_mask, voxel_ml

_UNITS = {
    "suv_mean": "SUV",
    "suv_max": "SUV",
    "suv_peak": "SUV",
    "activity": "SUV·ml",
    "volume_41_ml": "ml",
    "volume_ml": "ml",
    "nps_mean_frequency": "1/mm",
}
_CHALLENGE_ORGANS = ("liver", "kidney", "heart")


class Row(NamedTuple):
    """One figure: its metric, region, value (None: does not exist) and unit."""

    metric: str
    region: str
    value: float | None
    unit: str


@dataclass(frozen=True, eq=False)
class Case:
    """A reference and its regions; used for every scan on its grid."""

    reference: Volume
    spacing_mm: Spacing
    body: NDArray[np.bool_]
    organs: Sequence[Organ] = ()
    lesions: Sequence[WeightedMask] = ()

    @cached_property
    def noise(self) -> Row:
        """The noise level of the reference."""
        return _noise(self, self.reference)

    @cached_property
    def regions(self) -> Sequence[Row]:
        """The figures of the reference's regions."""
        return _describe_regions(self, self.reference)

    @property
    def figures(self) -> Sequence[Row]:
        """All figures of the reference that need no other scan."""
        return [self.noise, *self.regions]


def prepare(
    reference: Volume,
    spacing_mm: Spacing,
    labels: NDArray[np.int32] | None = None,
    names: Mapping[int, str] | None = None,
    lesions: Sequence[WeightedMask] = (),
) -> Case:
    """Find the body and the organs of a reference.

    Raises InputRefused if the reference has no activity or is not finite, or a label has the name
    of a lesion.
    """
    _require_finite("the reference", reference)
    body = body_mask(reference, spacing_mm)
    if not reference[body].sum(dtype=np.float64) > 0:
        raise InputRefused(
            "the reference has no activity, so no scan can be compared with it: give a scan with "
            "activity"
        )
    organs = find_organs(labels, names or {}) if labels is not None else []
    if common := {organ.name for organ in organs} & {lesion.name for lesion in lesions}:
        raise InputRefused(
            f"a label and a lesion are both called {min(common)!r}: give the label another name"
        )
    return Case(reference, spacing_mm, body, organs, lesions)


def measure_scan(case: Case, suv: Volume) -> list[Row]:
    """Measure a scan in SUV on the case's grid: alone, and against the reference.

    …_bias is test / reference - 1; …_bias_to_truth is test / truth - 1 for lesions whose true
    uptake is known. Raises InputRefused if the scan is not finite.
    """
    _require_finite("a scan that is compared with the reference", suv)
    whole = compare(case.reference, suv, case.body)
    rows = [_whole_row(metric, value) for metric, value in whole.items()]
    own = [_noise(case, suv), *_describe_regions(case, suv)]
    rows += own
    rows += _biases(case.figures, own)
    rows += _truth_biases(case, own)
    rows += _spectral_rows(case, suv)
    return rows + _score_rows(_score(case, suv, whole))


def measure_regions(case: Case, suv: Volume) -> list[Row]:
    """Measure the organs and lesions of a scan: alone, and against the reference."""
    own = _describe_regions(case, suv)
    return own + _biases(case.regions, own)


def _noise(case: Case, suv: Volume) -> Row:
    return Row("noise_level", "volume", noise_level(suv, case.spacing_mm), "1")


def _describe_regions(case: Case, suv: Volume) -> list[Row]:
    """Measure what needs no reference: organs, the noise of the liver, lesions."""
    rows: list[Row] = []
    for organ in case.organs:
        volume_ml = float(organ.mask.sum()) * voxel_ml(case.spacing_mm)
        rows += _rows({"volume_ml": volume_ml} | measure_organ(organ, suv), organ.name)
    liver = _liver(case)
    if liver is not None:
        sphere, radius_mm = deepest_sphere(liver, case.spacing_mm)
        fits = radius_mm == LIVER_SPHERE_MM
        cov = coefficient_of_variation(suv[liver.box][sphere]) if fits else None
        rows.append(Row("cov_30mm_sphere", liver.name, cov, "1"))
        spectrum = _spectrum(case, suv)
        if spectrum is not None and spectrum.variance > 0:
            rows += _rows({"nps_mean_frequency": spectrum.mean_frequency_per_mm}, liver.name)
    for lesion in case.lesions:
        rows += _rows(measure_mask(lesion, suv, case.spacing_mm), lesion.name)
    return rows


def of_whole_image(row: Row) -> bool:
    """Return whether a figure is of the whole image; labels may be named body or volume too."""
    return row.region in ("body", "volume") and row.metric.removesuffix("_bias") not in _UNITS


def _require_finite(name: str, suv: Volume) -> None:
    """Raise InputRefused for NaN and infinity: a PSNR that is None would mean equal scans."""
    if not np.isfinite(suv).all():
        raise InputRefused(
            f"{name} holds NaN or infinite values: replace them, by 0 outside the body"
        )


def _rows(figures: Mapping[str, float | None], region: str) -> list[Row]:
    return [Row(name, region, value, _UNITS.get(name, "1")) for name, value in figures.items()]


def _whole_row(metric: str, value: float | None) -> Row:
    region = "volume" if "_whole" in metric else "body"
    return Row(metric, region, value, "dB" if metric.endswith("_db") else "1")


def _biases(reference: Sequence[Row], test: Sequence[Row]) -> list[Row]:
    before = {(row.metric, row.region): row.value for row in reference}
    return [
        Row(f"{row.metric}_bias", row.region, _bias(before.get(row[:2]), row.value), "1")
        for row in test
        if row.metric != "volume_ml"
    ]


def _truth_biases(case: Case, test: Sequence[Row]) -> list[Row]:
    found = {(row.metric, row.region): row.value for row in test}
    return [
        Row(f"{metric}_bias_to_truth", lesion.name, _bias(true, found[metric, lesion.name]), "1")
        for lesion in case.lesions
        for metric, true in true_figures(lesion).items()
    ]


def _bias(before: float | None, after: float | None) -> float | None:
    if before is None or after is None or before <= 0:
        return None
    return after / before - 1


def _liver(case: Case) -> Organ | None:
    return next((organ for organ in case.organs if organ.name.lower() == "liver"), None)


def _spectrum(case: Case, suv: Volume) -> NoisePower | None:
    """Return the noise power spectrum in the liver; None if no cube fits in it."""
    liver = _liver(case)
    cubes = cubes_within(liver.mask, case.spacing_mm) if liver else []
    if not liver or not cubes:
        return None
    return noise_power(np.stack([suv[liver.box][cube] for cube in cubes]), case.spacing_mm)


def _spectral_rows(case: Case, suv: Volume) -> list[Row]:
    liver = _liver(case)
    reference, test = _spectrum(case, case.reference), _spectrum(case, suv)
    if liver is None or reference is None or test is None or reference.variance == 0:
        return []
    whole, shape = spectral_distance(reference, test)
    return _rows({"nps_distance": whole, "nps_shape_distance": shape}, liver.name)


def _score(case: Case, suv: Volume, whole: Mapping[str, float | None]) -> Score:
    def target(organ: Organ, mask: NDArray[np.bool_]) -> Target:
        return Target(case.reference[organ.box], suv[organ.box], mask)

    chosen = [o for o in case.organs if o.name.lower().startswith(_CHALLENGE_ORGANS)]
    organs = [target(organ, deepest_sphere(organ, case.spacing_mm)[0]) for organ in chosen]
    lesions = [Target(case.reference[x.box], suv[x.box], x.core) for x in case.lesions]
    nrmse = whole["nrmse"]
    assert nrmse is not None  # `prepare` requires activity in the body
    return challenge_score(nrmse, whole["psnr_db"], whole["ssim"], organs, lesions)


def _score_rows(score: Score) -> list[Row]:
    rows = [Row("challenge_score", "all", score.total, "points")]
    for part, components in score.components.items():
        rows.append(Row("challenge_score", part, score.parts[part], "points"))
        rows += [Row(f"challenge_{name}", part, x, "points") for name, x in components.items()]
    return rows
