"""Half-lives of positron emitters, by every spelling of their names."""

from __future__ import annotations

import pytest

from petdiff.simulation.scanner.isotopes import F18, GA68
from petdiff.suv.nuclides import HALF_LIFE_S, half_life_s


@pytest.mark.parametrize(
    "name",
    ["F18", "18F", "F-18", "[18F]", "^18^F", "f18", " F 18 ", "^18^Fluorine", "18Fluorine",
     "Fluorine-18"],
)  # fmt: skip
def test_spellings(name: str) -> None:
    assert half_life_s(name) == pytest.approx(F18.half_life_s)


@pytest.mark.parametrize(
    "name", ["", "F", "18", "fluorine", "FDG", "F19", "18F 11C", "Fluorine-19", "18 Fluorite"]
)
def test_names_that_are_none(name: str) -> None:
    assert half_life_s(name) is None


def test_half_lives_agree_with_other_tables() -> None:
    """The values in DICOM headers and textbooks, to the digits that they are given in."""
    assert HALF_LIFE_S["GA68"] == pytest.approx(GA68.half_life_s)
    rounded = {
        "C11": 20.4 * 60, "N13": 10.0 * 60, "O15": 122, "F18": 110 * 60, "CU64": 12.7 * 3600,
        "GA68": 68 * 60, "RB82": 76, "ZR89": 78.4 * 3600, "I124": 4.18 * 86400, "Y90": 64.1 * 3600,
    }  # fmt: skip
    for name, seconds in rounded.items():
        assert HALF_LIFE_S[name] == pytest.approx(seconds, rel=0.01), name
