"""Frames are denoised as separate scans; empty frames do not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import petdiff
from petdiff.errors import InputRefused
from petdiff.frames import FrameTiming, PETFrames
from petdiff.image import PETImage
from petdiff.inference.denoise import denoise
from petdiff.inference.frames import is_empty
from petdiff.methods.model import Model

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SHAPE = (32, 32, 24)


@pytest.fixture(scope="module")
def model() -> Model:
    return petdiff.load_model("flow3d")


def body(radius: int = 12) -> np.ndarray:
    index = np.indices(SHAPE) - np.array([16, 16, 12])[:, None, None, None]
    return np.asarray((index[0] ** 2 + index[1] ** 2) < radius**2)


def frame(activity: float, noise: float, seed: int) -> PETImage:
    """A cylinder with gamma noise of a relative standard deviation."""
    rng = np.random.default_rng(seed)
    shape = 1 / noise**2
    values = activity * body() * rng.gamma(shape, 1 / shape, SHAPE)
    return PETImage(values.astype(np.float32), AFFINE)


def signed_frame(activity: float, noise: float, seed: int) -> PETImage:
    """A cylinder with Gaussian noise, as filtered back-projection leaves it."""
    noisy = activity * body() + noise * np.random.default_rng(seed).normal(size=SHAPE)
    return PETImage(noisy.astype(np.float32), AFFINE)


def scan_of(*frames: PETImage) -> PETFrames:
    return PETFrames(frames, tuple(FrameTiming(10.0 * n, 10.0) for n in range(len(frames))))


def test_each_frame_is_denoised_as_a_separate_scan(model: Model) -> None:
    frames = frame(0.1, 1.0, 0), frame(5.0, 0.2, 1)
    found = denoise(scan_of(*frames), model)
    for one, result in zip(frames, found.image, strict=True):
        np.testing.assert_array_equal(result.values, denoise(one, model).image.values)
    assert found.image.timings == scan_of(*frames).timings
    assert found.uncertainty is None
    assert [row.frame for row in found.record.frames] == [1, 2]
    assert [row.start_s for row in found.record.frames] == [0, 10]


@pytest.mark.parametrize(
    "empty",
    [
        PETImage(np.zeros(SHAPE, np.float32), AFFINE),
        PETImage(np.full(SHAPE, -1, np.float32), AFFINE),
        signed_frame(0, 0.1, 2),
    ],
    ids=["zeros", "negative", "noise around zero"],
)
def test_a_frame_without_activity_is_returned_unchanged(model: Model, empty: PETImage) -> None:
    found = denoise(scan_of(empty, frame(5.0, 0.2, 1)), model, samples=2)
    assert found.image[0] is empty
    assert [row.unchanged for row in found.record.frames] == [True, False]
    assert found.uncertainty is not None
    noise = np.sqrt(np.square(empty.values, dtype=np.float64).mean())
    np.testing.assert_allclose(found.uncertainty[0].values, noise, rtol=1e-5)


@pytest.mark.parametrize("noise", [1.0, 2.0])
def test_a_noisy_frame_with_negative_values_keeps_its_activity(model: Model, noise: float) -> None:
    image = signed_frame(1.0, noise, 3)
    denoised = denoise(image, model).image
    core = body(radius=8)
    assert np.isfinite(denoised.values).all()
    # Without the negative values, noise would raise the core's activity by 8 and 37 % here, and
    # that of the frame by 55 and 128 %.
    assert denoised.values[core].mean() == pytest.approx(image.values[core].mean(), rel=0.05)
    assert denoised.values.sum() == pytest.approx(image.values.sum(), rel=0.1)
    assert denoised.values[core].std() < 0.3 * image.values[core].std()


def test_a_weak_frame_is_not_empty() -> None:
    assert not is_empty(signed_frame(1.0, 4.0, 4))


def test_samples_of_frames_differ_and_repeat(model: Model) -> None:
    scan = scan_of(frame(1.0, 0.3, 0), frame(1.0, 0.3, 0))

    def drawn(seed: int) -> PETFrames:
        generator = torch.Generator().manual_seed(seed)
        return denoise(scan, model, steps=2, generator=generator).image

    first, again = drawn(1), drawn(1)
    assert not np.array_equal(first[0].values, first[1].values)  # each frame has noise of its own
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


def test_progress_counts_frames(model: Model) -> None:
    said: list[tuple[int, int]] = []
    denoise(
        scan_of(*(frame(1.0, 0.3, n) for n in range(3))), model, callback=lambda *d: said.append(d)
    )
    assert said == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_frame_with_nan_is_refused(model: Model) -> None:
    broken = frame(1.0, 0.3, 0)
    broken.values[3, 4, 5] = np.nan
    with pytest.raises(InputRefused, match=r"NaN.*\(3, 4, 5\)"):
        denoise(scan_of(frame(1.0, 0.3, 0), broken), model)
