"""Fast Poisson and binomial random numbers, for millions of values.

Both are drawn from tables by the alias method (Walker, Electron Lett 1974, doi
10.1049/el:19740097). It first draws an outcome uniformly. This outcome is kept with a tabulated
probability, and otherwise replaced by another tabulated outcome, its alias. The method takes a
third of the time of numpy's generators, which are used only for the few values outside the tables.
Tabulated probabilities are exact to 2⁻³².
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

FloatArray = NDArray[np.float32]
Generators = np.random.Generator | Sequence[np.random.Generator]

OUTCOMES = 256  # number of outcomes of each tabulated distribution: 0 to 255
ROWS = 256  # number of tabulated means
# Steps between tabulated means. Coarse steps reach a mean of 128, from which the last outcome is 11
# standard deviations away; numpy draws for larger means. Fine steps divide each coarse step.
COARSE, FINE = 0.5, 1 / 64
BLOCK = 1 << 16  # numbers drawn at a time, so that intermediate results fit in the cache
PROBABILITY_BITS = 24  # of 32 random bits; the other 8 choose an outcome


class AliasTable:
    """Distributions over the numbers below OUTCOMES, one per row: probabilities [row, number]."""

    def __init__(self, probabilities: NDArray[np.float64]) -> None:
        # Probability still to be assigned, in units of a cell; there is one cell per number.
        unassigned = probabilities * OUTCOMES
        keep_probability = np.ones_like(unassigned)
        alias = np.tile(np.arange(OUTCOMES), (len(unassigned), 1))
        rows = np.arange(len(unassigned))
        open_cells = unassigned.copy()
        for _ in range(OUTCOMES - 1):
            # Fill the open cell of smallest probability with the number that has most unassigned.
            smallest, largest = open_cells.argmin(axis=1), unassigned.argmax(axis=1)
            keep_probability[rows, smallest] = unassigned[rows, smallest]
            alias[rows, smallest] = largest
            unassigned[rows, largest] -= 1 - unassigned[rows, smallest]
            open_cells[rows, largest] = unassigned[rows, largest]
            open_cells[rows, smallest], unassigned[rows, smallest] = np.inf, -np.inf
        thresholds = np.rint(keep_probability.clip(0, 1) * (1 << PROBABILITY_BITS))
        self._thresholds = thresholds.astype(np.uint32).ravel()
        # A number plus its offset, modulo 256, is its alias. Adding is faster than selecting.
        self._alias_offsets = (alias - np.arange(OUTCOMES)).astype(np.uint8).ravel()

    def draw(self, rows: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Draw one number from the distribution of each of `rows` [n]."""
        bits = rng.bit_generator.random_raw((rows.size + 1) // 2).view(np.uint32)[: rows.size]
        number = bits >> PROBABILITY_BITS
        cell = rows * OUTCOMES + number
        replaced = (bits & ((1 << PROBABILITY_BITS) - 1)) >= self._thresholds.take(cell)
        drawn = number.astype(np.uint8)
        drawn += replaced * self._alias_offsets.take(cell)
        return drawn


def draw_poisson(mean: FloatArray, generators: Generators) -> FloatArray:
    """Draw a Poisson number for each mean [..., k].

    `generators` is one generator, or one per k. With one per k, the numbers at one k do not depend
    on the means at the others.

    Raises ValueError if a mean is negative or not a number.
    """
    if mean.size and not mean.min() >= 0:
        raise ValueError(f"Poisson means must be 0 or more, got {mean.min()}")
    return _in_blocks(_poisson, mean, generators)


def draw_subset(counts: FloatArray, probability: float, generators: Generators) -> FloatArray:
    """Draw binomial numbers: each of the events [..., k] is kept with that probability."""
    return _in_blocks(partial(_subset, probability=probability), counts, generators)


def _in_blocks(
    draw: Callable[[FloatArray, np.random.Generator], FloatArray],
    values: FloatArray,
    generators: Generators,
) -> FloatArray:
    """Draw numbers for values [..., k] in blocks, so that intermediate results fit in the cache."""
    rows = values.reshape(-1, values.shape[-1])
    if isinstance(generators, np.random.Generator):
        rows, generators = rows.reshape(-1, 1), [generators]
    drawn = np.empty_like(rows)
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        columns = np.ascontiguousarray(rows[block].T)
        pairs = zip(columns, generators, strict=True)
        drawn[block] = np.stack([draw(column, generator) for column, generator in pairs], axis=1)
    return drawn.reshape(values.shape)


def _poisson(mean: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draw Poisson numbers; each mean is the sum of a coarse, a fine and a remaining mean.

    Numbers of the coarse and the fine mean are drawn from tables.
    """
    coarse = (mean * np.float32(1 / COARSE)).astype(np.intp)
    outside_table = np.flatnonzero(coarse >= ROWS)
    coarse[outside_table] = 0
    remainder = mean - coarse * np.float32(COARSE)
    remainder[outside_table] = 0
    fine = (remainder * np.float32(1 / FINE)).astype(np.intp)
    remainder -= fine * np.float32(FINE)
    counts = _poisson_table(FINE).draw(fine, rng).astype(np.float32)
    if coarse.any():
        counts += _poisson_table(COARSE).draw(coarse, rng)
    # The remaining means are below FINE: draw events at the rate FINE, and accept each with the
    # probability remainder / FINE.
    candidates = rng.integers(mean.size, size=rng.poisson(mean.size * FINE))
    accepted = candidates[rng.random(candidates.size) * FINE < remainder[candidates]]
    np.add.at(counts, accepted, 1)
    counts[outside_table] = rng.poisson(mean[outside_table])
    return counts


def _subset(counts: FloatArray, rng: np.random.Generator, *, probability: float) -> FloatArray:
    events = counts.astype(np.intp)
    outside_table = np.flatnonzero(events >= OUTCOMES)
    events[outside_table] = 0
    kept = _binomial_table(probability).draw(events, rng).astype(np.float32)
    kept[outside_table] = rng.binomial(counts[outside_table].astype(np.int64), probability)
    return kept


@lru_cache(maxsize=2)
def _poisson_table(step: float) -> AliasTable:
    mean = np.arange(ROWS)[:, None] * step
    number = np.arange(OUTCOMES)
    return AliasTable(np.exp(xlogy(number, mean) - mean - gammaln(number + 1)))


@lru_cache(maxsize=32)
def _binomial_table(probability: float) -> AliasTable:
    events, kept = np.arange(OUTCOMES)[:, None], np.arange(OUTCOMES)
    dropped = np.maximum(events - kept, 0)
    log_combinations = gammaln(events + 1) - gammaln(kept + 1) - gammaln(dropped + 1)
    log_probability = log_combinations + xlogy(kept, probability) + xlog1py(dropped, -probability)
    return AliasTable(np.where(kept <= events, np.exp(log_probability), 0))
