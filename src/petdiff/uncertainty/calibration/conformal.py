"""Split conformal quantiles over patients: distribution-free bounds on the error of a new patient.

Patients are exchangeable, but voxels, lesions and doses of different patients are not. Each patient
therefore has the same weight, whatever the number of its errors (Lee, Barber & Willett, arXiv
2306.06342, section 3: hierarchical conformal prediction). A random error of a new patient lies
within the bound with a probability of at least `level`, if the new patient is drawn from the
distribution of the n calibration patients. This holds on average over patients and calibrations,
not for each patient, organ or dose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Errors = NDArray[np.floating]


class Bounds(NamedTuple):
    """The range of an error, from `lower` to `upper`, in the unit of the errors."""

    lower: float
    upper: float


def rank(patients: int, level: float) -> int:
    """Return k = ⌈(n + 1) · level⌉: the k-th smallest of n errors bounds a further one at `level`.

    If k is above n, there is no such bound. The product is computed in exact fractions of the
    decimal number `level`, so that 0.9 of 10 is 9.
    """
    return math.ceil((patients + 1) * Fraction(str(level)))


def quantile(errors: Sequence[Errors], level: float) -> float | None:
    """Return the upper bound of a new patient's error at `level`, between 0 and 1.

    errors  of each patient, one or more; the weights of a patient's errors sum to 1

    Returns the smallest error at which the cumulated weights reach (n + 1) · level. With one error
    per patient it is the error with this `rank`. Returns None if n patients are too few.
    """
    n = sum(np.size(one) > 0 for one in errors)
    if rank(n, level) > n:
        return None
    values, reached, _ = _cumulated(errors)
    needed = float((n + 1) * Fraction(str(level)))
    first = int(np.searchsorted(reached, needed - 1e-9 * n))
    return float(values[min(first, values.size - 1)])


def central_range(errors: Sequence[Errors], level: float) -> Bounds:
    """Return the central range of a share `level` of the errors, from below to above 0.

    Each patient has the same weight. The range has no guaranteed coverage; it is the shape of
    `bounds`. Each side is at least a tenth of the other.
    """
    values, reached, total = _cumulated(errors)
    missed = (1 - level) / 2
    low, high = (
        float(values[min(int(np.searchsorted(reached / total, part)), values.size - 1)])
        for part in (missed, 1 - missed)
    )
    least = max(abs(low), abs(high)) / 10 or 1.0
    return Bounds(min(low, -least), max(high, least))


def bounds(errors: Sequence[Errors], level: float, shape: Bounds) -> Bounds | None:
    """Return bounds of a new patient's signed error at `level`: a multiple of `shape`.

    shape  `central_range` of other patients. Errors need not be symmetric: the maximum of a
           small lesion is more often lowered than raised

    Returns None if the patients are too few.
    """
    low, high = shape
    factor = quantile([np.maximum(one / low, one / high) for one in errors], level)
    return None if factor is None else Bounds(factor * low, factor * high)


def fewest_patients(level: float) -> int:
    """Return the number of patients that `bounds` needs at `level`."""
    return math.ceil(1 / (1 - Fraction(str(level)))) - 1


def _cumulated(errors: Sequence[Errors]) -> tuple[Errors, NDArray[np.float64], float]:
    """Return all errors in ascending order, their cumulated weights, and the sum of the weights.

    The weights of a patient's errors sum to 1.
    """
    each = [np.ravel(one) for one in errors if np.size(one)]
    values = np.concatenate(each)
    weights = np.concatenate([np.full(one.size, 1 / one.size) for one in each])
    order = np.argsort(values, kind="stable")
    return values[order], np.cumsum(weights[order]), float(weights.sum())
