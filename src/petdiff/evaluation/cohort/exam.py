"""Measure one exam of a cohort: scan one patient, apply every method, measure every result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from petdiff.data.checks import SAME_GRID_MM
from petdiff.data.fingerprint import was_trained_on
from petdiff.data.layouts import Drf, dose_text
from petdiff.data.pairs import read_pair
from petdiff.errors import InputRefused
from petdiff.evaluation.baselines import best_gaussian, best_non_local_means, gaussian
from petdiff.evaluation.cohort.check_rows import alarm_rows, audit_rows
from petdiff.evaluation.cohort.definition import (
    FULL_DOSE,
    GAUSSIAN,
    MEASURED,
    NON_LOCAL_MEANS,
    Cohort,
    ComparedMethod,
    Exam,
    worst_case_methods,
)
from petdiff.evaluation.cohort.interval_rows import interval_rows
from petdiff.evaluation.cohort.pace import Reporter
from petdiff.evaluation.cohort.snapshots import ShownLesion, Snapshots, take_snapshots
from petdiff.evaluation.detection import lesion_study
from petdiff.evaluation.detection.lesion_study import Reading, Twins
from petdiff.evaluation.metrics import coverage
from petdiff.evaluation.protocol import Case, Row, measure_scan, prepare
from petdiff.evaluation.weighted_mask import WeightedMask, sphere_mask
from petdiff.image import PETImage
from petdiff.simulation import study
from petdiff.simulation.anatomy.description import Lesion
from petdiff.volume.regions import Volume

if TYPE_CHECKING:
    from petdiff.methods.model import Model

Labels = NDArray[np.int32]


class MethodResult(NamedTuple):
    """The result of a method: SUV, strength of a filter, standard deviation in SUV."""

    suv: Volume
    strength: float = 0.0
    uncertainty: Volume | None = None


class VisibleLesion(NamedTuple):
    """A simulated lesion in the field of view, and its mask on the grid."""

    mask: WeightedMask
    lesion: Lesion


class CohortRow(NamedTuple):
    """One figure of one method for one scan.

    dose  reduction factor, 1 for full dose; None if unknown
    """

    dose: Drf
    method: str
    metric: str
    region: str
    value: float | None
    unit: str


@dataclass(frozen=True, eq=False)
class Scans:
    """A patient's scans on one grid, with labels and lesions if known.

    truth, twin  only for simulated patients; the twin is the same patient without lesions
    """

    full: PETImage
    lows: Mapping[Drf, PETImage]
    labels: Labels | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    lesions: Sequence[Lesion] = ()
    truth: PETImage | None = None
    twin: Scans | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """The results of an exam: rows, readings of the lesion detector, and small pictures.

    trained_on  methods whose model was trained on this patient
    """

    rows: list[CohortRow]
    readings: list[Reading] = field(default_factory=list)
    snapshots: Snapshots = field(default_factory=Snapshots)
    trained_on: Sequence[str] = ()


def measure_exam(cohort: Cohort, exam: Exam) -> Measured:
    """Scan, denoise and measure. The same exam gives the same figures, except `seconds`.

    Raises InputRefused for one's own pairs that cannot be read or have different grids.
    """
    scans = _read(cohort, exam) if exam.pair else _simulate(cohort, exam)
    return measure_scans(scans, cohort.methods, exam)


def measure_scans(scans: Scans, methods: Mapping[str, ComparedMethod], exam: Exam) -> Measured:
    """Apply every method to every low-dose scan, and compare with the full-dose scan."""
    full = scans.full
    lesions = list(_inside(scans.lesions, full))
    masks = [lesion.mask for lesion in lesions]
    case = prepare(full.suv, full.spacing_mm, scans.labels, scans.names, masks)
    shown = worst_case_methods(methods)
    rows = [CohortRow(1.0, FULL_DOSE, *row) for row in case.figures]
    snapshots = Snapshots()
    twins: dict[tuple[str, float], Twins] = {}
    for compared in methods.values():  # load models first: `seconds` is without loading
        if not compared.is_filter:
            _model(compared.model)
    for dose, low in scans.lows.items():
        images = {FULL_DOSE: full.suv}
        found: list[CohortRow] = []
        for name, compared in methods.items():
            start = time.perf_counter()
            result = _apply(compared, low, dose, case, exam.seed, Reporter(name))
            seconds = time.perf_counter() - start
            images[name] = result.suv
            method = None if compared.is_filter else _model(compared.model).method
            measured = [
                *measure_scan(case, result.suv),
                *_extra_rows(compared, result, case, seconds),
                *interval_rows(compared, method, low, dose, result.suv, case),
                *audit_rows(compared, low, result.suv, case),
                *alarm_rows(compared, low),
            ]
            found += [CohortRow(dose, name, *row) for row in measured]
            if scans.twin:
                without = _apply_to_twin(compared, scans.twin, dose, result.strength, case, exam)
                assert dose is not None  # simulated scans have a dose
                twins[name, dose] = Twins(result.suv, without)
        rows += found
        snapshots |= take_snapshots(images, full, dose, _worst(found, lesions, shown))
    return Measured(rows, _readings(scans, exam, twins), snapshots, _trained_on(methods, full))


def _simulate(cohort: Cohort, exam: Exam) -> Scans:
    simulation = study.simulate(
        exam.seed,
        scanner=exam.scanner,
        tracer=exam.tracer,
        dose_factors=cohort.doses,
        voxel_mm=cohort.voxel_mm,
        extent=cohort.extent,
    )
    twin = study.rescan(simulation.record, lesions=False) if cohort.lesions else None
    return Scans(
        simulation.full,
        _by_dose(simulation.lows),
        simulation.labels.astype(np.int32),
        simulation.names,
        simulation.patient.lesions,
        simulation.truth,
        Scans(twin.full, _by_dose(twin.lows), truth=twin.truth) if twin else None,
    )


def _by_dose(lows: Mapping[float, PETImage]) -> dict[Drf, PETImage]:
    return dict[Drf, PETImage](lows.items())


def _read(cohort: Cohort, exam: Exam) -> Scans:
    assert exam.pair is not None
    factors = [f for f in exam.pair.lows if not cohort.doses or f in cohort.doses]
    if not factors:
        present = ", ".join(dose_text(factor) for factor in exam.pair.lows)
        raise InputRefused(
            f"{exam.label} has none of the cohort's doses, only {present}: change doses in the "
            "file, or leave it out to use all"
        )
    lows = {}
    for factor in factors:
        lows[factor], full = read_pair(exam.pair, factor)
        if not lows[factor].shares_voxels(full, SAME_GRID_MM):
            raise InputRefused(
                f"{exam.label}: the scan at {dose_text(factor)} has other voxels than the "
                "full-dose scan: resample it, or remove it"
            )
    return Scans(full, lows)


def _apply(
    compared: ComparedMethod,
    low: PETImage,
    dose: Drf,
    case: Case,
    seed: int,
    report: Reporter | None = None,
) -> MethodResult:
    """Apply a method to a scan; filters have the best strength for the full-dose scan."""
    if compared.model == MEASURED:
        return MethodResult(low.suv)
    if compared.model == GAUSSIAN:
        return MethodResult(*best_gaussian(low.suv, case.reference, case.spacing_mm, case.body))
    if compared.model == NON_LOCAL_MEANS:
        return MethodResult(*best_non_local_means(low.suv, case.reference, case.body))
    return _denoise(compared, low, dose, seed, report)


def _apply_to_twin(
    compared: ComparedMethod, twin: Scans, dose: Drf, strength: float, case: Case, exam: Exam
) -> Volume:
    """Apply a method to the twin; a filter has the same strength as for the patient."""
    low = twin.lows[dose]
    if compared.model == GAUSSIAN:
        return gaussian(low.suv, case.spacing_mm, strength)
    if compared.model == NON_LOCAL_MEANS:
        chosen = (strength,) if strength else ()
        return best_non_local_means(low.suv, case.reference, case.body, chosen).suv
    return _apply(compared, low, dose, case, exam.seed).suv


def _denoise(
    compared: ComparedMethod, low: PETImage, dose: Drf, seed: int, report: Reporter | None
) -> MethodResult:
    import torch

    from petdiff.inference.denoise import denoise

    generator = torch.Generator().manual_seed(seed)
    result = denoise(
        low,
        _model(compared.model),
        steps=compared.steps,
        samples=compared.samples,
        drf=dose if compared.tell_dose else None,  # may be unknown for one's own pairs
        generator=generator,
        callback=report,
    )
    uncertainty = None if result.uncertainty is None else result.uncertainty.suv
    return MethodResult(result.image.suv, uncertainty=uncertainty)


@cache
def _model(name: str) -> Model:
    """Load a model once per process."""
    from petdiff.methods.model import load_model

    return load_model(name)


def _trained_on(methods: Mapping[str, ComparedMethod], full: PETImage) -> list[str]:
    """Return the methods whose model's card lists this full-dose scan among its training scans."""
    return [
        name
        for name, compared in methods.items()
        if not compared.is_filter
        and was_trained_on(full, _model(compared.model).card.training_patients)
    ]


def _extra_rows(
    compared: ComparedMethod, result: MethodResult, case: Case, seconds: float
) -> Iterator[Row]:
    yield Row("seconds", "all", seconds, "s")
    if result.uncertainty is not None:
        covered = coverage(case.reference, result.suv, result.uncertainty, case.body)
        yield from (Row(metric, "body", value, "1") for metric, value in covered.items())
    if compared.model == GAUSSIAN:
        yield Row("filter_strength", "all", result.strength, "mm")
    elif compared.model == NON_LOCAL_MEANS:
        yield Row("filter_strength", "all", result.strength, "1")


def _inside(lesions: Sequence[Lesion], grid: PETImage) -> Iterator[VisibleLesion]:
    """Yield the lesions in the field of view; names have the number in the full list."""
    for number, lesion in enumerate(lesions, start=1):
        suv = lesion.suv if lesion.shape == "round" else None
        name = f"lesion {number} ({lesion.organ})"
        try:
            mask = sphere_mask(
                name, lesion.centre_mm, lesion.radius_mm, grid.suv.shape, grid.affine, suv
            )
        except InputRefused:
            continue
        yield VisibleLesion(mask, lesion)


def _worst(
    rows: Sequence[CohortRow], lesions: Sequence[VisibleLesion], shown: Sequence[str]
) -> ShownLesion | None:
    """Return the lesion with the largest error of SUVpeak by a shown method."""
    centres = {one.mask.name: one.lesion.centre_mm for one in lesions}
    errors = [
        (abs(row.value), row.region)
        for row in rows
        if row.metric == "suv_peak_bias" and row.value is not None
        if row.method in shown and row.region in centres
    ]
    if not errors:
        return None
    _, name = max(errors)
    return ShownLesion(name, centres[name])


def _readings(scans: Scans, exam: Exam, twins: Mapping[tuple[str, float], Twins]) -> list[Reading]:
    twin = scans.twin
    if twin is None:
        return []
    assert scans.truth is not None
    assert twin.truth is not None
    return lesion_study.read_case(
        lesion_study.TwinCase(
            exam.name,
            exam.patient,
            scans.full.affine,
            scans.lesions,
            Twins(scans.truth.suv, twin.truth.suv),
            Twins(scans.full.suv, twin.full.suv),
            twins,
        )
    )
