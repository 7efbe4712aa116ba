"""Compute how many foci an ideal audit would find, and compare it with what the audit finds.

python benchmarks/audit_limits.py OUT --first 26

OUT is that of `benchmarks/audit.py`, after both of its steps. The ideal audit knows the true noise
of each patient: its standard deviation around each place and its skewness at each scale, from the
difference of low- and full-dose scan. It knows the place, looks through the best of the audit's
balls, and tolerates nothing. Noise is taken as a Pearson III variable, which a gamma variable is.

search  it lists a focus from the deviation at which p is 0.01 for all places of a scan (Z_SEARCH)
known   it is asked about one place only, at p = 0.01

Scans of more than 700,000 voxels (trunks) are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from audit import CONTRASTS, DIAMETERS_MM, DOSES, FIRST_SEED, ROUNDS, draw_foci
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.stats import norm, pearson3

from petdiff.image import PETImage
from petdiff.uncertainty.audit.noise import MIN_ACTIVITY_SHARE, NOISE_POWER, WINDOW_MM
from petdiff.uncertainty.audit.scales import AtScale, at_scales
from petdiff.volume.regions import Spacing, body_mask

Z_SEARCH, P_KNOWN = 5.35, 0.01
MAX_VOXELS = 700_000
KINDS = ("fabrication", "omission")
Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Focus:
    """Hold what both audits make of a focus; `search` and `known` are the ideal one's chances."""

    patient: int
    drf: int
    what: str
    diameter_mm: float
    contrast: float
    search: float
    known: float
    found: bool


def true_noise(
    low: Volume, full: Volume, drf: int, scales: Sequence[AtScale], spacing_mm: Spacing
) -> tuple[list[Volume], list[float]]:
    """Return the standard deviation of the noise around each voxel and its skewness, by scale.

    The full-dose scan holds the counts of the low one, so that the variance of their difference is
    that of the low-dose scan times 1 − 1/drf.

    scales  the full-dose scan at the audit's scales
    """
    body = body_mask(low, spacing_mm)
    activity = scales[-1].mean
    expected = np.maximum(activity, MIN_ACTIVITY_SHARE * np.median(activity[body])) ** NOISE_POWER
    window = [2 * round(WINDOW_MM / 2 / size) + 1 for size in spacing_mm]

    def mean(values: NDArray[np.floating]) -> NDArray[np.float64]:
        inside = np.where(body, values, 0).astype(np.float64)
        return np.asarray(uniform_filter(inside, window, mode="constant"))

    levels, skews = [], []
    noise = (low - full) * np.float32((1 - 1 / drf) ** -0.5)
    for scale in at_scales(noise, spacing_mm):
        squares = mean((scale.contrast / expected) ** 2) / np.maximum(mean(body), 1e-3)
        level = expected * np.sqrt(np.maximum(squares, 1e-20))
        levels.append(level.astype(np.float32))
        skews.append(max(float(((scale.contrast / level)[body] ** 3).mean()), 0.01))
    return levels, skews


def power(contrast: float, ratio: float, noise: float, skew: float, p: float) -> dict[str, float]:
    """Return with what probability a focus is found at one scale, if painted and if wiped.

    contrast  of the focus at this scale
    ratio     activity with the focus over that without, by whose root the noise grows
    noise     standard deviation without the focus
    p         of noise alone, at which a focus is listed
    """
    cold = pearson3(skew, scale=noise)
    hot = pearson3(skew / ratio**0.5, scale=noise * ratio**0.5)
    return {
        "fabrication": float(cold.cdf(contrast + hot.ppf(p))),
        "omission": float(hot.sf(cold.isf(p) - contrast)),
    }


def foci_of(out: Path, index: int) -> list[Focus]:
    """Return the foci of a patient as `benchmarks/audit.py` drew them."""
    listed = json.loads((out / f"{index:04d}.json").read_text())[0]
    with np.load(out / f"{index:04d}.npz") as scans:
        affine, full = np.asarray(scans["affine"], dtype=np.float64), scans["full_o"]
        lows = {drf: scans[f"low{drf}_o"] for drf in DOSES}
    if full.size > MAX_VOXELS:
        return []
    spacing_mm, found = PETImage(full, affine).spacing_mm, []
    scales = list(at_scales(full, spacing_mm))
    for drf, low in lows.items():
        levels, skews = true_noise(low, full, drf, scales, spacing_mm)
        rng = np.random.default_rng([FIRST_SEED, index, drf])
        foci = [f for _ in range(ROUNDS) for f in draw_foci(full, spacing_mm, rng)]
        for what in KINDS:
            rows = [row for row in listed if row["drf"] == drf and row["what"] == what]
            for focus, row in zip(foci, rows, strict=True):
                at = tuple(np.round(focus.centre).astype(int))
                own = list(at_scales(focus.activity, spacing_mm))
                best = dict.fromkeys(("search", "known"), 0.0)
                for mine, scale, level, skew in zip(own, scales, levels, skews, strict=True):
                    noise = float(level[at])
                    ratio = 1 + float(mine.mean[at]) / max(float(scale.mean[at]), noise)
                    for name, p in (("search", norm.sf(Z_SEARCH)), ("known", P_KNOWN)):
                        share = power(float(mine.contrast[at]), ratio, noise, skew, p)[what]
                        best[name] = max(best[name], share)
                found.append(
                    Focus(index, drf, what, focus.diameter_mm, focus.contrast, best["search"],
                          best["known"], row["p"] < 0.01)
                )  # fmt: skip
    return found


def report(foci: Sequence[Focus]) -> None:
    """Print the share that is found, and that an ideal audit would find."""

    def cells(chosen: Callable[[Focus], bool]) -> str:
        shown = []
        for what in KINDS:
            own = [one for one in foci if one.what == what and chosen(one)]
            shares = [
                np.mean([getattr(one, n) for one in own]) for n in ("found", "search", "known")
            ]
            shown.append(" | ".join(f"{share:.0%}" for share in shares))
        return " | ".join(shown)

    print(f"{len({one.patient for one in foci})} patients, {len(foci) // 2} foci of each kind")
    print("| | painted: found | ideal | at a known place | wiped: found | ideal | known |")
    print("|---|---|---|---|---|---|---|")
    print(f"| all | {cells(lambda one: True)} |")
    for name, values, title in (
        ("drf", DOSES, "1/{}"), ("diameter_mm", DIAMETERS_MM, "{} mm"),
        ("contrast", CONTRASTS, "contrast {}"),
    ):  # fmt: skip
        for value in values:
            shown = cells(lambda one, n=name, v=value: getattr(one, n) == v)  # type: ignore[misc]
            print(f"| {title.format(value)} | {shown} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--first", type=int, default=26)
    asked = parser.parse_args()
    indices = sorted(int(p.stem) for p in asked.out.glob("[0-9][0-9][0-9][0-9].json"))
    report([focus for n in indices if n >= asked.first for focus in foci_of(asked.out, n)])


if __name__ == "__main__":
    main()
