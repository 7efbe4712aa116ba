"""PETFrames: frames on one grid, their weights and their mean."""

from __future__ import annotations

import numpy as np
import pytest

from petdiff.frames import FrameTiming, PETFrames
from petdiff.image import PETImage

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def frame(value: float, shape: tuple[int, int, int] = (2, 3, 4), unit: str = "GML") -> PETImage:
    return PETImage(np.full(shape, value, dtype=np.float32), AFFINE, unit=unit)


def test_mean_is_weighted_by_duration() -> None:
    timings = (FrameTiming(0, 10), FrameTiming(10, 30))
    scan = PETFrames((frame(1), frame(5)), timings)
    np.testing.assert_allclose(scan.mean().values, 4.0)


def test_frames_of_unknown_duration_weigh_the_same() -> None:
    scan = PETFrames((frame(1), frame(5)), (FrameTiming(0, 10), FrameTiming()))
    np.testing.assert_allclose(scan.mean().values, 3.0)


@pytest.mark.parametrize(
    "others", [(), (frame(1, (2, 3, 5)),), (frame(1, unit="BQML"),), (frame(1), frame(1))]
)
def test_what_is_no_scan_of_frames_is_refused(others: tuple[PETImage, ...]) -> None:
    with pytest.raises(ValueError, match="frames"):
        PETFrames((frame(1), *others), (FrameTiming(),) * 2)


def test_description_is_one_line() -> None:
    scan = PETFrames((frame(1), frame(5)), (FrameTiming(), FrameTiming()), "gated")
    assert repr(scan).startswith("PETFrames(2 gated frames of PETImage(2 × 3 × 4 voxels")
