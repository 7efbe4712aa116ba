"""A cohort whose scans cost nothing: made-up rows, and for the page made-up images."""

from __future__ import annotations

import sys
import time
import zlib
from pathlib import Path

import numpy as np

from petdiff.evaluation.cohort.compared_metrics import METRICS
from petdiff.evaluation.cohort.definition import Cohort, Exam
from petdiff.evaluation.cohort.exam import CohortRow, Measured, Scans
from petdiff.evaluation.cohort.run import run_cohort
from petdiff.evaluation.cohort.table import Condition, Table
from petdiff.image import PETImage
from petdiff.simulation.anatomy.description import Lesion

SCANNERS = ("quadra", "uexplorer", "vision600", "discovery-mi")
TRACERS = ("fdg", "psma", "dotatate", "fapi")
DOSES = (2, 4, 10, 20, 50, 100)
GAINS = {"measured": 0.0, "gaussian": 3.0, "non-local-means": 4.0}
AFFINE = np.diag([5.0, 5.0, 5.0, 1.0])


def wide_cohort(patients: int = 2) -> Cohort:
    """96 conditions."""
    return Cohort(
        methods=list(GAINS), scanners=SCANNERS, tracers=TRACERS, doses=DOSES, patients=patients
    )  # type: ignore[arg-type]


def made_up_psnr(exam: Exam, dose: float, method: str) -> float:
    """The same number for the same scan, whoever asks."""
    words = f"{exam.name}/{dose:g}/{method}".encode()
    noise = np.random.default_rng(zlib.crc32(words)).normal()
    return float(30 - 5 * np.log10(dose) + GAINS[method] + noise)


def slow_rows(cohort: Cohort, exam: Exam) -> Measured:
    """Takes a while, so that a kill comes in the middle."""
    time.sleep(0.3)
    return made_up_rows(cohort, exam)


def made_up_rows(cohort: Cohort, exam: Exam) -> Measured:
    return Measured(
        [
            CohortRow(dose, method, "psnr_db", "body", made_up_psnr(exam, dose, method), "dB")
            for dose in cohort.doses
            for method in cohort.methods
        ]
    )


def deadly(cohort: Cohort, exam: Exam) -> Measured:
    """As a process that the system ends for want of memory."""
    import os

    os._exit(9)


def made_up_scans(seed: int = 0, twin: bool = True) -> Scans:
    """A warm body of 14 cm with a liver and two lesions, full dose and two low doses."""
    rng = np.random.default_rng(seed)
    shape = (28, 24, 30)
    i, j, k = np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    body = (i**2 + j**2 < 10**2) & (np.abs(k) < 13)
    liver = ((i - 2) ** 2 + j**2 + (k - 3) ** 2 < 7.5**2) & body
    labels = np.where(liver, 2, body).astype(np.int32)
    plain = np.where(liver, 2.5, np.where(body, 1.0, 0.0))
    lesions = (
        Lesion(centre_mm=(30.0, 60.0, 85.0), radius_mm=8, suv=10, organ="node"),
        Lesion(centre_mm=(80.0, 60.0, 65.0), radius_mm=7, suv=8, organ="node"),
        Lesion(centre_mm=(900.0, 60.0, 30.0), radius_mm=7, suv=8, organ="outside"),
    )
    hot = plain.copy()
    for lesion in lesions:
        apart = np.moveaxis(np.indices(shape) * 5.0, 0, -1) - lesion.centre_mm
        hot[np.linalg.norm(apart, axis=-1) < lesion.radius_mm] = lesion.suv
    noise = {dose: rng.normal(0, 0.05 * dose**0.5, shape) for dose in (1.0, 4.0, 20.0)}

    def scans(truth: np.ndarray) -> dict[float, PETImage]:
        return {
            dose: PETImage((truth + grain * (labels > 0)).astype(np.float32), AFFINE)
            for dose, grain in noise.items()
        }

    def whole(truth: np.ndarray, other: Scans | None) -> Scans:
        images = scans(truth)
        full = images.pop(1.0)
        image = PETImage(truth.astype(np.float32), AFFINE)
        names = {1: "soft tissue", 2: "liver"}
        return Scans(full, images, labels, names, lesions, image, other)

    return whole(hot, whole(plain, None) if twin else None)


def table_of(psnr: np.ndarray, methods: tuple[str, ...]) -> Table:
    """[method, patient, condition], the conditions being doses on one scanner."""
    patients = tuple(f"{n:04d}" for n in range(psnr.shape[1]))
    conditions = tuple(Condition("quadra", "fdg", 2.0**n) for n in range(psnr.shape[2]))
    empty = {metric.name: np.full(psnr.shape, np.nan) for metric in METRICS}
    return Table(methods, patients, conditions, {**empty, "psnr_db": psnr})


if __name__ == "__main__":
    run_cohort(
        wide_cohort(),
        Path(sys.argv[1]),
        workers=2,
        work=slow_rows,
        progress=lambda done, total: print(done, total, flush=True),
    )
