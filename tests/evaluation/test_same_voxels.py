"""Whether two scans have the same voxels: what counts is where the furthest ones lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petdiff.data.layouts import PairFiles
from petdiff.errors import InputRefused
from petdiff.evaluation.cohort.definition import Cohort, Exam
from petdiff.evaluation.cohort.exam import measure_exam
from petdiff.image import PETImage
from petdiff.io import write


def scan(slice_mm: float = 2.0, at_mm: float = 0.0, slices: int = 400) -> PETImage:
    affine = np.diag([-4.0, 4.0, slice_mm, 1.0])
    affine[:3, 3] = (30.0, -20.0, at_mm)
    return PETImage(np.ones((4, 5, slices), dtype=np.float32), affine)


def test_corners_are_those_of_voxel_centres() -> None:
    corners = scan(2.0, 10.0, slices=3).corners_mm
    expected = {(x, y, z) for x in (30, 18) for y in (-20, -4) for z in (10, 14)}
    assert set(map(tuple, corners.tolist())) == expected


def test_small_differences_of_voxel_size_add_up() -> None:
    grid = scan()
    assert scan().shares_voxels(grid, 0.01)
    assert scan(2.00001).shares_voxels(grid, 0.01)
    assert not scan(2.009).shares_voxels(grid, 0.01)
    assert not scan(2.009).shares_voxels(grid, 3.5)
    assert scan(2.009).shares_voxels(grid, 3.6)
    assert not scan(at_mm=0.02).shares_voxels(grid, 0.01)
    assert not scan(slices=399).shares_voxels(grid, 1e9)


def test_a_cohorts_pair_that_drifts_apart_is_refused(tmp_path: Path) -> None:
    for name, image in (("full", scan()), ("low", scan(2.009))):
        write(image, tmp_path / f"{name}.nii.gz")
    files = PairFiles("ann", "ann", tmp_path / "full.nii.gz", {20.0: tmp_path / "low.nii.gz"})
    cohort = Cohort(methods={"measured": {}}, pairs=tmp_path)
    with pytest.raises(InputRefused, match=r"ann: .* other voxels"):
        measure_exam(cohort, Exam("ann", "ann", "", "", 0, files))
