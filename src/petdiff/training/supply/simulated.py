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

# Separate the random numbers that choose a source from those of the sources, and two choices one
# after the other from each other.
_REALISTIC, _SIMULATED = 1, 5


@dataclass(frozen=True)
class MixedVolumes:
    """A source that takes a share of its volumes from one source, the others from another.

    share   of the numbers that go to `first`; the others go to `second`
    stream  of the random numbers that choose
    """

    seed: int
    share: float
    first: VolumeSource
    second: VolumeSource
    stream: int = _REALISTIC

    def __call__(self, number: int) -> PairedVolumes:
        """Return the volumes of a number, from the source that the number belongs to."""
        chosen = np.random.default_rng([self.seed, number, self.stream]).random()
        return self.first(number) if chosen < self.share else self.second(number)


def with_simulated(
    own: VolumeSource, simulated: VolumeSource, share: float, seed: int
) -> VolumeSource:
    """Return a source of one's own volumes, a share of them replaced by simulated ones."""
    return MixedVolumes(seed, share, simulated, own, _SIMULATED) if share else own


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
