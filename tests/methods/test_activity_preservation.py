from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from petdiff.methods.activity_preservation import ActivityPreserver, preserve_activity
from petdiff.methods.local_activity import OutputChannel, ScanChannel, local_activity
from petdiff.methods.local_activity_constants import DEFAULTS

SHAPE = (9, 12, 61)


def smooth(volume: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(gaussian_filter(volume, sigma, mode="reflect"))


def test_each_pass_scales_the_estimate_by_its_formula() -> None:
    """x · ((scan + 0.005 s) / (x + 0.005 s)) ^ share, of positive values after smoothing."""
    rng = np.random.default_rng(1)
    s, scan = rng.uniform(0.5, 2, SHAPE), rng.normal(1, 1, SHAPE)
    scan[:, :4] -= 1.5  # negative after smoothing
    scan[:, 8:] += 60  # more than ten times the estimate
    r, fine, finest = rng.normal(0, 1, (3, *SHAPE))
    log_noise = rng.normal(0.5, 0.3, SHAPE)
    passes = ("near", "fine", "finest")
    x = np.maximum(1 + r, 0) * s
    for width, half, trust in ((2, None, 0), (1, 0.45, fine), (0.6, 0.12, finest)):
        measured, estimated = (np.maximum(smooth(v, width), 0) for v in (scan, x))
        factor = np.minimum((measured + 0.005 * s) / (estimated + 0.005 * s), 10)
        noise = np.exp(log_noise - 1.9)
        share = 1 if half is None else 1 / (1 + (noise / half) ** 4 * np.exp(-trust))
        x = x * factor**share
    found = preserve_activity(
        [torch.from_numpy(v) for v in (r, fine, finest)],
        torch.from_numpy(s),
        torch.from_numpy(scan),
        torch.from_numpy(log_noise),
        DEFAULTS.model_copy(update={"passes": passes}),
    )
    np.testing.assert_allclose(found, x / s - 1, atol=1e-5)


@pytest.mark.parametrize("cut", [[61], [8] * 7 + [5], [1] * 61, [40, 2, 19]])
def test_parts_of_any_thickness_give_the_result_of_the_whole(cut: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(SHAPE, generator=generator).double() - 0.1
    condition = local_activity(y, torch.float64)
    output = torch.randn(len(OutputChannel), *SHAPE, generator=generator).double()
    noise = condition.fields[ScanChannel.EXPECTED_NOISE]
    whole = preserve_activity(output.unbind(), condition.activity, y, noise, DEFAULTS)
    preserver = ActivityPreserver(
        condition.activity, y, lambda planes: noise[..., planes], DEFAULTS
    )
    preserved = torch.cat(list(preserver(output.split(cut, dim=-1))), dim=-1)
    torch.testing.assert_close(preserved, whole, atol=1e-6, rtol=1e-6)


def test_what_is_stored_does_not_grow_with_the_volume() -> None:
    y = torch.ones(4, 4, 400)
    condition, given, behind = local_activity(y), 0, []

    def parts() -> Iterator[torch.Tensor]:
        nonlocal given
        for _ in range(50):
            given += 8
            yield torch.zeros(len(OutputChannel), 4, 4, 8)

    done = 0
    for part in condition.preserve_activity_of_parts(parts()):
        done += part.shape[-1]
        behind.append(given - done)
    assert done == 400
    assert max(behind) < 60
