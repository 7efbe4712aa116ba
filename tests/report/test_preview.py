"""The picture of a run: true proportions, the right side on the left, a window that is stated."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from petdiff.image import PETImage
from petdiff.report.panels import ticks
from petdiff.report.preview import (
    _ray_change,
    display_window,
    suv_window,
    write_preview,
    write_scans,
)
from petdiff.volume.orientation import reoriented

AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])


def marked(shape: tuple[int, int, int] = (30, 20, 40)) -> NDArray[np.float32]:
    """SUV 1 in a box, with a hot spot at the patient's right, front and top."""
    suv = np.zeros(shape, dtype=np.float32)
    suv[4:-4, 4:-4, 4:-4] = 1
    suv[-8:-5, -8:-5, -8:-5] = 9
    return suv


def pixels(path: Path) -> NDArray[np.float64]:
    image = pytest.importorskip("matplotlib.image")
    return np.asarray(image.imread(path)[..., :3].mean(axis=-1))


def dark_centre(picture: NDArray[np.float64]) -> tuple[float, float]:
    """Row and column of the dark pixels' middle, as shares of the picture."""
    rows, columns = np.nonzero(picture < 0.25)
    return float(rows.mean() / picture.shape[0]), float(columns.mean() / picture.shape[1])


def test_right_is_on_the_left_and_the_head_is_up(tmp_path: Path) -> None:
    """One picture from every storage order of one patient, and the spot where a reader looks."""
    pictures = []
    for axes in ("RAS", "LAS", "RPS", "RAI", "PIR", "RSA", "SLA"):
        scan = reoriented(PETImage(marked(), AFFINE), axes)
        write_scans(tmp_path / "p.png", {"": scan}, title="")
        pictures.append(pixels(tmp_path / "p.png"))
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])
    height = pictures[0].shape[0]
    body = pictures[0][int(0.1 * height) : int(0.8 * height)]
    row, column = dark_centre(body)
    assert row < 0.4
    assert column < 0.45


def test_proportions_are_those_of_the_patient(tmp_path: Path) -> None:
    """A cube in mm is a square in pixels, however thick the slices are."""
    suv = np.zeros((50, 50, 25), dtype=np.float32)
    suv[10:40, 10:40, 5:20] = 16
    write_scans(tmp_path / "p.png", {"": PETImage(suv, AFFINE)}, title="")
    picture = pixels(tmp_path / "p.png")
    rows, columns = np.nonzero(picture[150:-150] < 0.5)
    tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert tall / wide == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("shape", [(1, 1, 1), (27, 30, 1), (30, 20, 40)])
@pytest.mark.parametrize("spread", [False, True])
def test_any_scan_makes_a_picture(
    tmp_path: Path, shape: tuple[int, int, int], spread: bool
) -> None:
    for scale in (0.0, 1e4):
        image = PETImage(np.full(shape, scale, dtype=np.float32), AFFINE)
        half = np.abs(image.suv) / 2 if spread else None
        write_preview(tmp_path / "p.png", image, image, half, title="t", note="n")
        assert pixels(tmp_path / "p.png").std() > 0


def test_window_shows_ordinary_tissue_and_is_one_that_readers_know() -> None:
    """A body in air, with a brain and a bladder that must not choose the window."""
    for level, window in ((2, 5), (4, 10), (9, 20), (0.95, 5), (0.3, 5), (0.1, 1), (17000, 200000)):
        projection = np.zeros((40, 60), dtype=np.float32)
        projection[10:30, 5:55] = level
        projection[18:22, 50:55] = 10 * level
        assert suv_window(projection) == window
    assert suv_window(np.zeros((4, 4), dtype=np.float32)) == 1


def test_change_picture_shows_regions_and_lets_removed_noise_cancel(tmp_path: Path) -> None:
    """Denoised rightly it stays pale; a region that lost a tenth of its activity is coloured."""
    suv = np.zeros((60, 40, 60), dtype=np.float32)
    suv[6:-6, 6:-6, 6:-6] = 2
    grain = np.random.default_rng(0).normal(0, 0.5, suv.shape).astype(np.float32) * (suv > 0)
    noisy, right = PETImage(suv + grain, AFFINE), PETImage(suv, AFFINE)
    lowered = suv.copy()
    lowered[20:40, :, 20:40] *= 0.9
    spacing_mm = (2.0, 2.0, 4.0)
    assert np.abs(_ray_change(noisy.suv, right.suv, spacing_mm)[12:-12, 12:-12]).max() < 5
    lost = _ray_change(right.suv, lowered, spacing_mm)
    assert lost[30, 30] == pytest.approx(-10, abs=0.1)
    assert np.abs(lost[:8]).max() == 0
    write_preview(tmp_path / "p.png", noisy, right, title="t")


def test_same_scan_same_bytes(tmp_path: Path) -> None:
    image = PETImage(marked(), AFFINE)
    for name in ("a.png", "b.png"):
        write_preview(tmp_path / name, image, image, title="t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_scan_without_suv_has_its_own_window() -> None:
    """Tissue at 9 is read at SUV 0 to 20; in another unit at what 2.5 times as much is."""
    projection = np.zeros((40, 60), dtype=np.float32)
    projection[10:30, 5:55] = 9
    counts = PETImage(marked(), AFFINE, unit="CNTS", in_suv=False)
    assert display_window(projection, counts) == 30
    assert display_window(1000 * projection, counts) == 30_000
    assert display_window(projection, PETImage(marked(), AFFINE)) == 20


@pytest.mark.parametrize(
    ("window", "most", "expected"),
    [
        ((0, 20), 5, [0, 5, 10, 15, 20]),
        ((0, 5), 9, [0, 1, 2, 3, 4, 5]),
        ((-10, 10), 4, [-10, -5, 0, 5, 10]),
        ((-10, 10), 3, [-10, 0, 10]),
        ((0, 1.5), 5, [0, 0.5, 1, 1.5]),
        ((0, 30_000), 2, [0, 20_000]),
        ((0, 8), 0, [0]),
    ],
)
def test_ticks_are_round_and_as_many_as_there_is_room_for(
    window: tuple[float, float], most: int, expected: list[float]
) -> None:
    assert ticks(*window, most) == pytest.approx(expected)


def test_a_picture_is_drawn_without_matplotlib_whose_import_takes_longer(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from petdiff.image import PETImage; "
        "from petdiff.report.preview import write_preview; "
        "image = PETImage(np.ones((9, 9, 9), np.float32), np.eye(4)); "
        f"write_preview(Path({str(tmp_path / 'p.png')!r}), image, image, title='t'); "
        "print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
