"""The figures of a simulated patient's scans that intervals are calibrated on, as one table each.

A table holds, for each voxel or region and dose: the figure in the full-dose scan (`reference`), in
the denoised, the measured and the best Gaussian-filtered scan, the dose reduction factor, whether
the model was given it, and the features of the denoised and of the filtered scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused
from petdiff.evaluation.baselines import best_gaussian
from petdiff.evaluation.organs import (
    coefficient_of_variation,
    deepest_sphere,
    find_organs,
)
from petdiff.evaluation.weighted_mask import WeightedMask, measure_mask, sphere_mask
from petdiff.image import PETImage
from petdiff.simulation.study import Simulation
from petdiff.uncertainty.calibration.features import (
    ScanFeatures,
    figure_features,
    region_features,
)
from petdiff.volume.regions import body_mask, voxel_ml

Volume = NDArray[np.float32]
Row = dict[str, float]
VOXELS, SPHERES, RADII_MM = 1500, 12, (5, 8, 10, 15, 20)
FIGURES = ("suv_mean", "suv_max", "suv_peak", "volume_41_ml")
SMALLEST_ORGAN_ML = 1.0
SCANS = ("denoised", "measured", "gaussian")


class Measured(NamedTuple):
    """A region, its kind, and the voxels of its liver sphere where it is the liver."""

    kind: str
    region: WeightedMask
    sphere: NDArray[np.bool_] | None = None


def measure_patient(
    scans: Simulation,
    denoised_scans: Mapping[float, PETImage],
    given: Mapping[float, bool],
    seed: int,
) -> dict[str, NDArray[np.float32]]:
    """Return the tables' columns by "figure region column", region "all" for voxels."""
    full = scans.full
    body = body_mask(full.suv, full.spacing_mm)
    rng = np.random.default_rng(seed)
    inside = np.flatnonzero(body)
    picked = rng.choice(inside, min(VOXELS, inside.size), replace=False)
    regions = list(_regions(scans, inside, rng))
    rows: dict[str, list[Row]] = {}
    columns: dict[str, list[NDArray[np.float32]]] = {}
    for drf, low in scans.lows.items():
        known = {"drf": drf, "given": float(given[drf])}
        filtered = best_gaussian(low.suv, full.suv, full.spacing_mm, body).suv
        volumes = {"denoised": denoised_scans[drf].suv, "measured": low.suv, "gaussian": filtered}
        signs = {name: ScanFeatures.of(low.suv, suv) for name, suv in volumes.items()}
        for name, column in _voxels(full.suv, volumes, signs, picked, known).items():
            columns.setdefault(f"voxel all {name}", []).append(column)
        for one in regions:
            for key, row in _figures(one, full.suv, volumes, signs, full.spacing_mm):
                rows.setdefault(key, []).append(row | known)
    tables = {name: np.concatenate(parts) for name, parts in columns.items()}
    for key, found in rows.items():
        for name in found[0]:
            tables[f"{key} {name}"] = np.array([row[name] for row in found], dtype=np.float32)
    return tables


def _regions(
    scans: Simulation, inside: NDArray[np.intp], rng: np.random.Generator
) -> Iterator[Measured]:
    """Yield lesions, organs of 1 ml and more, and spheres about random places of the body."""
    shape, affine, spacing = scans.full.shape, scans.full.affine, scans.full.spacing_mm
    balls = [("lesion", one.centre_mm, one.radius_mm) for one in scans.patient.lesions]
    for _ in range(SPHERES):
        index = np.unravel_index(int(rng.choice(inside)), shape)
        centre = (affine @ [*index, 1.0])[:3]
        balls.append(("sphere", tuple(centre.tolist()), float(rng.choice(RADII_MM))))
    for kind, centre_mm, radius_mm in balls:
        try:
            ball = sphere_mask(kind, centre_mm, radius_mm, shape, affine)
        except InputRefused:  # outside the field of view
            continue
        yield Measured(kind, ball)
    for organ in find_organs(scans.labels.astype(np.int32), scans.names):
        volume_ml = float(organ.mask.sum() * voxel_ml(spacing))
        if volume_ml < SMALLEST_ORGAN_ML:
            continue
        sphere, radius_mm = deepest_sphere(organ, spacing)
        liver = sphere if organ.name == "liver" and radius_mm >= 15 else None
        shares = organ.mask.astype(np.float64)
        yield Measured("organ", WeightedMask(organ.name, organ.box, shares, volume_ml), liver)


def _voxels(
    full: Volume,
    volumes: Mapping[str, Volume],
    signs: Mapping[str, ScanFeatures],
    picked: NDArray[np.intp],
    known: Mapping[str, float],
) -> dict[str, NDArray[np.float32]]:
    found = {"reference": full.ravel()[picked]}
    for scan in SCANS:
        found[scan] = volumes[scan].ravel()[picked]
        for name, volume in vars(signs[scan]).items():
            found[f"{scan}:{name}"] = volume.ravel()[picked]
    constant = {n: np.full(picked.size, value, np.float32) for n, value in known.items()}
    return found | constant


def _figures(
    one: Measured,
    full: Volume,
    volumes: Mapping[str, Volume],
    signs: Mapping[str, ScanFeatures],
    spacing: tuple[float, float, float],
) -> Iterator[tuple[str, Row]]:
    """Yield "figure kind" and its row, for each figure that exists in all four scans."""
    region = one.region
    measured = volumes["measured"]
    values = {name: _measure(one, suv, spacing) for name, suv in volumes.items()}
    reference = _measure(one, full, spacing)
    of_region = {
        name: region_features(
            signs[name], measured, volumes[name], region.box, region.weights, region.volume_ml
        )
        for name in SCANS
    }
    for figure, wanted in reference.items():
        row: Row = {}
        for name in SCANS:
            value = values[name].get(figure)
            if value is None or wanted is None:
                break
            row |= {"reference": wanted, name: value}
            features = figure_features(figure, of_region[name], value)
            row |= {f"{name}:{feature}": size for feature, size in features.items()}
        else:
            yield f"{figure} {one.kind}", row


def _measure(
    one: Measured, suv: Volume, spacing: tuple[float, float, float]
) -> dict[str, float | None]:
    if one.kind != "organ":
        found = measure_mask(one.region, suv, spacing)
        return {figure: found[figure] for figure in FIGURES}
    values = suv[one.region.box][one.region.weights > 0]
    figures: dict[str, float | None] = {
        "suv_mean": float(values.mean(dtype=np.float64)), "suv_max": float(values.max()),
    }  # fmt: skip
    if one.sphere is not None:
        figures["cov"] = coefficient_of_variation(suv[one.region.box][one.sphere])
    return figures
