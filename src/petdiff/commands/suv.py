"""`petdiff suv`: the SUV factor of a scan, the rule behind it and what other rules would give."""

from __future__ import annotations

import json
from pathlib import Path

from petdiff.io import Units, read_suv
from petdiff.suv.result import explain


def explain_suv(
    scan: Path,
    series: str | None = None,
    units: Units | None = None,
    suv_factor: float | None = None,
    *,
    as_json: bool = False,
) -> str:
    """Return the explanation as text, or as JSON."""
    result = read_suv(scan, series=series, units=units, suv_factor=suv_factor)
    return (
        json.dumps(result.as_dict(), indent=2, ensure_ascii=False) if as_json else explain(result)
    )
