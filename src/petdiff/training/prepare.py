"""Makes ready what a run is trained and validated on, before the first step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from petdiff.data.pairs import check_pairs
from petdiff.methods.base import TrainableMethod
from petdiff.progress import Progress
from petdiff.training.data import TrainingData
from petdiff.training.process_group import ProcessGroup
from petdiff.training.recipe import Recipe
from petdiff.training.run_folder import RunFolder
from petdiff.training.supply.examples import ExampleMaker, without_networks
from petdiff.training.supply.own_pairs import (
    CROP_MARGIN,
    PairCrops,
    store_pairs,
    stored_fingerprints,
)
from petdiff.training.supply.paired_volumes import PairedVolumes, VolumeSource
from petdiff.training.supply.patches import PatchCutter, volume_window
from petdiff.training.supply.simulated import simulated_volumes
from petdiff.training.supply.workers import ExampleSupply, forget_failures
from petdiff.training.validation_scans import store_simulated_scans


@dataclass(frozen=True)
class Sources:
    """What a run is trained and validated on.

    volumes   the source of training volumes
    held_out  names in the store of the scans to validate on
    """

    volumes: VolumeSource
    held_out: list[str]


def prepare_sources(
    folder: RunFolder,
    method: TrainableMethod,
    recipe: Recipe,
    data: TrainingData,
    group: ProcessGroup,
    progress: Progress,
) -> Sources:
    """Write the scans that are needed and not there yet; returns the sources.

    The first process writes, the others then find what it wrote. Raises InputRefused for scans that
    cannot be used.
    """
    if group.is_first:
        folder.supply.sweep()
        forget_failures(folder.supply)
        if folder.last_step == 0 and not data.is_simulated:
            _check(data, progress)
        sources = _store(folder, method, recipe, data, progress)
        if isinstance(sources.volumes, PairCrops):
            names = sources.volumes.names
            folder.keep_patients(stored_fingerprints(folder.supply, names))
    group.wait()
    return _store(folder, method, recipe, data, Progress(quiet=True))


@contextmanager
def open_supply(
    folder: RunFolder, method: TrainableMethod, recipe: Recipe, source: VolumeSource, workers: int,
    group: ProcessGroup,
) -> Iterator[tuple[PatchCutter, ExampleSupply]]:  # fmt: skip
    """Yield a cutter of patches, and the worker processes that supply it until the block ends."""
    bare = without_networks(method)
    window = volume_window(folder.last_step * recipe.batch, recipe.pool, recipe.patches_per_volume)
    maker = ExampleMaker(folder.supply, source, bare.example, bare.patch)
    offset, total = group.offset_and_total(workers)
    supply = ExampleSupply(maker, window.start, workers, offset, total)
    try:
        yield cutter(supply, recipe, bare.patch), supply
    finally:
        supply.close()


def cutter(supply: ExampleSupply, recipe: Recipe, patch: tuple[int, int, int]) -> PatchCutter:
    """Return what cuts the patches that a recipe asks for."""
    return PatchCutter(
        supply, recipe.seed, patch, recipe.pool, recipe.patches_per_volume, recipe.hot_share
    )


def recipe_volumes(recipe: Recipe) -> VolumeSource:
    """Return the source of simulated volumes that a recipe asks for."""
    return simulated_volumes(
        recipe.seed,
        scanner=recipe.scanner,
        tracer=recipe.tracer,
        realistic_share=recipe.realistic_share,
        cache=recipe.volume_cache,
    )


def no_volumes(number: int) -> PairedVolumes:
    """Stand for the source of a finished run, which needs no volumes."""
    raise AssertionError(f"a finished run asked for volume {number}")


def _check(data: TrainingData, progress: Progress) -> None:
    with progress.stage("checking pairs") as tick:
        for warning in check_pairs([*data.train, *data.held_out], progress=tick):
            progress.say(f"warning {warning}")


def _store(
    folder: RunFolder,
    method: TrainableMethod,
    recipe: Recipe,
    data: TrainingData,
    progress: Progress,
) -> Sources:  # fmt: skip
    """Write what the store lacks, and return the sources."""
    store, scans = folder.supply, recipe.validation_scans if recipe.validate_every else 0
    if data.is_simulated:
        with progress.stage("held-out scans") as tick:
            held_out = store_simulated_scans(store, scans, tick)
        return Sources(recipe_volumes(recipe), held_out)
    with progress.stage("reading pairs") as tick:
        names = store_pairs(store, [*data.train, *data.held_out[:scans]], method, tick)
    train, held_out = names[: len(data.train)], names[len(data.train) :]
    i, j, k = (n + CROP_MARGIN for n in method.patch)
    return Sources(PairCrops(store, train, recipe.seed, (i, j, k)), held_out)
