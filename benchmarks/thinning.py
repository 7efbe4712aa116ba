"""Thinned scans against truly thinned counts, on simulated patients.

    python benchmarks/thinning.py OUT.json [--scanners …] [--tracers …] [--seed …] [--denoise]

Each pair of scanner and tracer has a patient of its own (abdomen, 6 mm), scanned at full dose and,
with a part of the same counts, at 1/2 to 1/50. The same doses are made from the full-dose scan
alone, as `petdiff thin` does. The law was fitted on other patients. Compared, for each dose:

- the noise of each organ of 80 ml or more: the root mean square of what was added to the full-dose
  scan, over that of the true low-dose scan;
- the noise power spectrum: cubes of 64 mm that lie wholly in the body, each over its own variance;
  half of the summed difference from the true spectrum (0: the same texture), and the ratio of the
  mean frequencies;
- with --denoise, at 1/4 and 1/20: the gain in PSNR of the default model, told the dose, over the
  scan that it was given, on thinned and on truly thinned scans.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from itertools import count, product
from pathlib import Path

import numpy as np

import petdiff
from petdiff.errors import InputRefused
from petdiff.evaluation.metrics import psnr
from petdiff.evaluation.texture import cubes_within, noise_power, spectral_distance
from petdiff.image import PETImage
from petdiff.simulation.study import Simulation
from petdiff.thinning.thin import MeasuredScan
from petdiff.volume.regions import body_mask, voxel_ml

DOSES = (2.0, 4.0, 10.0, 20.0, 50.0)
GAIN_DOSES = (4.0, 20.0)
MIN_ML = 80.0
CUBE_MM = 64.0  # smaller ones do not show the power at low frequencies
SCANNERS = ("quadra", "uexplorer", "vision600", "discovery-mi", "mct-flow")
TRACERS = ("fdg", "psma", "dotatate", "fapi")


def organ_ratios(study: Simulation, thinned: PETImage, drf: float) -> dict[str, float]:
    """Return the noise added by thinning over the noise of true thinning, by organ."""
    full, true = study.full.suv, study.lows[drf].suv
    least = MIN_ML / voxel_ml(study.full.spacing_mm)
    found = {}
    for label, name in study.names.items():
        organ = study.labels == label
        if organ.sum() >= least:
            squares = [np.square(low - full)[organ].mean() for low in (thinned.suv, true)]
            found[name] = float(np.sqrt(squares[0] / squares[1]))
    return found


def spectra(study: Simulation, thinned: PETImage, drf: float) -> dict[str, float]:
    """Compare the noise power spectra of what thinning and true thinning added."""
    full, spacing_mm = study.full, study.full.spacing_mm
    cubes = cubes_within(body_mask(full.suv, spacing_mm), spacing_mm, CUBE_MM)
    powers = []
    for low in (study.lows[drf], thinned):
        added = low.suv - full.suv
        parts = np.stack([added[cube] for cube in cubes])
        parts /= parts.std(axis=(1, 2, 3), keepdims=True)
        powers.append(noise_power(parts, spacing_mm))
    _, shape = spectral_distance(*powers)
    true, made = (power.mean_frequency_per_mm for power in powers)
    return {"nps_shape_distance": shape, "nps_frequency_ratio": made / true}


def gain(full: PETImage, low: PETImage, drf: float) -> float:
    """Return what the default model gains in PSNR, in dB."""
    body = body_mask(full.suv, full.spacing_mm)
    peak = float(full.suv.max())
    denoised = petdiff.denoise(low, drf=drf).image.suv
    before, after = (psnr(full.suv, suv, peak, body) for suv in (low.suv, denoised))
    assert before is not None
    assert after is not None
    return after - before


def measured(study: Simulation, *, denoise: bool) -> list[dict[str, object]]:
    """Return a row per dose."""
    noise = MeasuredScan(study.full)
    rows = []
    for n, drf in enumerate(DOSES):
        thinned = noise.thinned(drf, seed=1000 + n)
        row: dict[str, object] = {
            "drf": drf,
            "warnings": list(thinned.record.warnings),
            "organs": organ_ratios(study, thinned.image, drf),
            **spectra(study, thinned.image, drf),
        }
        if denoise and drf in GAIN_DOSES:
            row["gain_true"] = gain(study.full, study.lows[drf], drf)
            row["gain_thinned"] = gain(study.full, thinned.image, drf)
        rows.append(row)
    return rows


def summary(rows: list[dict[str, object]]) -> None:
    """Print a line per dose over all patients, and one per scanner over all doses."""
    print(
        "dose    organs: median ratio  within 5, 10, 20 %   NPS distance  frequency   gain off, dB"
    )
    groups = {f"1/{drf:g}": [row for row in rows if row["drf"] == drf] for drf in DOSES}
    groups |= {name: [row for row in rows if row["scanner"] == name] for name in SCANNERS}
    groups |= {name: [row for row in rows if row["tracer"] == name] for name in TRACERS}
    groups["all"] = rows
    for name, chosen in groups.items():
        if not chosen:
            continue
        ratios = np.concatenate([list(row["organs"].values()) for row in chosen])  # type: ignore[attr-defined]
        within = [np.mean(np.abs(ratios - 1) <= share) for share in (0.05, 0.1, 0.2)]
        distance = np.median([row["nps_shape_distance"] for row in chosen])
        frequency = np.median([row["nps_frequency_ratio"] for row in chosen])
        line = f"{name:14s} {np.median(ratios):10.3f}        " + "  ".join(
            f"{w:4.0%}" for w in within
        )
        line += f"   {distance:8.3f}      {frequency:6.3f}"
        off = [
            row["gain_thinned"] - row["gain_true"]  # type: ignore[operator]
            for row in chosen
            if "gain_true" in row
        ]
        if off:
            share = np.mean(np.abs(off) <= 0.3)
            line += f"   {np.mean(off):+.2f} ± {np.std(off):.2f}, within 0.3: {share:.0%}"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--scanners", nargs="+", default=list(SCANNERS))
    parser.add_argument("--tracers", nargs="+", default=list(TRACERS))
    parser.add_argument("--seed", type=int, default=650_000, help="of the first patient")
    parser.add_argument("--voxel-mm", type=float, default=6.0)
    parser.add_argument("--denoise", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    pairs = product(options.scanners, options.tracers)
    for seed, (scanner, tracer) in zip(count(options.seed, 100), pairs):
        study = simulated(count(seed), scanner, tracer, DOSES, options.voxel_mm)
        about = {"seed": study.record.seed, "scanner": scanner, "tracer": tracer}
        rows += [about | row for row in measured(study, denoise=options.denoise)]
        options.output.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        print(f"{scanner} {tracer} {study.record.seed} done", flush=True)
    summary(rows)


def simulated(
    seeds: Iterable[int], scanner: str, tracer: str, doses: Sequence[float], voxel_mm: float
) -> Simulation:
    """Return the study of the first patient of `seeds` who is not wider than the scanner's bore."""
    for seed in seeds:
        try:
            return petdiff.simulate(
                seed, scanner=scanner, tracer=tracer, dose_factors=doses, voxel_mm=voxel_mm,
                extent="abdomen",
            )  # fmt: skip
        except InputRefused:
            continue
    raise AssertionError("seeds have no end")


if __name__ == "__main__":
    main()
