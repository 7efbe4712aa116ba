"""Measure one scan of an acceptance test.

The full-dose scan is thinned to each dose. The thinned scan, the filtered scan and the denoised
scan are compared with the full-dose scan.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from petdiff.acceptance.plan import Plan, ScanFiles
from petdiff.acceptance.suitable import refuse_unsuitable
from petdiff.data.fingerprint import fingerprint
from petdiff.errors import InputRefused, PetdiffError
from petdiff.evaluation.baselines import Filtered, best_gaussian, gaussian
from petdiff.evaluation.cohort.check_rows import alarm_rows, audit_rows
from petdiff.evaluation.cohort.definition import ComparedMethod
from petdiff.evaluation.detection.foci import find_foci
from petdiff.evaluation.inputs import read_labels, read_names
from petdiff.evaluation.metrics import psnr, ssim
from petdiff.evaluation.protocol import Case, Row, measure_regions, prepare
from petdiff.evaluation.weighted_mask import WeightedMask, sphere_mask
from petdiff.image import PETImage
from petdiff.inference.denoise import denoise
from petdiff.io import read_in_suv
from petdiff.methods.model import Model
from petdiff.thinning.thin import MeasuredScan
from petdiff.uncertainty.calibration.record import Calibration, Refused, dose_facts
from petdiff.uncertainty.intervals import calibration_of
from petdiff.volume.regions import Spacing, Volume, body_box

FULL, THINNED, FILTER, MODEL = "full dose", "thinned", "filter", "model"
LEVEL = 0.9
_MAX_SPOTS, _MIN_SPOT_SUV = 10, 3.0
_METRICS = (
    "suv_mean_bias", "suv_max_bias", "suv_peak_bias", "organ_suv_mean_bias", "cov_30mm_sphere",
    "audit_fabrications", "audit_omissions", "audit_false_alarms", "alarms",
)  # fmt: skip


class Figure(NamedTuple):
    """One figure of one method. drf: dose reduction factor, 1 at full dose."""

    drf: float
    method: str
    metric: str
    region: str
    value: float


class ScanFigures(BaseModel):
    """The stored figures of a scan, without patient data.

    refused   why the scan is excluded from the test; "" if it is not
    warnings  reasons why its figures may be wrong
    scanner   manufacturer and model; "" if unknown
    voxels    digest of the scan's voxels, to recognise a scan that is given twice
    noise_at_10_mm  relative noise of the full-dose scan after a Gaussian filter of 10 mm FWHM
    """

    model_config = ConfigDict(frozen=True)
    name: str
    refused: str = ""
    warnings: tuple[str, ...] = ()
    scanner: str = ""
    voxels: str = ""
    noise_at_10_mm: float | None = None
    spots: int = 0
    organs: int = 0
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A full-dose scan around the body, as all doses and the model need it.

    voxels    digest of the whole scan's voxels
    measured  the scan and its noise
    case      the scan as reference, with its organs and hot spots
    """

    name: str
    voxels: str
    measured: MeasuredScan
    case: Case


def prepare_scan(files: ScanFiles, plan: Plan) -> PreparedScan:
    """Read a scan, measure its noise, and find its hot spots. No network is needed.

    Raises InputRefused for a scan that cannot take part.
    """
    image = read_in_suv(files.scan, units=plan.units, suv_factor=plan.suv_factor)
    refuse_unsuitable(image)
    return prepare_image(files.name, image, files.labels)


def prepare_image(name: str, image: PETImage, labels: Path | None = None) -> PreparedScan:
    """Measure the noise of a scan in SUV, and find its organs and hot spots.

    What is farther than 10 mm from the body's box is left out: it takes time and shows nothing.
    """
    box = body_box(image.suv, image.spacing_mm)
    numbers = None if labels is None else read_labels(labels, image, resample=False)[box]
    names = {} if labels is None else read_names(labels, None)
    scan = image.cropped(box)
    case = prepare(scan.suv, scan.spacing_mm, numbers, names, hot_spots(scan))
    return PreparedScan(name, fingerprint(image), MeasuredScan(scan), case)


def measure_scan(scan: PreparedScan, plan: Plan, model: Model) -> ScanFigures:
    """Thin a scan to each dose of the plan, filter and denoise it, and compare with the scan.

    Raises InputRefused for a scan that cannot be thinned or denoised.
    """
    case, measured, image = scan.case, scan.measured, scan.measured.image
    figures = list(_figures(1.0, FULL, case.regions))
    calibration, compared = _calibration(model), ComparedMethod(model=plan.model)
    for n, drf in enumerate(plan.doses):
        seed = noise_seed(plan.seed, scan.name, n)
        low = measured.thinned(drf, seed=seed).image
        filtered = filter_as_planned(low.suv, image.suv, image.spacing_mm, case.body, plan)
        start = time.perf_counter()
        denoised = denoise_as_planned(low, plan, model, drf, seed)
        figures.append(Figure(drf, MODEL, "seconds", "all", time.perf_counter() - start))
        figures.append(Figure(drf, FILTER, "fwhm_mm", "all", filtered.strength))
        images = {THINNED: low.suv, FILTER: filtered.suv, MODEL: denoised.suv}
        for method, suv in images.items():
            figures += _against_full_dose(drf, method, case, suv)
        figures += _coverage(case, low, denoised, drf, calibration)
        checks = [*audit_rows(compared, low, denoised.suv, case), *alarm_rows(compared, low)]
        figures += _figures(drf, MODEL, checks)
    return ScanFigures(
        name=scan.name,
        warnings=measured.warnings,
        scanner=scanner_of(image),
        voxels=scan.voxels,
        noise_at_10_mm=measured.noise_at_10_mm,
        spots=len(case.lesions),
        organs=len(case.organs),
        figures=tuple(figures),
    )


def noise_seed(seed: int, name: str, dose_number: int) -> int:
    """Return the seed of the noise of a scan at a dose, given by its number in the plan.

    Each scan has its own noise. The same noise in all scans of one grid would shift their figures
    together, which no interval over patients shows.
    """
    return int(np.random.SeedSequence([seed, dose_number, *name.encode()]).generate_state(1)[0])


def hot_spots(image: PETImage) -> list[WeightedMask]:
    """Return spheres around the foci of highest score in the full-dose scan, of SUV 3 or more."""
    foci = find_foci(image.suv, image.affine)
    hot = np.flatnonzero(foci.contrast_suv + foci.background_suv >= _MIN_SPOT_SUV)
    found: list[WeightedMask] = []
    for n in hot[: 2 * _MAX_SPOTS]:
        name = f"hot spot {len(found) + 1}"
        centre_mm, radius_mm = foci.position_mm[n].tolist(), float(foci.radius_mm[n])
        try:
            found.append(sphere_mask(name, centre_mm, radius_mm, image.shape, image.affine))
        except InputRefused:  # half of it or more is outside the field of view
            continue
        if len(found) == _MAX_SPOTS:
            break
    return found


def scanner_of(image: PETImage) -> str:
    """Return manufacturer and model; "" if both are unknown."""
    words = [image.facts.get("manufacturer"), image.facts.get("scanner")]
    return " ".join(str(word) for word in words if word)


def filter_as_planned(
    low: Volume, full: Volume, spacing_mm: Spacing, body: NDArray[np.bool_], plan: Plan
) -> Filtered:
    """Return a low-dose scan after the plan's Gaussian filter, or after the best one for it."""
    if plan.filter_fwhm_mm is None:
        return best_gaussian(low, full, spacing_mm, body)
    return Filtered(gaussian(low, spacing_mm, plan.filter_fwhm_mm), plan.filter_fwhm_mm)


def denoise_as_planned(low: PETImage, plan: Plan, model: Model, drf: float, seed: int) -> PETImage:
    """Return a low-dose scan after the model, which is given the dose if it accepts one."""
    known_drf = drf if model.method.accepts_dose else None
    return denoise(low, model, drf=known_drf, seed=seed, device=plan.device).image


def _against_full_dose(drf: float, method: str, case: Case, suv: Volume) -> Iterator[Figure]:
    """Yield PSNR and SSIM over the body, and the figures of the regions."""
    peak = float(case.reference.max())
    similarity = {
        "psnr_db": psnr(case.reference, suv, peak, case.body),
        "ssim": ssim(case.reference, suv, case.body),
    }
    for metric, value in similarity.items():
        if value is not None:
            yield Figure(drf, method, metric, "body", value)
    organs = {organ.name for organ in case.organs}
    rows = [
        row._replace(metric=f"organ_{row.metric}")
        if row.region in organs and row.metric.startswith("suv_")
        else row
        for row in measure_regions(case, suv)
    ]
    yield from _figures(drf, method, rows)


def _figures(drf: float, method: str, rows: Sequence[Row]) -> Iterator[Figure]:
    for row in rows:
        if row.metric in _METRICS and row.value is not None:
            yield Figure(drf, method, row.metric, row.region, row.value)


def _coverage(
    case: Case, low: PETImage, denoised: PETImage, drf: float, calibration: Calibration | None
) -> Iterator[Figure]:
    """Yield the coverage of the intervals of voxels; nothing if the model has none."""
    if calibration is None:
        return
    found = calibration.voxel_intervals(
        low.suv,
        denoised.suv,
        spacing_mm=case.spacing_mm,
        facts=dose_facts(drf),
        level=LEVEL,
    )
    if isinstance(found, Refused):
        return
    lower, upper = (side[case.body] for side in found)
    reference = case.reference[case.body]
    covered = float(((lower <= reference) & (reference <= upper)).mean())
    yield Figure(drf, MODEL, "within_interval", "body", covered)


def _calibration(model: Model) -> Calibration | None:
    try:
        return calibration_of(model)
    except PetdiffError:
        return None


def without_names(reason: str, scan: Path) -> str:
    """Return a reason without paths and file names, which may contain a patient's name."""
    for part in (str(scan.resolve()), str(scan), scan.name):
        reason = reason.replace(part, "it")
    return reason
