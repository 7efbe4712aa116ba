"""The supply of training slabs that a recipe asks of the virtual clinic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from petdiff.data.array_store import Store
from petdiff.training.recipe import Recipe
from petdiff.training.supply.patches import Pairs
from petdiff.training.supply.patient_slabs import Stretch, Stretches
from petdiff.training.supply.varied_slabs import make_slab

SUPPLY = 5  # to be raised with every change of what a slab is, so that kept ones are not mixed
_MIXING = 1  # tells the draws that choose between supplies from those of the slabs


@dataclass(frozen=True)
class MixedSlabs:
    """index → what `clinical` gives, for a share of the indices, or else what `various` gives."""

    seed: int
    clinical_share: float
    clinical: Callable[[int], Pairs]
    various: Callable[[int], Pairs]

    def __call__(self, index: int) -> Pairs:
        chosen = np.random.default_rng([self.seed, index, _MIXING]).random()
        return self.clinical(index) if chosen < self.clinical_share else self.various(index)


@dataclass(frozen=True)
class KeptSlabs:
    """index → Stretch with what `draw` gives, kept in a store, so that it is scanned only once.

    A store holds slabs of any supply under its name and version, and runs of different methods can
    share it.
    """

    store: Store
    name: str
    draw: Callable[[int], Pairs]

    def __call__(self, index: int) -> Stretch:
        name = f"{self.name}-v{SUPPLY}-{index:08d}"
        if name not in self.store:
            slab = self.draw(index)
            lows = np.stack(list(slab.lows.values()))
            self.store.put(name, {"full": slab.full, "lows": lows}, {"doses": list(slab.lows)})
        entry = self.store.get(name)
        assert entry is not None
        by_dose = zip(entry.facts["doses"], np.array(entry.arrays["lows"]), strict=True)
        return Stretch(np.array(entry.arrays["full"]), dict(by_dose))


def clinic_slabs(recipe: Recipe) -> Callable[[int], Pairs]:
    """The supply that a recipe asks of the virtual clinic."""

    def kept(name: str, draw: Callable[[int], Pairs]) -> Callable[[int], Pairs]:
        if not recipe.kept_slabs:
            return draw
        return KeptSlabs(Store(Path(recipe.kept_slabs)), f"{name}-{recipe.seed}", draw)

    seed, scanner, tracer = recipe.seed, recipe.scanner, recipe.tracer
    clinical = kept(f"{scanner or 'any'}-{tracer or 'any'}", Stretches(seed, scanner, tracer))
    if scanner:
        return clinical
    various = kept("clinic", partial(make_slab, seed))
    return MixedSlabs(seed, recipe.clinical_share, clinical, various)
