"""What shapes a training run: one table of defaults, which a TOML file may override."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from petdiff.errors import UsageError
from petdiff.errors import nearest as nearest
from petdiff.io.json_files import read_toml
from petdiff.runs import begin_or_resume


@dataclass(frozen=True)
class Recipe:
    """Every setting of a run. Those of `FREE` may change when it resumes, the others may not."""

    preset: str = "default"  # size of the network
    seed: int = 0  # of weights, noise and supply
    init: str = ""  # model whose weights to begin with, a shipped one's name or a file; "": random
    precision: str = "auto"  # of the convolutions: auto, float32 or bfloat16

    # Steps
    steps: int = 10_000
    seconds: float = 0.0  # of steps, after which training ends if that is sooner; 0: no such limit
    batch: int = 2  # patches a step, over all processes
    chunk: int = 1  # patches a process takes at once; the gradients of a batch's chunks add up
    rate: float = 1e-3  # learning rate after warm-up
    warmup: int = 200  # steps over which the rate rises; then it falls to zero as a cosine
    ema: float = 0.999  # of the weights that are kept
    clip: float = 1.0  # of the gradient's norm

    # Supply
    scanner: str = ""  # of the virtual clinic's: its scans alone, not all that a clinic could do
    tracer: str = ""  # of the virtual clinic's, with `scanner`
    clinical_share: float = (
        0.5  # of the slabs are the clinic's scans, the others beyond any clinic's
    )
    pool: int = 48  # slabs at hand, so that a batch mixes bodies and scanners
    patches_per_slab: int = 60  # taken before a slab makes room for a new one
    hot_share: float = 0.3  # of the patches lie where the activity is
    held_out: float = 0.1  # of the patients of one's own pairs, for validation; at least one

    # Book-keeping
    save_every: int = 250  # steps
    validate_every: int = 1000  # steps; 0: never
    validation_scans: int = 3  # at most
    validation_steps: int = 10  # at most; a method asked less often by default is asked so
    workers: int = 0  # processes that make slabs, for each that trains; 0: one for every other core
    kept_slabs: str = ""  # folder where simulated slabs are kept, for later runs to share
    tensorboard: bool = False  # curves in RUN/tensorboard as well


FREE = ("save_every", "validate_every", "workers", "kept_slabs", "tensorboard")

_AT_LEAST_ONE = (
    "steps", "batch", "chunk", "pool", "patches_per_slab", "save_every", "validation_steps",
)  # fmt: skip
_NOT_NEGATIVE = ("seed", "validate_every", "validation_scans", "workers", "warmup")


def read_recipe(config: Path | None, **overrides: Any) -> Recipe:
    """The recipe with what a TOML file changes, and then with the overrides that are not None.

    Raises UsageError, naming file and setting, for what is unknown, of another type or impossible.
    """
    where = "the recipe" if config is None else f"`config` {config}"
    chosen: dict[str, Any] = {}
    if config is not None:
        chosen = read_toml(config)
    types = {field.name: str(field.type) for field in fields(Recipe)}
    for name, value in chosen.items():
        if name not in types:
            raise UsageError(f"{where}: {name} is unknown{nearest(name, types)}")
        if type(value).__name__ != types[name] and (type(value), types[name]) != (int, "float"):
            raise UsageError(f"{where}: {name} must be {types[name]}, not {value!r}")
    given = {name: value for name, value in overrides.items() if value is not None}
    recipe = replace(Recipe(), **{**chosen, **given})
    _require_possible(recipe, where)
    return recipe


def shaping(recipe: Recipe) -> dict[str, Any]:
    """The settings that shape a run: those that may not change when it resumes."""
    return {name: value for name, value in asdict(recipe).items() if name not in FREE}


def settle(run: Path, identity: dict[str, Any], recipe: Recipe, *, write: bool) -> None:
    """Keep in `run/config.json` what shapes the run, or compare with what is kept there.

    identity  names method and data, beside the recipe
    Raises UsageError, naming each setting, where the run was begun with others.
    """
    begin_or_resume(run / "config.json", {**identity, **shaping(recipe)}, write=write)


def _require_possible(recipe: Recipe, where: str) -> None:
    for names, least in ((_AT_LEAST_ONE, 1), (_NOT_NEGATIVE, 0)):
        for name in names:
            if getattr(recipe, name) < least:
                raise UsageError(f"{where}: {name} = {getattr(recipe, name)} must be >= {least}")
    if not 0 <= recipe.seconds < math.inf:
        raise UsageError(f"{where}: seconds = {recipe.seconds} must be >= 0 and finite")
    if not (recipe.rate > 0 and recipe.clip > 0):
        raise UsageError(f"{where}: rate and clip must be above 0")
    if not 0 <= recipe.clinical_share <= 1:
        raise UsageError(f"{where}: clinical_share is a share, from 0 to 1")
    if not (0 <= recipe.ema < 1 and 0 <= recipe.hot_share <= 1 and 0 < recipe.held_out < 1):
        raise UsageError(f"{where}: ema, hot_share and held_out are shares, from 0 to below 1")
    if bool(recipe.scanner) != bool(recipe.tracer):
        raise UsageError(f"{where}: scanner and tracer are set together")
    if recipe.batch % recipe.chunk:
        raise UsageError(
            f"{where}: batch = {recipe.batch} is no multiple of chunk = {recipe.chunk}"
        )
