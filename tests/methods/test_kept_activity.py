from collections.abc import Iterator

import pytest
import torch

from petdiff.methods.kept_activity import ActivityKeeper, keep_activity
from petdiff.methods.local_activity import AnswerChannel, ScanChannel, local_activity
from petdiff.methods.local_activity_constants import DEFAULTS

SHAPE = (9, 12, 61)


@pytest.mark.parametrize("cut", [[61], [8] * 7 + [5], [1] * 61, [40, 2, 19]])
def test_parts_of_any_thickness_give_the_answer_of_the_whole(cut: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(SHAPE, generator=generator).double() - 0.1
    seen = local_activity(y, torch.float64)
    answer = torch.randn(len(AnswerChannel), *SHAPE, generator=generator).double()
    noise = seen.fields[ScanChannel.EXPECTED_NOISE]
    whole = keep_activity(answer.unbind(), seen.activity, y, noise, DEFAULTS)
    keeper = ActivityKeeper(seen.activity, y, lambda planes: noise[..., planes], DEFAULTS)
    kept = torch.cat(list(keeper(answer.split(cut, dim=-1))), dim=-1)
    torch.testing.assert_close(kept, whole, atol=1e-6, rtol=1e-6)


def test_what_is_held_does_not_grow_with_the_volume() -> None:
    y = torch.ones(4, 4, 400)
    seen, given, behind = local_activity(y), 0, []

    def parts() -> Iterator[torch.Tensor]:
        nonlocal given
        for _ in range(50):
            given += 8
            yield torch.zeros(len(AnswerChannel), 4, 4, 8)

    answered = 0
    for part in seen.keep_activity_of(parts()):
        answered += part.shape[-1]
        behind.append(given - answered)
    assert answered == 400
    assert max(behind) < 60
