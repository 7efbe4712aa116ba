"""Sources of simulated training data: realistic and randomized scans, mixed and cached."""

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

# Streams of random numbers, so that each choice of a source is independent of all others.
_REALISTIC, _SIMULATED = 1, 5


@dataclass(frozen=True)
class MixedVolumes:
    """A source that takes a share of its volumes from `first`, and the others from `second`.

    share   of the volumes from `first`
    stream  of the random numbers of the choice
    """

    seed: int
    share: float
    first: VolumeSource
    second: VolumeSource
    stream: int = _REALISTIC

    def __call__(self, number: int) -> PairedVolumes:
        """Return the volumes of a number, from the source that is drawn for it."""
        chosen = np.random.default_rng([self.seed, number, self.stream]).random()
        return self.first(number) if chosen < self.share else self.second(number)


def with_simulated(
    own: VolumeSource, simulated: VolumeSource, share: float, seed: int
) -> VolumeSource:
    """Return a source of the user's volumes, with a share of simulated ones."""
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
    realistic_share  share of patients on realistic scanners, if scanner and tracer are ""
    cache            folder in which volumes are kept for other runs; "": no cache
    """

    def cached(name: str, source: VolumeSource) -> VolumeSource:
        return CachedVolumes(Store(Path(cache)), f"{name}-{seed}", source) if cache else source

    name = f"{scanner or 'any'}-{tracer or 'any'}"
    patients = cached(name, SimulatedPatients(seed, scanner, tracer))
    if scanner:
        return patients
    randomized = cached("randomized", partial(make_randomized_scan, seed))
    return MixedVolumes(seed, realistic_share, patients, randomized)
