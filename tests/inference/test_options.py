"""The options of a denoising run are validated in one place."""

from __future__ import annotations

import pytest

from petdiff.errors import UsageError
from petdiff.inference.options import DenoiseOptions, DenoiseSettings


def test_keyword_arguments_and_options_have_the_same_fields() -> None:
    assert set(DenoiseSettings.__annotations__) == set(DenoiseOptions.model_fields)
    assert set(DenoiseOptions().settings()) == set(DenoiseOptions.model_fields)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"steps": 0}, "steps"),
        ({"samples": 0}, "samples"),
        ({"drf": 1.0}, "drf"),
        ({"drf": float("nan")}, "drf"),
        ({"drf": float("inf")}, "drf"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"voxel_mm": (0.0, 2.0, 2.0)}, "voxel_mm"),
        ({"precision": "float16"}, "precision"),
        ({"tile": 0}, "tile"),
        ({"stepps": 3}, "stepps"),
    ],
)
def test_a_wrong_option_is_named(settings: dict[str, object], name: str) -> None:
    with pytest.raises(UsageError, match=f"`{name}`"):
        DenoiseOptions.of(settings)  # type: ignore[arg-type]


def test_an_unknown_option_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"^`dose` is no option of denoise: known are .*\bdrf\b"):
        DenoiseOptions.of({"dose": 4})  # type: ignore[typeddict-unknown-key]
