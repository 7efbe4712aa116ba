"""Measure how often the audit finds foci that were painted into a result or wiped out of it.

python benchmarks/audit.py patients OUT --first 26 --count 30   simulate and denoise; resumable
python benchmarks/audit.py lesions OUT                          paint, wipe, audit; print, draw

Patients are drawn by a seed each, with and without lesions, at 1/4 and 1/20 of the dose. Every
fifth is scanned by a scanner that training never saw. The audit's constants were chosen on patients
0 to 25; tables are of later ones.

A *painted* focus is added to the denoised scan of the patient without lesions: a ball, seen at a
resolution of 6 mm. A *wiped* one is added to the measured scan instead, with the noise that counts
of its activity have. A focus counts as found if a finding of the right kind lies within its radius
and 6 mm, and a quarter of the finding's size. A false alarm is a fabrication or an omission in an
untouched result, with or without lesions, where the full-dose scan is nearer to the denoised scan.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.inference.denoise import denoise
from petdiff.methods.model import Model, load_model
from petdiff.runs import whole_file
from petdiff.simulation import study
from petdiff.uncertainty.audit.compare import audit
from petdiff.uncertainty.audit.confirmation import is_confirmed
from petdiff.uncertainty.audit.record import Finding
from petdiff.volume.regions import body_mask

FIRST_SEED = 920_000
SCANNERS = ("quadra", "uexplorer", "vision600", "discovery-mi", "mct-flow")  # the last is unseen
TRACERS = ("fdg", "psma", "dotatate", "fapi")
EXTENTS = {"abdomen": 0.3, "thorax": 0.25, "pelvis": 0.2, "torso": 0.1, "head-neck": 0.15}
DOSES = (4, 20)
DIAMETERS_MM, CONTRASTS = (8, 10, 13, 16, 20), (4, 8, 16)
ROUNDS, PER_ROUND, APART_MM = 3, 5, 70.0
RESOLUTION_SIGMA_MM = 2.5
ALPHA, LARGEST_ALPHA = 0.01, 0.9
Volume = NDArray[np.float32]


def make_patients(out: Path, first: int, count: int, model: Model) -> None:
    """Write the scans of each patient to a file of its own; those that exist are kept."""
    out.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + count):
        path = out / f"{index:04d}.npz"
        if path.exists():
            continue
        try:
            scans = patient(index, model)
        except InputRefused as reason:  # wider than the bore
            print(index, reason, flush=True)
            continue
        with whole_file(path, replace=True) as unfinished, unfinished.open("wb") as file:
            np.savez(file, **scans)
        print(path, flush=True)


def patient(index: int, model: Model) -> dict[str, NDArray[np.floating]]:
    """Simulate and denoise one patient: with lesions (`w`) and without (`o`).

    `les` holds the lesions' centres and radii [n, 4] in mm.
    """
    rng = np.random.default_rng([FIRST_SEED, index])
    extent = str(rng.choice(list(EXTENTS), p=list(EXTENTS.values())))
    voxel_mm = 6.0 if extent == "torso" else float(rng.choice([5.0, 6.0]))
    found: dict[str, NDArray[np.floating]] = {}
    for lesions in (True, False):
        scans = study.simulate(
            FIRST_SEED + index, scanner=SCANNERS[index % 5], tracer=TRACERS[index // 5 % 4],
            dose_factors=(*DOSES, 100) if lesions else DOSES, lesions=lesions,
            voxel_mm=voxel_mm, extent=extent, threads=1,
        )  # fmt: skip
        which = "w" if lesions else "o"
        found |= {f"full_{which}": scans.full.values, "affine": scans.full.affine}
        if lesions:
            found["labels"] = scans.labels
            placed = [[*one.centre_mm, one.radius_mm] for one in scans.patient.lesions]
            found["les"] = np.reshape(placed, (-1, 4))
        for drf, low in scans.lows.items():
            told = drf if rng.integers(2) else None
            found[f"low{drf:g}_{which}"] = low.values
            found[f"den{drf:g}_{which}"] = denoise(low, model, drf=told, seed=index).image.values
    return found


@dataclass(frozen=True)
class Painted:
    """A focus that was painted or wiped, and the best finding of its kind there (p = 1: none)."""

    patient: int
    drf: int
    what: str
    diameter_mm: float
    contrast: float
    p: float


@dataclass(frozen=True)
class Alarm:
    """A fabrication or omission in an untouched result; `right`: the full-dose scan agrees."""

    patient: int
    drf: int
    kind: str
    p: float
    right: bool


def audit_patient(index: int, scans: Mapping[str, Volume]) -> tuple[list[Painted], list[Alarm]]:
    """Audit a patient's results untouched, and with foci painted into and wiped out of them."""
    affine = np.asarray(scans["affine"], dtype=np.float64)
    image = lambda values: PETImage(values.astype(np.float32), affine)  # noqa: E731
    painted: list[Painted] = []
    alarms: list[Alarm] = []
    for drf in DOSES:
        for which in "wo":
            y, x, full = (scans[f"{name}_{which}"] for name in (f"low{drf}", f"den{drf}", "full"))
            three = [image(values) for values in (y, x, full)]
            alarms += [
                Alarm(index, drf, one.kind, one.p, is_confirmed(one, *three))
                for one in audit(*three[:2], alpha=LARGEST_ALPHA).record.findings
                if one.kind != "shift"
            ]
        y, x, full = (scans[f"{name}_o"] for name in (f"low{drf}", f"den{drf}", "full"))
        rng = np.random.default_rng([FIRST_SEED, index, drf])
        for _ in range(ROUNDS):
            foci = list(draw_foci(full, image(full).spacing_mm, rng))
            total = sum((focus.activity for focus in foci), np.zeros_like(full))
            noisy = total + noise_of(total, y - full, full)
            pairs = (("fabrication", y, x + total), ("omission", y + noisy, x))
            for what, measured, denoised in pairs:
                findings = audit(image(measured), image(denoised), alpha=LARGEST_ALPHA).record
                painted += [
                    Painted(index, drf, what, focus.diameter_mm, focus.contrast,
                            focus.best(findings.findings, what, image(y).spacing_mm))
                    for focus in foci
                ]  # fmt: skip
    return painted, alarms


@dataclass(frozen=True, eq=False)
class Focus:
    """A ball of uptake; `centre` in voxels, `activity` [i, j, k] at the scanner's resolution."""

    centre: NDArray[np.float64]
    diameter_mm: float
    contrast: float
    activity: Volume

    def best(self, findings: Sequence[Finding], kind: str, spacing_mm: Sequence[float]) -> float:
        """Return the smallest p of the findings of that kind at this focus."""
        near = self.diameter_mm / 2 + 6
        found = [
            one.p
            for one in findings
            if one.kind == kind
            and np.linalg.norm((np.array(one.voxel) - self.centre) * spacing_mm)
            <= near + one.diameter_mm / 4
        ]
        return min(found, default=1.0)


def draw_foci(
    full: Volume, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> Iterator[Focus]:
    """Draw foci 15 mm or deeper in the body, 5 cm from the ends and 7 cm apart."""
    inside = np.pad(body_mask(full, spacing_mm), 1)
    deep = distance_transform_edt(inside, sampling=spacing_mm)[1:-1, 1:-1, 1:-1] > 15
    ends = int(50 / spacing_mm[2])
    deep[..., :ends] = deep[..., -ends:] = False
    places = np.argwhere(deep)
    around = gaussian_filter(full, [6.0 / size for size in spacing_mm])
    centres: list[NDArray[np.float64]] = []
    for place in rng.permutation(places)[:2000] if len(places) else ():
        if len(centres) == PER_ROUND:
            return
        apart = [np.linalg.norm((place - one) * spacing_mm) for one in centres]
        if min(apart, default=np.inf) < APART_MM:
            continue
        centre = place + rng.uniform(-0.5, 0.5, 3)
        centres.append(centre)
        diameter_mm, contrast = float(rng.choice(DIAMETERS_MM)), float(rng.choice(CONTRASTS))
        ball = blurred_ball(full.shape, spacing_mm, centre, diameter_mm / 2)
        excess = np.float32((contrast - 1) * around[tuple(place)])
        yield Focus(centre, diameter_mm, contrast, excess * ball)


def blurred_ball(
    shape: tuple[int, ...],
    spacing_mm: Sequence[float],
    centre: NDArray[np.float64],
    radius_mm: float,
) -> Volume:
    """Return what a scanner shows of a ball of uptake 1, from voxels of a quarter of the size."""
    fine = 4
    near, axes = [], []
    for n, size, at in zip(shape, spacing_mm, centre, strict=True):
        reach = int(np.ceil((radius_mm + 4 * RESOLUTION_SIGMA_MM) / size)) + 1
        first, last = max(round(at) - reach, 0), min(round(at) + reach + 1, n)
        near.append(slice(first, last))
        axes.append(((np.arange(first * fine, last * fine) + 0.5) / fine - 0.5 - at) * size)
    squares = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2
    ball = (squares <= radius_mm**2).astype(np.float32)
    ball = gaussian_filter(
        ball, [RESOLUTION_SIGMA_MM * fine / size for size in spacing_mm], mode="constant"
    )
    split = [m for n in ball.shape for m in (n // fine, fine)]
    found = np.zeros(shape, np.float32)
    found[tuple(near)] = ball.reshape(split).mean(axis=(1, 3, 5))
    return found


def noise_of(activity: Volume, noise: Volume, full: Volume) -> Volume:
    """Return the noise that more activity adds: the scan's own, grown as the root of activity."""
    ratio = (full + activity) / np.maximum(full, 0.02)
    added = noise * (np.sqrt(np.maximum(ratio, 1)) - 1)
    return np.asarray(np.clip(added, -activity, 5 * activity), dtype=np.float32)


def read(out: Path, first: int) -> tuple[list[Painted], list[Alarm], list[int]]:
    """Audit each patient once, and return what was found of patients from `first` on."""
    painted: list[Painted] = []
    alarms: list[Alarm] = []
    patients = []
    for path in sorted(out.glob("[0-9][0-9][0-9][0-9].npz")):
        index, kept = int(path.stem), path.with_suffix(".json")
        if index < first:
            continue
        if not kept.exists():
            with np.load(path) as scans:
                found = audit_patient(index, scans)
            kept.write_text(json.dumps([[asdict(one) for one in part] for part in found]))
            print(kept, flush=True)
        rows = json.loads(kept.read_text())
        painted += [Painted(**row) for row in rows[0]]
        alarms += [Alarm(**row) for row in rows[1]]
        patients.append(index)
    return painted, alarms, patients


def share(painted: Sequence[Painted], chosen: Callable[[Painted], bool], alpha: float) -> str:
    found = [one.p < alpha for one in painted if chosen(one)]
    return f"{np.mean(found):.0%} of {len(found)}" if found else ""


def report(painted: Sequence[Painted], alarms: Sequence[Alarm], patients: Sequence[int]) -> None:
    """Print the tables."""
    scans = 2 * len(DOSES) * len(patients)
    print(f"{len(patients)} patients, {scans} untouched results")
    for kind in ("fabrication", "omission"):
        false = sum(a.kind == kind and not a.right and a.p < ALPHA for a in alarms)
        true = sum(a.kind == kind and a.right and a.p < ALPHA for a in alarms)
        print(
            f"{kind}: false {false / scans:.2f}, confirmed by full dose {true / scans:.2f} a scan"
        )
    for what in ("fabrication", "omission"):
        own = [one for one in painted if one.what == what]
        print(f"\n{what}: {share(own, lambda one: True, ALPHA)}")
        for drf in DOSES:
            print(f"| 1/{drf} | " + " | ".join(f"{mm} mm" for mm in DIAMETERS_MM) + " |")
            for contrast in CONTRASTS:
                cells = [
                    share(own, lambda one, d=drf, c=contrast, mm=mm: (  # type: ignore[misc]
                        one.drf == d and one.contrast == c and one.diameter_mm == mm), ALPHA)
                    for mm in DIAMETERS_MM
                ]  # fmt: skip
                print(f"| {contrast} | " + " | ".join(cells) + " |")


def draw(painted: Sequence[Painted], alarms: Sequence[Alarm], patients: int, path: Path) -> None:
    """Draw the share that is found against false alarms, over alpha, by size, contrast and dose."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    alphas = np.geomspace(1e-6, LARGEST_ALPHA, 60)
    false = np.array([a.p for a in alarms if not a.right])
    rate = [(false < alpha).sum() / (2 * len(DOSES) * patients) for alpha in alphas]
    figure, axes = plt.subplots(
        2, 6, figsize=(13, 5), sharex=True, sharey=True, layout="constrained"
    )
    for row, what in enumerate(("fabrication", "omission")):
        for column, (drf, contrast) in enumerate((d, c) for d in DOSES for c in CONTRASTS):
            axis = axes[row, column]
            for mm in DIAMETERS_MM:
                p = np.array([
                    one.p for one in painted
                    if (one.what, one.drf, one.contrast, one.diameter_mm)
                    == (what, drf, contrast, mm)
                ])  # fmt: skip
                if p.size:
                    axis.step(
                        rate, [(p < a).mean() for a in alphas], where="post", label=f"{mm} mm"
                    )
            axis.axvline(0.2, color="0.7", lw=0.8)
            axis.set_title(f"{what}s\n1/{drf}, contrast {contrast}", fontsize=9)
            axis.set_xlim(0, 0.6)
            axis.set_ylim(0, 1.02)
    axes[0, 0].legend(fontsize=7)
    figure.supxlabel("false alarms per scan", fontsize=10)
    figure.supylabel("share found", fontsize=10)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["patients", "lesions"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--first", type=int, default=26)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--model", default="flow3d")
    asked = parser.parse_args()
    if asked.what == "patients":
        make_patients(asked.out, asked.first, asked.count, load_model(asked.model))
        return
    painted, alarms, patients = read(asked.out, asked.first)
    report(painted, alarms, patients)
    draw(painted, alarms, len(patients), asked.out / "audit.png")


if __name__ == "__main__":
    main()
