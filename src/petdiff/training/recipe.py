"""The settings of a training run: one table of defaults, which a TOML file may override."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from petdiff.errors import UsageError, nearest
from petdiff.io.json_files import read_toml

AtLeastOne = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


# Defaults of a run that starts from the weights of a model (`init`), where they differ.
FINE_TUNING: dict[str, object] = {
    "steps": 3000,
    "learning_rate": 1e-4,
    "init_share": 0.5,
    "simulated_share": 0.3,
    "patches_per_volume": 20,
    "held_out": 0.2,
    "validate_every": 100,
    "patience": 5,
}


class Recipe(BaseModel, frozen=True, extra="forbid", strict=True):
    """Every setting of a run. Those of `MAY_CHANGE` may differ when it is resumed.

    `steps` and `seconds` may grow: the run is then trained longer.
    """

    preset: str = "default"  # size of the network
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0  # of weights, noise and training data
    init: str = ""  # model to start from, a shipped one's name or a file; "": random weights
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of the convolutions

    # Optimization
    steps: AtLeastOne = 10_000
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # time limit; 0: none
    batch: AtLeastOne = 2  # patches per step, over all processes
    micro_batch: NotNegative = 0  # patches per forward pass; 0: 2 for the preset tiny, else 1
    learning_rate: Positive = 1e-3  # after warm-up
    warmup: NotNegative = 200  # steps of linear warm-up, at most a tenth of the run
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999  # decay of the averaged weights
    init_share: Share = 0.0  # share of `init`'s weights in the model; 0.5 with `init`
    max_grad_norm: Positive = 1.0  # gradients are clipped to this norm, for each loss

    # Training data
    scanner: str = ""  # one simulated scanner only, with `tracer`; "": all, mixed
    tracer: str = ""  # one tracer only, with `scanner`
    realistic_share: Share = 0.5  # of simulated volumes; the others: randomized physics
    pool: AtLeastOne = 48  # volumes that a patch may be cut from
    patches_per_volume: AtLeastOne = 60  # after which a volume is replaced by a new one
    hot_share: Share = 0.45  # of patches centred on voxels chosen by their activity
    simulated_share: Share = 0.0  # of the volumes, where the others are your own; 0.3 with `init`
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1  # share of patients for validation

    # Model card
    name: str = ""  # title of the model; "": derived from the method and the data
    licence: str = ""  # of the weights; "": not stated

    # Bookkeeping
    save_every: AtLeastOne = 250  # steps
    validate_every: NotNegative = 1000  # steps; 0: never
    patience: NotNegative = 0  # validations without gain after which the run ends; 0: no limit
    validation_scans: NotNegative = 3  # at most
    validation_steps: AtLeastOne = 10  # sampling steps in validation, at most
    workers: NotNegative = 0  # processes that prepare volumes; 0: one per spare core
    volume_cache: str = ""  # folder of simulated volumes that several runs share
    tensorboard: bool = False  # curves in the run's folder as well

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: dict[str, object]) -> dict[str, object]:
        return {**FINE_TUNING, **given} if given.get("init") else given

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if bool(self.scanner) != bool(self.tracer):
            raise ValueError("scanner and tracer are set together")
        if self.init_share and not self.init:
            raise ValueError("init_share is the share of another model's weights: set init as well")
        if self.batch % self.patches_per_pass:
            raise ValueError(
                f"batch = {self.batch} is not a multiple of micro_batch = {self.micro_batch}"
            )
        return self

    @property
    def patches_per_pass(self) -> int:
        """The micro-batch size, also where the recipe does not set it.

        On a CPU, PyTorch has a slow convolution for a single small float32 volume: with the preset
        tiny, two volumes at once are 3 times as fast.
        """
        if self.micro_batch:
            return self.micro_batch
        return 2 if self.preset == "tiny" and self.batch % 2 == 0 else 1

    @property
    def micro_batches(self) -> int:
        """Forward passes per step, over all processes."""
        return self.batch // self.patches_per_pass


MAY_CHANGE = frozenset(
    {
        "name", "licence", "save_every", "validate_every", "patience", "workers", "volume_cache",
        "tensorboard",
    }
)  # fmt: skip
MAY_GROW = ("steps", "seconds")

# Settings that had another name before version 0.2.
_RENAMED = {
    "chunk": "micro_batch",
    "clinical_share": "realistic_share",
    "clip": "max_grad_norm",
    "kept_slabs": "volume_cache",
    "patches_per_slab": "patches_per_volume",
    "rate": "learning_rate",
}


def read_recipe(config: Path | None, **overrides: object) -> Recipe:
    """Return the default recipe, changed by a TOML file and by the overrides that are not None.

    Raises UsageError, naming file and setting, for a setting that is unknown, of another type or
    out of range.
    """
    chosen: dict[str, object] = {} if config is None else read_toml(config)
    chosen |= {name: value for name, value in overrides.items() if value is not None}
    try:
        return Recipe.model_validate(chosen)
    except ValidationError as problem:
        where = "the recipe" if config is None else f"`config` {config}"
        raise UsageError(f"{where}: {explain(problem)}") from problem


def explain(problem: ValidationError) -> str:
    """Return the first error of settings, in one line that names the setting."""
    first = problem.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return unknown_setting(name)
    reason = first["msg"].removeprefix("Value error, ")
    return f"{name} = {first['input']!r}: {reason}" if name else reason


def unknown_setting(name: str) -> str:
    """Return the message for a setting that does not exist."""
    if name in _RENAMED:
        return f"{name} is unknown; it is now called {_RENAMED[name]}"
    return f"{name} is unknown{nearest(name, Recipe.model_fields)}"
