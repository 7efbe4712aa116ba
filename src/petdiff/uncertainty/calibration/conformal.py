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


def bounds(errors: Sequence[Errors], level: float) -> Bounds | None:
    """Return bounds of a new patient's signed error, each side missed in (1 − level) / 2 at most.

    Sides are separate because errors need not be symmetric: the maximum of a small lesion is
    rather lost than gained. None where the patients are too few.
    """
    side = float((1 + Fraction(str(level))) / 2)
    upper = quantile(errors, side)
    lower = quantile([-np.asarray(one) for one in errors], side)
    return None if upper is None or lower is None else Bounds(-lower, upper)


def fewest_patients(level: float) -> int:
    """Return how many patients `bounds` needs at `level`."""
    missed = (1 - Fraction(str(level))) / 2
    return math.ceil(1 / missed) - 1
