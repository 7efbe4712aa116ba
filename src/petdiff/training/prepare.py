"""Prepare the training and validation data of a run before the first step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from petdiff.data.array_store import Store
from petdiff.data.pairs import check_pairs
from petdiff.errors import InputRefused
from petdiff.methods.base import Method
from petdiff.progress import Progress
from petdiff.training.data import TrainingData, split_patients
from petdiff.training.process_group import ProcessGroup
from petdiff.training.recipe import Recipe
from petdiff.training.run_folder import RunFolder
from petdiff.training.supply.crops import CROP_MARGIN
from petdiff.training.supply.examples import ExampleMaker, without_networks
from petdiff.training.supply.full_dose import ThinnedCrops, store_full_dose, store_thinned
from petdiff.training.supply.own_pairs import PairCrops, store_pairs, stored_fingerprints
from petdiff.training.supply.paired_volumes import PairedVolumes, VolumeSource
from petdiff.training.supply.patches import PatchCutter, volume_numbers
from petdiff.training.supply.simulated import simulated_volumes, with_simulated
from petdiff.training.supply.workers import ExampleSupply, remove_failures
from petdiff.training.validation_scans import store_simulated_scans


@dataclass(frozen=True)
class Sources:
    """The training and validation data of a run.

    volumes   source of training volumes
    held_out  names of the validation scans in the store
    patients  fingerprints of the user's own full-dose scans in the training data, by name
    """

    volumes: VolumeSource
    held_out: list[str]
    patients: dict[str, str] = field(default_factory=dict)


def prepare_sources(
    folder: RunFolder,
    method: Method,
    recipe: Recipe,
    data: TrainingData,
    group: ProcessGroup,
    progress: Progress,
) -> Sources:
    """Write the scans that the store lacks; returns the sources.

    The first process writes, and the others read its files. Raises InputRefused for scans that
    cannot be used.
    """
    if group.is_first:
        folder.supply.sweep()
        remove_failures(folder.supply)
        if folder.last_step == 0 and data.kind == "pairs":
            _check(data, method, progress)
        sources = _store(folder, method, recipe, data, progress)
        if sources.patients:
            folder.write_patients(sources.patients)
    group.wait()
    return _store(folder, method, recipe, data, Progress(quiet=True))


@contextmanager
def open_supply(
    folder: RunFolder, method: Method, recipe: Recipe, source: VolumeSource, workers: int,
    group: ProcessGroup,
) -> Iterator[tuple[PatchCutter, ExampleSupply]]:  # fmt: skip
    """Yield a patch cutter and its worker processes, which end with the block."""
    settings = without_networks(method)
    first_patch = folder.last_step * recipe.batch
    first = volume_numbers(first_patch, recipe.pool, recipe.patches_per_volume).start
    maker = ExampleMaker(folder.supply, source, settings.example, settings.patch)
    offset, total = group.offset_and_total(workers)
    supply = ExampleSupply(maker, first, workers, offset, total)
    try:
        yield cutter(supply, recipe, settings.patch), supply
    finally:
        supply.close()


def cutter(supply: ExampleSupply, recipe: Recipe, patch: tuple[int, int, int]) -> PatchCutter:
    """Return the patch cutter with the settings of a recipe."""
    return PatchCutter(
        supply, recipe.seed, patch, recipe.pool, recipe.patches_per_volume, recipe.hot_share
    )


def recipe_volumes(recipe: Recipe) -> VolumeSource:
    """Return the source of simulated volumes with the settings of a recipe."""
    return simulated_volumes(
        recipe.seed,
        scanner=recipe.scanner,
        tracer=recipe.tracer,
        realistic_share=recipe.realistic_share,
        cache=recipe.volume_cache,
    )


def no_volumes(number: int) -> PairedVolumes:
    """Stand for the source of volumes in a finished run, which needs none."""
    raise AssertionError(f"a finished run asked for volume {number}")


def _check(data: TrainingData, method: Method, progress: Progress) -> None:
    with progress.stage("checking pairs") as tick:
        pairs = [*data.train, *data.held_out]
        for warning in check_pairs(pairs, needs_suv=method.needs_suv, progress=tick):
            progress.print(f"warning {warning}")


def _store(
    folder: RunFolder,
    method: Method,
    recipe: Recipe,
    data: TrainingData,
    progress: Progress,
) -> Sources:
    """Write the scans that the store lacks, and return the sources."""
    store, scans = folder.supply, recipe.validation_scans if recipe.validate_every else 0
    simulated = recipe_volumes(recipe)
    if data.kind == "simulated":
        with progress.stage("held-out scans") as tick:
            held_out = store_simulated_scans(store, scans, tick)
        return Sources(simulated, held_out)
    sources_of = _pairs if data.kind == "pairs" else _full_dose
    own = sources_of(store, method, recipe, data, scans, progress)
    share = recipe.simulated_share
    return replace(own, volumes=with_simulated(own.volumes, simulated, share, recipe.seed))


def _pairs(
    store: Store, method: Method, recipe: Recipe, data: TrainingData, scans: int,
    progress: Progress,
) -> Sources:  # fmt: skip
    """Return the sources of the user's own pairs, with at most `scans` for validation."""
    with progress.stage("reading pairs") as tick:
        patients = [*data.train, *data.held_out[:scans]]
        names = store_pairs(store, patients, method, tick, needs_suv=method.needs_suv)
    train, held_out = names[: len(data.train)], names[len(data.train) :]
    crops = PairCrops(store, train, recipe.seed, crop_shape(method))
    return Sources(crops, held_out, stored_fingerprints(store, train))


def _full_dose(
    store: Store, method: Method, recipe: Recipe, data: TrainingData, scans: int,
    progress: Progress,
) -> Sources:  # fmt: skip
    """Return the sources of the user's own full-dose scans, with at most `scans` for validation.

    Raises InputRefused if too few can be used.
    """
    with progress.stage("reading scans and measuring their noise") as tick:
        stored = store_full_dose(store, data.scans, needs_suv=method.needs_suv, tick=tick)
    for name, why in stored.left_out.items():
        progress.print(f"{name}: left out, {why}")
    usable = [scan for scan in data.scans if scan.name in stored.names]
    if not usable:
        why = stored.left_out[data.scans[0].name]
        raise InputRefused(f"none of the {len(data.scans)} full-dose scans can be used: {why}")
    train, held_out = split_patients("the usable part of the scans", usable, recipe)
    names = [stored.names[scan.name] for scan in train]
    validation = [store_thinned(store, stored.names[scan.name]) for scan in held_out[:scans]]
    patients = {scan.name: stored.fingerprints[scan.name] for scan in train}
    crops = ThinnedCrops(store, names, recipe.seed, crop_shape(method), method)
    return Sources(crops, validation, patients)


def crop_shape(method: Method) -> tuple[int, int, int]:
    """Return the size in voxels of a crop of the user's scans: a patch and a margin."""
    i, j, k = (n + CROP_MARGIN for n in method.patch)
    return i, j, k
