"""The NEMA image quality phantom in an acceptance test: recovery and background at each dose."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from petdiff.acceptance.measure import (
    FILTER,
    FULL,
    MODEL,
    THINNED,
    denoise_as_planned,
    filter_as_planned,
)
from petdiff.acceptance.plan import Plan
from petdiff.errors import InputRefused
from petdiff.evaluation.phantom import measure_phantom
from petdiff.image import PETImage
from petdiff.methods.model import Model
from petdiff.thinning.thin import MeasuredScan
from petdiff.volume.orientation import with_axis_last
from petdiff.volume.regions import body_mask

EARL_VERSION = 2


class PhantomRow(BaseModel):
    """The figures of the phantom for one method at one dose.

    recovery_mean, recovery_max  of each sphere, from 37 to 10 mm, relative to the activity in the
                   largest sphere at full dose
    earl_passed    number of the 12 recoveries within the EARL 2 limits
    """

    model_config = ConfigDict(frozen=True)
    drf: float
    method: str
    recovery_mean: tuple[float, ...]
    recovery_max: tuple[float, ...]
    background_cov: float
    earl_passed: int


def measure_phantom_scan(image: PETImage, plan: Plan, model: Model) -> list[PhantomRow]:
    """Measure the phantom at full dose, and for every method at every dose of the plan.

    Raises InputRefused if the phantom's spheres are not found in the full-dose scan. An image in
    which they are not found has no row.
    """
    measured = MeasuredScan(image)
    full = measure_phantom(*with_axis_last(image))
    rows = rows_of(1.0, FULL, image, full.sphere_activity)
    body = body_mask(image.values, image.spacing_mm)
    for n, drf in enumerate(plan.doses):
        low = measured.thinned(drf, seed=plan.seed + n).image
        filtered = filter_as_planned(low.values, image.values, image.spacing_mm, body, plan)
        images = {
            THINNED: low,
            FILTER: image.with_values(filtered.suv),
            MODEL: denoise_as_planned(low, plan, model, drf, plan.seed),
        }
        for name, scan in images.items():
            rows += rows_of(drf, name, scan, full.sphere_activity)
    return rows


def rows_of(drf: float, method: str, scan: PETImage, activity: float) -> list[PhantomRow]:
    """Return the row of an image; no row if its spheres are not found."""
    try:
        found = measure_phantom(*with_axis_last(scan), sphere_activity=activity)
    except InputRefused:
        return []
    passed = [ok for sphere in found.spheres for ok in sphere.earl[EARL_VERSION].values()]
    row = PhantomRow(
        drf=drf,
        method=method,
        recovery_mean=tuple(sphere.recovery_mean for sphere in found.spheres),
        recovery_max=tuple(sphere.recovery_max for sphere in found.spheres),
        background_cov=found.background_cov,
        earl_passed=sum(passed),
    )
    return [row]
