"""Kinds of regions by their names."""

from __future__ import annotations

import pytest

from petdiff.measurement.region import region_kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("liver", "organ"),
        ("Kidney left", "organ"),
        ("vertebrae_L3", "organ"),
        ("lesion", "lesion"),
        ("liver lesion 2", "lesion"),
        ("Brain metastasis", "lesion"),
        ("GTV", "lesion"),
        ("region 7", "lesion"),
    ],
)
def test_only_the_names_of_healthy_organs_are_organs(name: str, kind: str) -> None:
    assert region_kind(name) == kind
