"""A dose is a share of the full dose, however it is written."""

from __future__ import annotations

import pytest

from petdiff.errors import UsageError
from petdiff.units import drf_of, share_of, significant


@pytest.mark.parametrize("share", ["1/4", "25%", "0.25", " 1/4 ", "25 %", "2/8", ".25"])
def test_a_share_of_the_full_dose_is_read(share: str) -> None:
    assert drf_of(share) == pytest.approx(4)


@pytest.mark.parametrize(
    "share",
    ["4", "20", "0", "-1/4", "1/0", "nan", "inf", "", "a quarter", "4/1", "1/4/2", "1e-400"],
)
def test_what_is_no_share_is_refused_with_the_right_form(share: str) -> None:
    with pytest.raises(UsageError, match=r"as 1/4, 25% or 0\.25"):
        drf_of(share)


def test_a_bare_factor_is_answered_with_its_share() -> None:
    with pytest.raises(UsageError, match="1/20 perhaps"):
        drf_of("20")


@pytest.mark.parametrize("drf", [2.0, 4.0, 20.0, 100.0])
def test_a_share_that_is_written_reads_back(drf: float) -> None:
    assert drf_of(share_of(drf)) == pytest.approx(drf)


@pytest.mark.parametrize(
    ("value", "text"), [(5784.4, "5780"), (0.03412, "0.0341"), (24.04, "24"), (26100, "26100")]
)
def test_large_numbers_have_no_exponent(value: float, text: str) -> None:
    assert significant(value, 3) == text
