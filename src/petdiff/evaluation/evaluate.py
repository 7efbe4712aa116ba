"""Compare a scan with a reference, and with the low-dose scan that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused, UsageError
from petdiff.evaluation.baselines import best_gaussian
from petdiff.evaluation.protocol import Row, measure_scan, prepare
from petdiff.evaluation.weighted_mask import WeightedMask
from petdiff.image import PETImage

REFERENCE, TEST, LOW, BEST_GAUSSIAN = "reference", "test", "low", "best Gaussian"
_SAME_MM = 0.01  # tolerance of voxel positions on one grid

Stage = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The figures of a reference and of the scans that are compared with it.

    rows              by scan: "reference", "test", and with a low-dose scan "low" and
                      "best Gaussian"
    gaussian_fwhm_mm  FWHM of the Gaussian filter with the least mean squared error
    """

    rows: Mapping[str, Sequence[Row]]
    gaussian_fwhm_mm: float | None = None

    def value(self, metric: str, region: str = "body", scan: str = TEST) -> float | None:
        """Return one figure; None if it does not exist. Raises UsageError for unknown names."""
        for row in self.rows.get(scan, ()):
            if (row.metric, row.region) == (metric, region):
                return row.value
        raise UsageError(f"there is no {metric} of {region} in {scan}: see `rows`")


def evaluate(
    test: PETImage,
    reference: PETImage,
    *,
    low: PETImage | None = None,
    labels: NDArray[np.int32] | None = None,
    names: Mapping[int, str] | None = None,
    lesions: Sequence[WeightedMask] = (),
    stage: Stage | None = None,
) -> Evaluation:
    """Measure how close `test` comes to `reference`.

    low      the scan that was denoised: it and its best Gaussian filter are measured too
    labels   label volume [i, j, k] on the reference's grid: each label is measured
    names    of the labels
    lesions  as `petdiff.evaluation.weighted_mask.sphere_mask` makes them
    stage    returns a context manager for a scan's name, which is active while it is measured

    Raises InputRefused if a scan is not in SUV or not on the reference's grid, or the reference
    has no activity.
    """
    around = stage or (lambda name: nullcontext())
    scans = {TEST: test} | ({LOW: low} if low is not None else {})
    for name, scan in {REFERENCE: reference, **scans}.items():
        if not scan.in_suv:
            raise InputRefused(f"`{name}` is in {scan.unit_name}, and SUV is needed")
        if not scan.shares_voxels(reference, _SAME_MM):
            raise InputRefused(f"`{name}` has other voxels than the reference: resample it first")
    case = prepare(reference.suv, reference.spacing_mm, labels, names, lesions)
    rows: dict[str, Sequence[Row]] = {REFERENCE: case.figures}
    for name, scan in scans.items():
        with around(name):
            rows[name] = measure_scan(case, scan.suv)
    if low is None:
        return Evaluation(rows)
    with around("Gaussian"):
        best = best_gaussian(low.suv, case.reference, case.spacing_mm, case.body)
        rows[BEST_GAUSSIAN] = measure_scan(case, best.suv)
    return Evaluation(rows, best.strength)
