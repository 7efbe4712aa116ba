"""Simulated training data: which sources, mixed how, cached where."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from petdiff.data.array_store import Store
from petdiff.training.supply.paired_volumes import PairedVolumes, VolumeSource
from petdiff.training.supply.randomized_scans import make_randomized_scan
from petdiff.training.supply.simulated_patients import SimulatedPatients
from petdiff.training.supply.volume_cache import CachedVolumes

_MIXING = 1  # separates the random numbers that choose a source from those of the sources


@dataclass(frozen=True)
class MixedVolumes:
    """A source that takes a share of its volumes from one source, the others from another.

    share          of the numbers that go to `realistic`
    realistic  patients scanned as real scanners do
    randomized     scans with randomized physics
    """

    seed: int
    share: float
    realistic: VolumeSource
    randomized: VolumeSource

    def __call__(self, number: int) -> PairedVolumes:
        """Return the volumes of a number, from the source that the number belongs to."""
        chosen = np.random.default_rng([self.seed, number, _MIXING]).random()
        return self.realistic(number) if chosen < self.share else self.randomized(number)


def simulated_volumes(
    seed: int,
    *,
    scanner: str = "",
    tracer: str = "",
    realistic_share: float = 0.5,
    cache: str = "",
) -> VolumeSource:
    """Return a source of simulated volumes.

    scanner, tracer  names; "": all, mixed
    realistic_share  of the volumes are patients scanned as real scanners do, where all are mixed
    cache            folder where volumes are kept for other runs; "": none
    """

    def cached(name: str, source: VolumeSource) -> VolumeSource:
        return CachedVolumes(Store(Path(cache)), f"{name}-{seed}", source) if cache else source

    name = f"{scanner or 'any'}-{tracer or 'any'}"
    patients = cached(name, SimulatedPatients(seed, scanner, tracer))
    if scanner:
        return patients
    randomized = cached("randomized", partial(make_randomized_scan, seed))
    return MixedVolumes(seed, realistic_share, patients, randomized)
