from collections.abc import Iterator

import pytest
import torch

from petdiff.methods.activity_preservation import ActivityPreserver, preserve_activity
from petdiff.methods.local_activity import OutputChannel, ScanChannel, local_activity
from petdiff.methods.local_activity_constants import DEFAULTS

SHAPE = (9, 12, 61)


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
