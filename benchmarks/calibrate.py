"""Calibrate a model's intervals on simulated patients, and measure how often they hold.

python benchmarks/calibrate.py patients OUT --count 300   simulate, denoise, measure; resumable
python benchmarks/calibrate.py fit OUT                    make the calibration, print its coverage

Patients are drawn by a seed each: tracer and scanner in turn, body part, voxel size and whether the
dose is given at random. Every eighth is scanned by the scanner that training never saw, and has no
part in the calibration. In each block of sixteen, patients have the same role: of five blocks one
fits the scale, two give the conformal bounds, two are for testing. Half of the patients that fit
or calibrate are scanned by invented scanners, because a user's scanner is none of the simulated
ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from calibration_figures import measure_patient
from numpy.typing import NDArray

from petdiff.inference.denoise import denoise
from petdiff.methods.model import Model, load_model
from petdiff.methods.weights_files import SHIPPED
from petdiff.runs import whole_file
from petdiff.simulation import study
from petdiff.simulation.scanner.scanners import SCANNERS as REAL_SCANNERS
from petdiff.simulation.scanner.scanners import Scanner
from petdiff.training.supply.simulated_patients import invented_like
from petdiff.uncertainty.calibration.features import FIGURE_FEATURES
from petdiff.uncertainty.calibration.fit import PatientErrors, fit_figure
from petdiff.uncertainty.calibration.record import (
    CalibratedFigure,
    Calibration,
    Coverage,
    FigureCalibration,
    RegionKind,
    save_calibration,
)

FIRST_SEED = 600_000
SCANNERS = ("quadra", "uexplorer", "vision600", "discovery-mi")
UNSEEN = "mct-flow"
TRACERS = ("fdg", "psma", "dotatate", "fapi")
EXTENTS = ("abdomen", "abdomen", "thorax", "pelvis", "head-neck")
VOXELS_MM = (3, 4, 5, 6)
DOSES = (2, 4, 20, 100)
Role = Literal["fitting", "calibrating", "testing", "unseen"]


@dataclass(frozen=True)
class Plan:
    """How patient `index` is drawn and scanned, and what it is for."""

    index: int
    scanner: str
    invented_scanner: bool  # similar to `scanner`
    tracer: str
    extent: str
    voxel_mm: float
    dose_given: tuple[bool, ...]
    role: Role

    @classmethod
    def of(cls, index: int) -> Plan:
        """Return the plan of a patient; it depends on its number alone."""
        rng = np.random.default_rng([FIRST_SEED, index])
        extent, voxel_mm = str(rng.choice(EXTENTS)), float(rng.choice(VOXELS_MM))
        given = tuple(bool(n) for n in rng.integers(0, 2, len(DOSES)))
        if index % 8 == 7:
            tracer = TRACERS[index // 8 % 4]
            return cls(index, UNSEEN, False, tracer, extent, voxel_mm, given, "unseen")
        roles: tuple[Role, ...] = ("fitting", "calibrating", "calibrating", "testing", "testing")
        block, tracer, scanner = index // 16, index // 4 % 4, index % 4
        role = roles[block % 5]
        # Every tracer meets every scanner and its invented relatives, in alternate blocks.
        invented = role in ("fitting", "calibrating") and (block + tracer + scanner) % 2 == 1
        return cls(
            index, SCANNERS[scanner], invented, TRACERS[tracer], extent, voxel_mm, given, role
        )

    @property
    def given(self) -> dict[float, bool]:
        """Whether the model is given the dose, by dose reduction factor."""
        return dict(zip(map(float, DOSES), self.dose_given, strict=True))

    def simulate(self, *, threads: int | None = None) -> study.Simulation:
        """Simulate the patient and its scans at full dose and at all DOSES."""
        scanner: str | Scanner = self.scanner
        if self.invented_scanner:
            rng = np.random.default_rng([FIRST_SEED, self.index, 1])
            scanner = invented_like(REAL_SCANNERS[self.scanner], rng)
        return study.simulate(
            FIRST_SEED + self.index,
            scanner=scanner,
            tracer=self.tracer,
            dose_factors=DOSES,
            voxel_mm=self.voxel_mm,
            extent=self.extent,
            threads=threads,
        )

    def facts(self, dose: float, given: bool) -> dict[str, str]:
        """Return what is known of one of its scans."""
        known = {"scanner": self.scanner, "tracer": self.tracer, "drf": f"{dose:g}"}
        return known | {"dose": "known" if given else "unknown"}


Table = dict[str, NDArray[np.float32]]
CALIBRATED: tuple[tuple[CalibratedFigure, RegionKind | None], ...] = (
    ("voxel", None),
    *((figure, region) for figure in ("suv_mean", "suv_max") for region in (None, "organ")),
    *(
        (figure, region)
        for region in ("lesion", "sphere")
        for figure in ("suv_mean", "suv_max", "suv_peak", "volume_41_ml")
    ),
    ("suv_peak", None),
    ("volume_41_ml", None),
    ("cov", None),
)


def save_tables(path: Path, tables: Table) -> None:
    """Write the tables of a patient, whole or not at all, and print their path."""
    with whole_file(path, replace=True) as unfinished, unfinished.open("wb") as file:
        np.savez(file, **tables)
    print(path, flush=True)


def make_patients(out: Path, count: int, model: Model, minutes: float) -> None:
    """Write the tables of each patient to a file of its own; those that exist are kept."""
    out.mkdir(parents=True, exist_ok=True)
    stop = time.monotonic() + 60 * minutes
    for index in range(count):
        path, seed, plan = out / f"{index:04d}.npz", FIRST_SEED + index, Plan.of(index)
        if path.exists():
            continue
        if time.monotonic() > stop:
            break
        scans = plan.simulate()
        given = plan.given
        denoised_scans = {
            drf: denoise(low, model, drf=drf if given[drf] else None, seed=seed).image
            for drf, low in scans.lows.items()
        }
        save_tables(path, measure_patient(scans, denoised_scans, given, seed))


class Patient(NamedTuple):
    """A patient's plan and tables."""

    plan: Plan
    table: Table

    def errors(
        self, figure: CalibratedFigure, region: RegionKind | None, scan: str
    ) -> PatientErrors:
        """Return the errors of a scan: denoised, measured or gaussian; all regions for None.

        Only the denoised scan may lean towards the measured one.
        """
        kinds = [region] if region else ["all"] if figure == "voxel" else KINDS
        keys = [f"{figure} {kind}" for kind in kinds if f"{figure} {kind} reference" in self.table]

        def column(name: str) -> NDArray[np.float64]:
            parts = [self.table[f"{key} {name}"].astype(np.float64) for key in keys]
            return np.concatenate(parts) if parts else np.zeros(0)

        doses, given = column("drf"), column("given")
        known = {"scanner": self.plan.scanner, "tracer": self.plan.tracer}
        facts = {name: np.full(doses.size, value) for name, value in known.items()}
        return PatientErrors(
            column("reference"),
            column(scan),
            column("measured" if scan == "denoised" else scan),
            {name: column(f"{scan}:{name}") for name in FIGURE_FEATURES[figure]},
            facts
            | {
                "drf": np.array([f"{dose:g}" for dose in doses], dtype=str),
                "dose": np.where(given > 0, "known", "unknown"),
            },
        )


KINDS: tuple[RegionKind, ...] = ("lesion", "organ", "sphere")


def read_patients(out: Path) -> list[Patient]:
    """Return the patients that have been measured, in their order."""
    found = []
    for path in sorted(out.glob("[0-9]*.npz")):
        with np.load(path) as tables:
            found.append(Patient(Plan.of(int(path.stem)), {k: tables[k] for k in tables.files}))
    return found


def calibrate(
    patients: Sequence[Patient],
    figure: CalibratedFigure,
    region: RegionKind | None,
    scan: str = "denoised",
) -> FigureCalibration | None:
    """Return the calibration of a figure of one of these scans."""

    def of(role: Role) -> list[PatientErrors]:
        return [p.errors(figure, region, scan) for p in patients if p.plan.role == role]

    return fit_figure(
        figure, region, of("fitting"), of("calibrating"), FIGURE_FEATURES[figure], ["drf"]
    )


class Held(NamedTuple):
    """Shares of the errors of one patient that lie within their intervals, and their mean width."""

    share: float
    width: float


Chosen = Callable[[PatientErrors], NDArray[np.bool_]]


def held(
    patients: Sequence[Patient],
    calibrated: FigureCalibration,
    level: float,
    role: Role,
    scan: str = "denoised",
    chosen: Chosen | None = None,
    dose_known: bool = False,
) -> list[Held]:
    """Return how often intervals hold in each patient of a role that has any such figure.

    dose_known  use the bounds of the scan's dose
    """
    found = []
    for patient in patients:
        errors = patient.errors(calibrated.figure, calibrated.region, scan)
        if patient.plan.role != role or not errors.reference.size:
            continue
        lower, upper = _interval(errors, calibrated, level, dose_known)
        part = np.ones(lower.size, bool) if chosen is None else chosen(errors)
        if part.any():
            within = (lower <= errors.reference) & (errors.reference <= upper)
            found.append(Held(float(within[part].mean()), float((upper - lower)[part].mean())))
    return found


def _interval(
    errors: PatientErrors, calibrated: FigureCalibration, level: float, dose_known: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    centre = errors.reference - errors.errors(calibrated.toward_measured)
    scale = calibrated.scale(errors.features)
    lowest = np.minimum(np.minimum(errors.denoised, errors.measured), 0)
    sides = np.zeros((2, scale.size))
    for drf in set(errors.facts["drf"].tolist()):
        group = calibrated.bounds({"drf": drf} if dose_known else {}, level)
        assert group is not None
        sides[:, errors.facts["drf"] == drf] = np.array(group.bounds[f"{level:g}"])[:, None]
    lower, upper = np.maximum(centre + sides * scale, lowest)
    return lower, upper


def fit(patients: Sequence[Patient], model: Model) -> Calibration:
    """Return the calibration with its coverage on the patients that are for testing."""
    figures = [calibrate(patients, *which) for which in CALIBRATED]
    known = [one for one in figures if one is not None and "0.9" in one.groups[0].bounds]
    roles = [p.plan.role for p in patients]
    counts = {role: roles.count(role) for role in ("fitting", "calibrating", "testing", "unseen")}
    voxels = sorted({p.plan.voxel_mm for p in patients})
    coverage = []
    for one in known:
        for role in ("testing", "unseen"):
            for level in map(float, one.groups[0].bounds):
                rows = held(patients, one, level, role)
                if rows:
                    coverage.append(_coverage(one, level, rows, role == "unseen"))
    return Calibration(
        weights_sha256=model.sha256,
        steps=1,
        patients=(
            f"{counts['calibrating']} simulated patients of seeds from {FIRST_SEED} on, and "
            f"{counts['fitting']} others for the scale; half of them on {', '.join(SCANNERS)}, "
            "the others on invented scanners similar to them; "
            f"{', '.join(TRACERS)}; abdomen, thorax, pelvis, head and neck; each at "
            f"{', '.join(f'1/{dose}' for dose in DOSES)} of the dose, which was given to the model "
            f"in half of the scans. Coverage: {counts['testing']} further patients, and "
            f"{counts['unseen']} on {UNSEEN}."
        ),
        voxel_mm=(voxels[0], voxels[-1]),
        region_ml={kind: _volumes_ml(patients, kind) for kind in KINDS},
        figures=tuple(known),
        coverage=tuple(coverage),
    )


def _volumes_ml(patients: Sequence[Patient], kind: RegionKind) -> tuple[float, float]:
    """Return the 1st and the 99th percentile of the volumes of the calibrating regions."""
    key = f"suv_mean {kind} denoised"
    tables = [
        p.table for p in patients if p.plan.role == "calibrating" and f"{key}:noise" in p.table
    ]
    noise, of_mean = (
        np.concatenate([table[f"{key}:{name}"] for table in tables]).astype(np.float64)
        for name in ("noise", "noise_of_mean")
    )
    # noise_of_mean is the noise over the root of the volume in ml
    low, high = np.quantile((noise / of_mean) ** 2, (0.01, 0.99))
    return float(f"{low:.3g}"), float(f"{high:.3g}")


def _coverage(one: FigureCalibration, level: float, rows: Sequence[Held], unseen: bool) -> Coverage:
    share, width = (float(np.mean(column)) for column in zip(*rows, strict=True))
    return Coverage(
        figure=one.figure,
        region=one.region,
        level=level,
        patients=len(rows),
        held=round(share, 4),
        width=round(width, 4),
        unseen_scanner=unseen,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["patients", "fit"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="flow3d")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=1e9)
    asked = parser.parse_args()
    model = load_model(asked.model)
    if asked.what == "patients":
        make_patients(asked.out, asked.count, model, asked.minutes)
        return
    shipped = Path(str(SHIPPED)) / f"{asked.model}.safetensors"
    weights = shipped if shipped.is_file() else Path(asked.model)
    print(save_calibration(weights, fit(read_patients(asked.out), model)))


if __name__ == "__main__":
    main()
