"""Time-activity curves: which regions, which values, and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petdiff.frames import FrameTiming, PETFrames
from petdiff.image import PETImage
from petdiff.report.time_activity import _times, curve, curve_regions, write_time_activity

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def scan(kind: str = "dynamic") -> PETFrames:
    """A block of 1 with two hot spots: one fades, the other rises."""
    frames = []
    for early, late in ((20, 1), (3, 5), (1, 12)):
        values = np.zeros((20, 20, 20), np.float32)
        values[4:16, 4:16, 4:16] = 1
        values[5:9, 5:9, 5:9] = early
        values[11:15, 11:15, 11:15] = late
        frames.append(PETImage(values, AFFINE))
    timings = tuple(FrameTiming(30.0 * n, 30.0, 0.1 * n) for n in range(3))
    return PETFrames(tuple(frames), timings, kind)  # type: ignore[arg-type]


def test_regions_hold_what_is_hot_early_and_on_average() -> None:
    regions = curve_regions(scan())
    assert list(regions) == ["body", "hottest 1 % of the mean", "hottest 1 % of frame 1"]
    assert regions["hottest 1 % of frame 1"][6, 6, 6]
    assert not regions["hottest 1 % of frame 1"][11, 11, 11]


def test_curve_is_the_regions_mean_by_frame() -> None:
    spot = np.zeros((20, 20, 20), bool)
    spot[6:8, 6, 6] = True
    np.testing.assert_allclose(curve(scan(), spot), [20, 3, 1])


def test_frames_lie_at_their_middles_gates_at_their_delays_and_others_in_order() -> None:
    dynamic, gated = scan(), scan("gated")
    assert _times(dynamic)[0] == pytest.approx([0.25, 0.75, 1.25])
    assert _times(dynamic)[1].endswith("min")
    assert _times(gated)[0] == pytest.approx([0, 100, 200])
    assert _times(gated)[1].endswith("ms")
    timeless = PETFrames(gated.frames, (FrameTiming(),) * 3)
    assert _times(timeless) == ([1, 2, 3], "frame")


@pytest.mark.parametrize("kind", ["dynamic", "gated"])
def test_picture_is_drawn(tmp_path: Path, kind: str) -> None:
    found = scan(kind)
    write_time_activity(tmp_path / "frames.png", found, found, title="a$^$b")
    assert (tmp_path / "frames.png").read_bytes().startswith(b"\x89PNG")


def test_a_scan_without_activity_has_an_empty_picture(tmp_path: Path) -> None:
    empty = PETImage(np.zeros((8, 8, 8), np.float32), AFFINE)
    found = PETFrames((empty, empty), (FrameTiming(), FrameTiming()))
    write_time_activity(tmp_path / "frames.png", found, found, title="nothing")
    assert (tmp_path / "frames.png").exists()
