"""The scale of an error: a sum of features with non-negative coefficients.

scale = Σ cᵢ · featureᵢ. The coefficients maximise the likelihood of a Laplace distribution of
error / scale: they minimise Σ log(scale) + |error| / scale, with the same weight for each patient.
A conformal bound on error / scale is valid for any coefficients. They determine only how well the
width of an interval follows the error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from scipy.optimize import minimize

Vector = NDArray[np.float64]

_MIN_SHARE = 0.003  # of the mean scale: features with a smaller share are removed
_FLOOR = 1e-6  # of the mean feature, so that no scale is 0


class ErrorScale(BaseModel, frozen=True, extra="forbid"):
    """The coefficients by the name of their feature; none is negative."""

    coefficients: dict[str, Annotated[float, Field(ge=0)]] = Field(min_length=1)

    def __call__(self, features: Mapping[str, Vector | float]) -> Vector:
        """Return the scale of each error. Raises KeyError for a missing feature."""
        total = sum(
            value * np.asarray(features[name], dtype=np.float64)
            for name, value in self.coefficients.items()
        )
        return np.asarray(total, dtype=np.float64)


def fit_scale(
    errors: Sequence[Vector], features: Sequence[Mapping[str, Vector]], names: Sequence[str]
) -> ErrorScale:
    """Return the coefficients of `names` with the highest likelihood.

    errors, features  of each patient: a vector of errors, and a vector of each feature, as long
    """
    shares = np.concatenate([np.full(len(one), 1 / max(len(one), 1)) for one in errors])
    shares = shares / shares.sum()
    sizes = np.abs(np.concatenate(errors))
    table = np.stack([np.concatenate([one[name] for one in features]) for name in names], axis=1)
    units = shares @ table
    used = units > 0
    table = np.maximum(table[:, used] / units[used], 0) + _FLOOR
    typical = float(shares @ sizes) or 1.0

    def loss(c: Vector) -> tuple[float, Vector]:
        scale = table @ c
        ratio = sizes / typical / scale
        value = float(shares @ (np.log(scale) + ratio))
        return value, np.asarray((shares * (1 - ratio) / scale) @ table)

    count = table.shape[1]
    start = np.full(count, 1 / count)
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(1e-4 / count, None)] * count
    )
    values = found.x * typical / units[used]
    used_names = [name for name, one in zip(names, used, strict=True) if one]
    worth = found.x >= _MIN_SHARE * found.x.sum()
    return ErrorScale(
        coefficients={
            name: float(value)
            for name, value, one in zip(used_names, values, worth, strict=True)
            if one
        }
    )
