"""Generated headers: the factor is right, or there is a warning, or the header is refused."""

from __future__ import annotations

import json
import os
import re

import numpy as np
from hypothesis import HealthCheck, given, settings

from petdiff.errors import InputRefused
from petdiff.suv.header import SliceHeader
from petdiff.suv.result import SUVResult, explain
from petdiff.suv.rules import suv_from_headers
from support.header_stories import Story, stories

EXAMPLES = int(os.environ.get("PETDIFF_HEADER_EXAMPLES", "400"))


def computed(story: Story) -> SUVResult | None:
    try:
        return suv_from_headers([SliceHeader.from_fields(fields) for fields in story.slices])
    except InputRefused as refusal:
        require_no_date(str(refusal))
        return None


def require_no_date(text: str) -> None:
    """Pages and refusals may be passed on; a date of an examination may lead to its patient."""
    if re.search(r"\d{4}-\d\d-\d\d|(19|20)\d{6}", text):
        raise AssertionError(f"names a date: {text}")


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(story=stories())
def test_factor_is_right_or_doubted_or_refused(story: Story) -> None:
    result = computed(story)
    if result is None:
        return
    factors = np.broadcast_to(result.factor, len(story.slices))
    assert np.isfinite(factors).all()
    assert (factors > 0).all()
    assert all(np.isfinite(c) and c > 0 for c in result.candidates.values())
    for warning in result.warnings:
        require_no_date(warning)
    json.dumps(result.as_dict())
    explain(result)
    true = np.array([story.factor(n) for n in range(len(story.slices))])
    off = np.abs(factors / true - 1).max()
    assert off <= 0.01 or result.warnings, f"off by {off:.1%} without a warning: {story}"
