"""Reorienting a scan does not change positions in the patient."""

from __future__ import annotations

from itertools import permutations, product

import nibabel
import numpy as np
import pytest

from petdiff.image import PETImage
from petdiff.volume.orientation import reoriented, reoriented_back

ALL_48 = [
    "".join(letters) for pairs in permutations(["RL", "AP", "SI"]) for letters in product(*pairs)
]
OBLIQUE = PETImage(
    np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    np.array(
        [[0.1, 1.9, 0.2, -30.0], [-1.4, 0.2, 0.1, 11.0], [0.3, -0.1, -3.0, 7.0], [0, 0, 0, 1]]
    ),
    stored_per_value=np.array([1.0, 2.0, 3.0, 4.0]),
)


@pytest.mark.parametrize("axes", ALL_48)
def test_axes_have_the_wanted_directions_and_every_voxel_keeps_its_place(axes: str) -> None:
    moved = reoriented(OBLIQUE, axes)
    assert "".join(nibabel.aff2axcodes(moved.affine)) == axes
    for index in np.ndindex(*moved.suv.shape):
        where_mm = moved.affine @ [*index, 1]
        i, j, k = np.linalg.solve(OBLIQUE.affine, where_mm)[:3].round().astype(int)
        assert OBLIQUE.suv[i, j, k] == moved.suv[index]


@pytest.mark.parametrize("axes", ["LPS", "SAR", "PIL"])
def test_turning_back_gives_the_source_with_other_values(axes: str) -> None:
    moved = reoriented(OBLIQUE, axes)
    back = reoriented_back(moved.with_values(2 * moved.suv), OBLIQUE)
    np.testing.assert_array_equal(back.suv, 2 * OBLIQUE.suv)
    assert back.affine is OBLIQUE.affine
    assert back.stored_per_value is OBLIQUE.stored_per_value
