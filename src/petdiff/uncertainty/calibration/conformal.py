"""Split conformal quantiles over patients: distribution-free bounds on the error of a new patient.

Voxels, lesions and doses of one patient are not exchangeable with those of another, patients are.
Each patient therefore counts once, however many errors were measured in it (Lee, Barber & Willett,
arXiv 2306.06342, section 3: hierarchical conformal prediction). For n calibration patients, an
error of a new patient, chosen at random among its own, lies within the bound with a probability of
at least `level`, if the new patient is drawn like the n patients. That holds on average over
patients and over calibrations: not for each patient, organ or dose on its own.
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

    There is no such bound where k is above n. The product is computed as a fraction of the decimal
    number that was given, so that 0.9 of 10 is 9.
    """
    return math.ceil((patients + 1) * Fraction(str(level)))


def quantile(errors: Sequence[Errors], level: float) -> float | None:
    """Return the upper bound of a new patient's error at `level`, between 0 and 1.

    errors  of each patient, one or more; all errors of a patient share the weight of one

    Returns the smallest error up to which the patients' shares add to (n + 1) · level or more. With
    one error per patient it is the error of that `rank`. None where n patients are too few.
    """
    measured = [np.ravel(one) for one in errors if np.size(one)]
    n = len(measured)
    if rank(n, level) > n:
        return None
    values = np.concatenate(measured)
    shares = np.concatenate([np.full(one.size, 1 / one.size) for one in measured])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(shares[order])
    needed = float((n + 1) * Fraction(str(level)))
    first = int(np.searchsorted(reached, needed - 1e-9 * n))
    return float(values[order][min(first, values.size - 1)])


def sides(errors: Sequence[Errors], level: float) -> Bounds:
    """Return how far errors reach to each side: the range of the middle share `level` of them.

    Each patient counts once. It has no guarantee; it gives `bounds` their shape. The lower side is
    below 0, the upper above, and neither is less than a tenth of the other.
    """
    measured = [np.ravel(one) for one in errors if np.size(one)]
    values = np.concatenate(measured)
    shares = np.concatenate([np.full(one.size, 1 / one.size) for one in measured])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(shares[order]) / shares.sum()
    missed = (1 - level) / 2
    last = values.size - 1
    low, high = (
        float(values[order][min(int(np.searchsorted(reached, part)), last)])
        for part in (missed, 1 - missed)
    )
    least = max(abs(low), abs(high)) / 10 or 1.0
    return Bounds(min(low, -least), max(high, least))


def bounds(errors: Sequence[Errors], level: float, shape: Bounds) -> Bounds | None:
    """Return bounds of a new patient's signed error at `level`: a multiple of `shape`.

    shape  found by `sides` on other patients: errors need not be symmetric, the maximum of a small
           lesion is rather lost than gained

    None where the patients are too few.
    """
    low, high = shape
    factor = quantile([np.maximum(one / low, one / high) for one in errors], level)
    return None if factor is None else Bounds(factor * low, factor * high)


def fewest_patients(level: float) -> int:
    """Return how many patients `bounds` needs at `level`."""
    return math.ceil(1 / (1 - Fraction(str(level)))) - 1
