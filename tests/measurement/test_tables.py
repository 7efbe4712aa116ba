"""The printed table: figures with as many digits in each line."""

from __future__ import annotations

import pytest

from petdiff.measurement.tables import number


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (4.8, "4.800"),
        (11.0, "11.00"),
        (0.28071, "0.2807"),
        (3658.3, "3658"),
        (12761.0, "12760"),
        (999.96, "1000"),
    ],
)
def test_a_figure_has_four_digits_zeros_included(value: float | None, shown: str) -> None:
    assert number(value) == shown
