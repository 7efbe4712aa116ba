"""What the values of a file without PET headers mean: SUV, unless the caller says otherwise."""

from __future__ import annotations

from petdiff.errors import InputRefused
from petdiff.suv.rules import SUVResult, given_factor, stored_as_suv


def suv_without_header(name: str, units: str | None, suv_factor: float | None) -> SUVResult:
    """The factor of a NIfTI or .npz file, by the caller's word alone."""
    if units == "bqml" and suv_factor is None:
        raise InputRefused(
            f"{name} holds no headers that lead from Bq/ml to SUV: give `suv_factor` F "
            "(SUV = stored value × F)"
        )
    if suv_factor is None or units == "suv":
        return stored_as_suv()
    return given_factor("BQML", suv_factor)
