"""Poisson numbers and binomial subsets of them, millions at a time.

Both come from tables, by the alias method (Walker, Electron Lett 1974, doi 10.1049/el:19740097): an
outcome is drawn uniformly and then, by a chance that is tabulated for it, kept or replaced by
another one. That takes a third of the time of numpy's own generators, which draw the few numbers
that are beyond the tables. Tabulated chances are exact to 2⁻³².
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

FloatArray = NDArray[np.float32]
Generators = np.random.Generator | Sequence[np.random.Generator]

OUTCOMES = 256  # of each tabulated distribution: 0 to 255
ROWS = 256
# Between tabulated means: coarse steps to 128, where the last outcome is 11 standard deviations off
# and from where on numpy draws, and fine ones from one coarse step to the next.
COARSE, FINE = 0.5, 1 / 64
BLOCK = 1 << 16  # numbers drawn at a time: what lies between fits the cache
CHANCE_BITS = 24  # of 32 random bits, beside the 8 that choose an outcome


class AliasTable:
    """Distributions over the numbers below OUTCOMES, one a row: probabilities [row, number]."""

    def __init__(self, probabilities: NDArray[np.float64]) -> None:
        # What is left to give out, in cells of equal size: one a number.
        left = probabilities * OUTCOMES
        keep = np.ones_like(left)
        other = np.tile(np.arange(OUTCOMES), (len(left), 1))
        rows = np.arange(len(left))
        to_fill = left.copy()
        for _ in range(OUTCOMES - 1):
            # The emptiest cell is filled up with the number that has most to give.
            emptiest, fullest = to_fill.argmin(axis=1), left.argmax(axis=1)
            keep[rows, emptiest] = left[rows, emptiest]
            other[rows, emptiest] = fullest
            left[rows, fullest] -= 1 - left[rows, emptiest]
            to_fill[rows, fullest] = left[rows, fullest]
            to_fill[rows, emptiest], left[rows, emptiest] = np.inf, -np.inf
        chances = np.rint(keep.clip(0, 1) * (1 << CHANCE_BITS))
        self._chances = chances.astype(np.uint32).ravel()
        # Added to a number, modulo 256, these make it the other one: faster than a choice of two.
        self._replacing = (other - np.arange(OUTCOMES)).astype(np.uint8).ravel()

    def draw(self, rows: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.uint8]:
        """A number from the distribution of each of `rows` [n]."""
        bits = rng.bit_generator.random_raw((rows.size + 1) // 2).view(np.uint32)[: rows.size]
        number = bits >> CHANCE_BITS
        cell = rows * OUTCOMES + number
        replaced = (bits & ((1 << CHANCE_BITS) - 1)) >= self._chances.take(cell)
        drawn = number.astype(np.uint8)
        drawn += replaced * self._replacing.take(cell)
        return drawn


def draw_poisson(mean: FloatArray, generators: Generators) -> FloatArray:
    """A Poisson number for each mean [..., k].

    generators  one, or one for each k, whose numbers then do not depend on the other k

    Raises ValueError for means that are negative or no numbers.
    """
    if mean.size and not mean.min() >= 0:
        raise ValueError(f"Poisson means must be 0 or more, got {mean.min()}")
    return _in_blocks(_poisson, mean, generators)


def draw_subset(counts: FloatArray, chance: float, generators: Generators) -> FloatArray:
    """How many of each number of events [..., k] are kept, each event by that chance."""
    return _in_blocks(partial(_subset, chance=chance), counts, generators)


def _in_blocks(
    draw: Callable[[FloatArray, np.random.Generator], FloatArray],
    values: FloatArray,
    generators: Generators,
) -> FloatArray:
    """Drawn numbers for values [..., k], in blocks whose intermediate results fit the cache."""
    flat = values.reshape(-1, values.shape[-1])
    if isinstance(generators, np.random.Generator):
        flat, generators = flat.reshape(-1, 1), [generators]
    drawn = np.empty_like(flat)
    for start in range(0, len(flat), BLOCK):
        block = slice(start, start + BLOCK)
        columns = np.ascontiguousarray(flat[block].T)
        pairs = zip(columns, generators, strict=True)
        drawn[block] = np.stack([draw(column, generator) for column, generator in pairs], axis=1)
    return drawn.reshape(values.shape)


def _poisson(mean: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The sum of a tabulated number of coarse mean, one of fine mean, and what remains."""
    coarse = (mean * np.float32(1 / COARSE)).astype(np.intp)
    beyond = np.flatnonzero(coarse >= ROWS)
    coarse[beyond] = 0
    above = mean - coarse * np.float32(COARSE)
    above[beyond] = 0
    fine = (above * np.float32(1 / FINE)).astype(np.intp)
    above -= fine * np.float32(FINE)
    counts = _poisson_table(FINE).draw(fine, rng).astype(np.float32)
    if coarse.any():
        counts += _poisson_table(COARSE).draw(coarse, rng)
    # What remains is below FINE: events are offered to all alike, who take them by their share.
    offered = rng.integers(mean.size, size=rng.poisson(mean.size * FINE))
    taken = offered[rng.random(offered.size) * FINE < above[offered]]
    np.add.at(counts, taken, 1)
    counts[beyond] = rng.poisson(mean[beyond])
    return counts


def _subset(counts: FloatArray, rng: np.random.Generator, *, chance: float) -> FloatArray:
    events = counts.astype(np.intp)
    beyond = np.flatnonzero(events >= OUTCOMES)
    events[beyond] = 0
    kept = _binomial_table(chance).draw(events, rng).astype(np.float32)
    kept[beyond] = rng.binomial(counts[beyond].astype(np.int64), chance)
    return kept


@lru_cache(maxsize=2)
def _poisson_table(step: float) -> AliasTable:
    mean = np.arange(ROWS)[:, None] * step
    number = np.arange(OUTCOMES)
    return AliasTable(np.exp(xlogy(number, mean) - mean - gammaln(number + 1)))


@lru_cache(maxsize=32)
def _binomial_table(chance: float) -> AliasTable:
    events, kept = np.arange(OUTCOMES)[:, None], np.arange(OUTCOMES)
    lost = np.maximum(events - kept, 0)
    ways = gammaln(events + 1) - gammaln(kept + 1) - gammaln(lost + 1)
    log = ways + xlogy(kept, chance) + xlog1py(lost, -chance)
    return AliasTable(np.where(kept <= events, np.exp(log), 0))
