"""`petdiff suv`: the SUV factor of a scan, the rule behind it and what other rules would give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from petdiff.io import read_suv
from petdiff.suv.result import explain


def explain_suv(
    scan: Path,
    series: str | None = None,
    units: Literal["suv", "bqml"] | None = None,
    suv_factor: float | None = None,
    *,
    as_json: bool = False,
) -> str:
    """Return the explanation as lines for a person, or as JSON."""
    found = read_suv(scan, series=series, units=units, suv_factor=suv_factor)
    return json.dumps(found.as_dict(), indent=2, ensure_ascii=False) if as_json else explain(found)
