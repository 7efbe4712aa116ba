"""The learning rate: a linear warm-up, then half a cosine down to zero."""

from __future__ import annotations

import math

from petdiff.training.recipe import Recipe

_LONGEST_WARMUP = 0.1  # share of the run, which limits the warm-up of short runs


def learning_rate(recipe: Recipe, step: int, seconds: float = 0.0) -> float:
    """Return the learning rate of a step, counted from 0.

    seconds  training time so far. With a time limit, the schedule follows the larger of the
             shares of steps and of time
    """
    warmup = min(recipe.warmup, max(1, int(_LONGEST_WARMUP * recipe.steps)))
    spent = seconds / recipe.seconds if recipe.seconds else 0.0
    if step < warmup and spent < _LONGEST_WARMUP:
        return recipe.learning_rate * max((step + 1) / warmup, spent / _LONGEST_WARMUP)
    done = max(0.0, (step - warmup) / max(1, recipe.steps - warmup))
    if recipe.seconds:
        done = min(1.0, max(done, spent))
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def is_over(recipe: Recipe, step: int, seconds: float) -> bool:
    """Return whether a run is finished after `step` steps and `seconds` of training."""
    return step >= recipe.steps or 0 < recipe.seconds <= seconds


def expected_steps(recipe: Recipe, step: int, seconds: float) -> int:
    """Return the expected number of steps: all, or those that the time limit allows."""
    if not recipe.seconds or step == 0:
        return recipe.steps
    return min(recipe.steps, max(step, round(step * recipe.seconds / seconds)))
