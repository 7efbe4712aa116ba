"""`petdiff train`: a model from simulated scans or from one's own pairs, ending in a model file."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petdiff import __version__
from petdiff.errors import InputRefused, UsageError
from petdiff.progress import Progress
from petdiff.training.recipe import Recipe, nearest, read_recipe, settle, shaping

if TYPE_CHECKING:
    from petdiff.data.array_store import Store
    from petdiff.data.pairs import PairFiles
    from petdiff.io import Units
    from petdiff.training.log import Tick
    from petdiff.training.loop import State
    from petdiff.training.process_group import Ranks

CLINIC = "clinic"
_MUCH_WAITING = 0.2  # of the time: then it is said how to wait less
_WATCHED_TICKS = 10


@dataclass(frozen=True)
class Request:
    """What was asked for, as on the command line."""

    method: str
    data: str = CLINIC
    preset: str | None = None
    config: Path | None = None
    device: str = "auto"
    resume: bool = False
    units: Units | None = None
    suv_factor: float | None = None


@dataclass(frozen=True)
class Data:
    """Where examples come from, and which scans are held out.

    identity  names it in the run's folder; a run goes on only with the same
    record    says it in the model's contract, without names of patients
    """

    identity: dict[str, Any]
    record: dict[str, Any]
    train: list[PairFiles]
    held_out: list[PairFiles]


def train_model(request: Request, run: Path, *, quiet: bool = False) -> Path:
    """Train in the folder `run`, which keeps log, checkpoints and pictures; returns the model file.

    Under torchrun every process calls this with the same arguments; the first alone writes.
    """
    method, recipe, began = _prepare(request, run)
    from petdiff.training.process_group import join_ranks, leave_ranks

    ranks = join_ranks(request.device)
    progress = Progress(quiet or not ranks.first)
    try:
        data = _find_data(request, recipe, progress)
        identity = {"method": request.method, "data": data.identity, "weights": began.get("init")}
        settle(run, identity, recipe, write=ranks.first)
        state = _train(method, recipe, data, run, ranks, progress)
        path = run / "model.safetensors"
        if ranks.first:
            _save(method, recipe, {"data": data.record, **began}, state, path)
            shutil.rmtree(run / "supply", ignore_errors=True)
        return path
    finally:
        leave_ranks()


def _prepare(request: Request, run: Path) -> tuple[Any, Recipe, dict[str, Any]]:
    """A method, the recipe, and which model's weights it begins with, if any.

    UsageError, before anything is written, for what cannot be.
    """
    recipe = read_recipe(request.config, preset=request.preset)
    import torch

    from petdiff.methods.model import methods

    known = methods()
    if request.method not in known:
        raise UsageError(f"train {request.method}: no such method{nearest(request.method, known)}")
    if not request.resume and run.is_dir() and any(run.iterdir()) and _is_first():
        raise UsageError(f"{run} is not empty: give --resume to go on there, or name a new folder")
    torch.manual_seed(recipe.seed)
    method = known[request.method].create(recipe.preset)
    return method, recipe, _begin_with(recipe.init, method, recipe) if recipe.init else {}


def _begin_with(name: str, method: Any, recipe: Recipe) -> dict[str, Any]:
    """Give the method that model's weights; says which they were."""
    from petdiff.methods.model import load_model

    model = load_model(name)
    has, needs = (of.model_dump(mode="json") for of in (model.contract, method.contract({})))
    for what in ("method", "architecture", "process"):
        if has[what] != needs[what]:
            raise UsageError(
                f"init = {name}: its {what} is {has[what]}, not {needs[what]}, which "
                f"{needs['method']} has with preset {recipe.preset}"
            )
    method.network.load_state_dict(model.network.state_dict())
    return {"init": {"model": Path(name).name, "sha256": model.sha256}}


def _find_data(request: Request, recipe: Recipe, progress: Progress) -> Data:
    name = request.data
    stated = {"units": request.units, "suv_factor": request.suv_factor}
    stated = {key: value for key, value in stated.items() if value is not None}
    if name == CLINIC:
        if stated:
            raise UsageError(f"`{next(iter(stated))}` is for your own pairs: give `data` too")
        if recipe.scanner:
            from petdiff.simulation.patient.tracers import get_tracer
            from petdiff.simulation.scanner.scanners import get_scanner

            get_scanner(recipe.scanner)  # they refuse names that there are not
            get_tracer(recipe.tracer)
        identity = {"kind": CLINIC}
        return Data(identity, identity, [], [])
    if not Path(name).is_dir():
        raise UsageError(f"--data {name}: neither a folder of pairs nor {CLINIC}")
    if recipe.scanner:
        raise UsageError(f"scanner and tracer are the virtual clinic's, not those of {name}")
    from petdiff.data.pairs import find_pairs, split

    pairs = find_pairs(
        Path(name), say=progress.say, units=request.units, suv_factor=request.suv_factor
    )
    train, held_out = pairs, pairs[:0]
    if recipe.validate_every:
        if len(pairs) < 2:
            raise InputRefused(
                f"{name} holds one patient, and a model is validated on others than it was trained "
                "on: add patients, or set validate_every = 0 in --config to train without"
            )
        train, held_out = split(pairs, recipe.held_out, recipe.seed)
    names = {
        kind: [files.patient for files in part]
        for kind, part in (("train", train), ("held_out", held_out))
    }
    record = {"kind": "pairs", "patients": len(train), "held_out_patients": len(held_out)}
    return Data({"kind": "pairs", **stated, **names}, record, train, held_out)


def _train(
    method: Any, recipe: Recipe, data: Data, run: Path, ranks: Ranks, progress: Progress
) -> State:
    from petdiff.data.array_store import Store
    from petdiff.training.checkpoint import Checkpoints
    from petdiff.training.loop import train
    from petdiff.training.supply.patches import Patches, SlabMaker, slab_window, without_networks
    from petdiff.training.supply.workers import Supply, forget_failures
    from petdiff.training.validation import Validation

    store = Store(run / "supply")
    first = max(Checkpoints(run / "checkpoints").steps(), default=0)
    unfinished = first < recipe.steps
    held_out: list[str] = []
    bare = without_networks(method)
    draw: Any = None
    if unfinished:
        if ranks.first:  # it writes, the others then find what it wrote
            store.sweep()
            forget_failures(store)
            _store_scans(store, bare, recipe, data, progress, check=first == 0)
        ranks.wait()
        draw, held_out = _store_scans(store, bare, recipe, data, Progress(quiet=True))
    workers = (recipe.workers or _spare_cores()) if unfinished else 0
    supply = Supply(
        SlabMaker(store, draw, bare.example, bare.patch),
        slab_window(first * recipe.batch, recipe.pool, recipe.patches_per_slab).start,
        workers,
        *ranks.before_and_all(workers),
    )
    patches = Patches(
        supply, recipe.seed, bare.patch, recipe.pool, recipe.patches_per_slab, recipe.hot_share
    )
    validation = Validation(store, held_out, recipe.validation_steps)
    waits = _Waits(progress)
    try:
        with progress.stage("training") as show:

            def report(tick: Tick) -> None:
                show(tick.step, _expected_steps(recipe, tick), _in_words(tick))
                waits.watch(tick)

            return train(
                method, recipe, patches, validation, run, ranks,
                announce=supply.announce, drop_before=supply.drop_before, report=report,
            )  # fmt: skip
    finally:
        supply.close()


def _store_scans(
    store: Store, method: Any, recipe: Recipe, data: Data, progress: Progress, check: bool = False
) -> tuple[Any, list[str]]:
    """Write the scans that are needed and not there yet: how slabs are drawn; held-out entries."""
    scans = recipe.validation_scans if recipe.validate_every else 0
    if not data.train:
        from petdiff.training.supply.simulated import clinic_slabs
        from petdiff.training.validation import store_clinic

        with progress.stage("held-out scans") as tick:
            held_out = store_clinic(store, scans, tick)
        return clinic_slabs(recipe), held_out
    from petdiff.data.pairs import check_pairs
    from petdiff.training.supply.own_scans import BOX_MARGIN, ScanBoxes, store_pairs

    if check:
        with progress.stage("checking pairs") as tick:
            for warning in check_pairs([*data.train, *data.held_out], progress=tick):
                progress.say(f"warning {warning}")
    with progress.stage("reading pairs") as tick:
        names = store_pairs(store, [*data.train, *data.held_out[:scans]], method, tick)
    shape = tuple(n + BOX_MARGIN for n in method.patch)
    train = names[: len(data.train)]
    return ScanBoxes(store, train, recipe.seed, shape), names[len(train) :]


def _save(method: Any, recipe: Recipe, origin: dict[str, Any], state: State, path: Path) -> None:
    """Write the model file; origin says what it was trained on and began with.

    In half precision: its rounding is an eighth of bfloat16's, in which networks run.
    """
    import torch

    from petdiff.methods.model import save_model

    of_step = state.best or state.step
    contract = method.contract(
        {
            "petdiff": __version__,
            **origin,
            "step": of_step,
            "steps": state.step,
            "patches": state.step * recipe.batch,
            "seconds": round(state.seconds, 1),
            "psnr_db": state.scores.get(of_step),
            "recipe": {k: v for k, v in shaping(recipe).items() if k != "init"},  # no one's paths
        }
    )
    save_model(path, method.network, contract, torch.float16)


class _Waits:
    """Says once, after the first slabs, that training waits for its supply, and what helps."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.shares: list[float] = []

    def watch(self, tick: Tick) -> None:
        self.shares = [*self.shares, tick.waited][-_WATCHED_TICKS:]
        mean = sum(self.shares) / len(self.shares)
        if len(self.shares) == _WATCHED_TICKS and mean > _MUCH_WAITING:
            self.progress.say(
                f"warning {mean:.0%} of the time is spent waiting for training slabs: more "
                "workers, or a larger patches_per_slab in a new run, would help"
            )
            self.watch = lambda tick: None  # type: ignore[method-assign]


def _expected_steps(recipe: Recipe, tick: Tick) -> int:
    """All steps, or as many as the seconds will allow at this pace."""
    if not recipe.seconds:
        return recipe.steps
    return min(recipe.steps, max(tick.step, round(tick.step * recipe.seconds / tick.seconds)))


def _in_words(tick: Tick) -> str:
    losses = " ".join(
        f"loss {value:.4f}" if len(tick.loss) == 1 else f"{name} {value:.4f}"
        for name, value in tick.loss.items()
    )
    return f"{losses} · {tick.voxels_per_s / 1e6:.2f} Mvoxel/s · waited {tick.waited:.0%}"


def _spare_cores() -> int:
    """Processes that make slabs, for each that trains on this machine: one core is left to it."""
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1)


def _is_first() -> bool:
    return int(os.environ.get("RANK", 0)) == 0
