"""Fixtures of the node's tests."""

from __future__ import annotations

import pytest

from petdiff.node import log


@pytest.fixture(autouse=True)
def _say_everything() -> None:
    """Forget which lines were printed a moment ago, in other tests."""
    log._last.clear()
