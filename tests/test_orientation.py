"""Turning a volume moves nothing in the patient."""

from __future__ import annotations

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import torch

from petdiff.inference.orientation import turned

ALL_48 = [
    "".join(letters)
    for pairs in permutations(["RL", "AP", "SI"])
    for letters in product(*pairs)
]  # fmt: skip

OBLIQUE = np.array(
    [[0.1, 1.9, 0.2, -30.0], [-1.4, 0.2, 0.1, 11.0], [0.3, -0.1, -3.0, 7.0], [0, 0, 0, 1]]
)


@pytest.mark.parametrize("axes", ALL_48)
def test_axes_run_as_asked_and_every_voxel_keeps_its_place(axes: str) -> None:
    volume = torch.arange(2.0 * 3 * 4).view(2, 3, 4)
    moved, affine = turned(volume, OBLIQUE, axes)
    assert "".join(nibabel.aff2axcodes(affine)) == axes
    for index in np.ndindex(*moved.shape):
        where_mm = affine @ [*index, 1]
        i, j, k = np.linalg.solve(OBLIQUE, where_mm)[:3].round().astype(int)
        assert volume[i, j, k] == moved[index]


def test_turning_back_gives_the_same_volume() -> None:
    volume = torch.arange(2.0 * 3 * 4).view(2, 3, 4)
    own = "".join(nibabel.aff2axcodes(OBLIQUE))
    back, affine = turned(*turned(volume, OBLIQUE, "LPS"), own)
    assert torch.equal(back, volume)
    np.testing.assert_allclose(affine, OBLIQUE, atol=1e-12)
