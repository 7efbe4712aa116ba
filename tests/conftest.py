"""Fixtures that every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real scans; tests that need it skip where it is absent."""
    beside_the_checkout = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PETDIFF_TEST_DATA", beside_the_checkout))
    if not folder.is_dir():
        pytest.skip(f"real test data not found in {folder} (set PETDIFF_TEST_DATA)")
    return folder
