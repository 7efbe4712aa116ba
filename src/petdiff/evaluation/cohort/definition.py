"""Read a cohort's TOML file: the scans and the methods that are compared on them."""

from __future__ import annotations

import os  # isfile and isdir return False for impossible names; those of Path raise
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from petdiff.data.layouts import Drf, dose_key
from petdiff.data.pairs import PairFiles, find_pairs
from petdiff.errors import UsageError, nearest
from petdiff.evaluation.cohort.compared_metrics import ranked_metric
from petdiff.io import Units
from petdiff.io.json_files import read_toml
from petdiff.methods.weights_files import file_sha256, shipped_models, shipped_or_path
from petdiff.simulation.patient.draw import get_extent
from petdiff.simulation.patient.tracers import get_tracer
from petdiff.simulation.scanner.scanners import get_scanner
from petdiff.terminal import one_line

MEASURED, GAUSSIAN, NON_LOCAL_MEANS = "measured", "gaussian", "non-local-means"
FILTERS = (MEASURED, GAUSSIAN, NON_LOCAL_MEANS)
FULL_DOSE = "full"  # name of the reference among the methods
OWN = "own"  # scanner and tracer of one's own pairs, for which they are unknown

_MAX_DOSE = 1000.0
_MAX_VALUE, _MAX_MESSAGE = 80, 600  # characters of a file's values in messages
Names = Annotated[tuple[str, ...], Field(min_length=1)]
_CHECKS: dict[str, Callable[[str], object]] = {
    "scanners": get_scanner, "tracers": get_tracer, "extent": get_extent,
}  # fmt: skip


class ComparedMethod(BaseModel, frozen=True, extra="forbid"):
    """A method to compare: a filter, or a model with steps and samples as for denoise.

    model      name of a filter or of a shipped model, or the absolute path of a model file
    tell_dose  give the model each scan's dose
    """

    model: str
    steps: int | None = Field(default=None, ge=1)
    samples: int | None = Field(default=None, ge=1)
    tell_dose: bool = False

    @property
    def is_filter(self) -> bool:
        return self.model in FILTERS


class Claim(BaseModel, frozen=True, extra="forbid"):
    """A claim to test: in every condition `method` is better than each of `beats`, by `metric`."""

    method: str
    beats: Names
    metric: str = "psnr_db"

    @field_validator("metric")
    @classmethod
    def _ranks(cls, given: str) -> str:
        return ranked_metric(given).name


class Cohort(BaseModel, frozen=True, extra="forbid"):
    """Methods × scans. The scans are simulated, or one's own `pairs`.

    seed       of the first patient; the others have the next numbers
    patients   number of patients; each is scanned on every scanner with every tracer
    doses      dose reduction factors; for `pairs` empty means all existing ones
    lesions    also scan each patient's twin without lesions, to find false foci
    methods    by their names in tables
    claims     to test on the results; may change between runs into one folder
    units, suv_factor  of all scans of `pairs`, as in petdiff.read
    """

    methods: Annotated[dict[str, ComparedMethod], Field(min_length=1)]
    pairs: Path | None = None
    units: Units | None = None
    suv_factor: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0)
    patients: int = Field(default=1, ge=1)
    scanners: Names = ("quadra",)
    tracers: Names = ("fdg",)
    doses: tuple[float, ...] = ()
    voxel_mm: float | None = Field(default=None, ge=0.5, le=50)
    extent: str = "total-body"
    lesions: bool = False
    claims: tuple[Claim, ...] = ()

    @field_validator("methods", mode="before")
    @classmethod
    def _methods(cls, given: object) -> object:
        """Turn a list of names into a table; the default model of a method is its name."""
        if isinstance(given, list):
            entries: list[tuple[str, object]] = [(str(name), {}) for name in given]
        elif isinstance(given, dict):
            entries = list(given.items())
        else:
            raise ValueError('give a list of names, or [methods.NAME] tables with model = "…"')
        named = [Path(name).name.removesuffix(".safetensors") for name, _ in entries]
        if len(set(named)) < len(named):
            raise ValueError("a method is named twice: give [methods.NAME] tables")
        return {
            short: {"model": name, **compared} if isinstance(compared, dict) else compared
            for short, (name, compared) in zip(named, entries, strict=True)
        }

    @field_validator("methods")
    @classmethod
    def _models(
        cls, given: dict[str, ComparedMethod], info: ValidationInfo
    ) -> dict[str, ComparedMethod]:
        folder = (info.context or {}).get("folder", Path())
        return {name: _with_model_path(name, compared, folder) for name, compared in given.items()}

    @field_validator("pairs")
    @classmethod
    def _folder(cls, given: Path | None, info: ValidationInfo) -> Path | None:
        folder: Path = (info.context or {}).get("folder", Path())
        if given is not None and not os.path.isdir(folder / given):
            raise ValueError(f"{folder / given} is not a folder")
        return None if given is None else (folder / given).resolve()

    @field_validator("scanners", "tracers", "extent")
    @classmethod
    def _known(cls, given: Names | str, info: ValidationInfo) -> Names | str:
        names = (given,) if isinstance(given, str) else given
        _require_once(names)
        for name in names:
            try:
                _CHECKS[info.field_name or ""](name)
            except UsageError as problem:
                raise ValueError(str(problem)) from None
        return given

    @field_validator("doses")
    @classmethod
    def _factors(cls, given: tuple[float, ...]) -> tuple[float, ...]:
        for factor in given:
            if not 1 < factor <= _MAX_DOSE:
                raise ValueError(
                    f"{factor:g} is not a dose reduction factor: give numbers above 1, 20 for 1/20"
                )
        _require_once(given)
        return tuple(sorted(given))

    @model_validator(mode="after")
    def _claims_name_methods(self) -> Self:
        for n, claim in enumerate(self.claims):
            for name in (claim.method, *claim.beats):
                if name not in self.methods:
                    raise ValueError(
                        f"claims.{n}: {name} is not one of the methods, {', '.join(self.methods)}"
                    )
            if claim.method in claim.beats:
                raise ValueError(f"claims.{n}: {claim.method} is compared with itself")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        """Check that the scans come from one source; ValueErrors, so that pydantic adds the key."""
        simulated = {"patients", "scanners", "tracers", "voxel_mm", "extent", "lesions"}
        if self.pairs is None:
            if clash := sorted({"units", "suv_factor"} & self.model_fields_set):
                raise ValueError(f"{clash[0]}: is only for `pairs`, which are not given")
            if not self.doses:
                raise ValueError("doses: missing; give dose reduction factors, as [4, 20, 100]")
        elif clash := sorted(simulated & self.model_fields_set):
            raise ValueError(f"{clash[0]}: is only for simulated patients, but `pairs` are given")
        return self


@dataclass(frozen=True)
class Exam:
    """An examination of a cohort: one patient on one scanner with one tracer, all doses.

    name  also the name of its files
    pair  one's own scans; None: simulated
    """

    name: str
    patient: str
    scanner: str
    tracer: str
    seed: int
    pair: PairFiles | None = None

    @property
    def label(self) -> str:
        """The name of the pair, or that of the simulated patient."""
        return self.patient if self.pair is None else self.pair.name


def worst_case_methods(methods: Mapping[str, ComparedMethod]) -> list[str]:
    """Return the methods whose worst cases are shown: the models, or the filters without a model.

    The measured scan is left out: its error is only the expected noise.
    """
    models = [name for name, compared in methods.items() if not compared.is_filter]
    return models or [name for name, compared in methods.items() if compared.model != MEASURED]


def read_cohort(path: Path) -> Cohort:
    """Read and check a TOML file; relative paths in it are relative to it.

    Raises UsageError with the file and the key that is missing, unknown or impossible.
    """
    content = read_toml(path)
    try:
        return Cohort.model_validate(content, context={"folder": path.resolve().parent})
    except ValidationError as error:
        raise UsageError(f"{path}: {_first_error(error)}") from None


def exams(cohort: Cohort) -> list[Exam]:
    """List the exams of a cohort: all conditions of the first patient, then of the second.

    Raises InputRefused if `pairs` has no pairs.
    """
    if cohort.pairs is not None:
        return [
            Exam(f"pair-{n:04d}", files.patient, OWN, OWN, cohort.seed + n, files)
            for n, files in enumerate(_pairs(cohort, cohort.pairs))
        ]
    return [
        Exam(f"{seed:04d}-{scanner}-{tracer}", f"{seed:04d}", scanner, tracer, seed)
        for seed in range(cohort.seed, cohort.seed + cohort.patients)
        for scanner in cohort.scanners
        for tracer in cohort.tracers
    ]


def identity(cohort: Cohort) -> dict[str, object]:
    """Return what the rows depend on, as JSON: cohort, digests of weights, sizes of the pairs."""
    files = {
        name: compared.model for name, compared in cohort.methods.items() if not compared.is_filter
    }
    digests = {name: file_sha256(shipped_or_path(model)) for name, model in files.items()}
    found = {**cohort.model_dump(mode="json", exclude={"claims"}), "weights_sha256": digests}
    if cohort.pairs is not None:
        found["pair_bytes"] = {
            files.name: {dose_key(dose): _bytes(scan) for dose, scan in _scans(files)}
            for files in _pairs(cohort, cohort.pairs)
        }
    return found


def _pairs(cohort: Cohort, folder: Path) -> list[PairFiles]:
    return find_pairs(folder, units=cohort.units, suv_factor=cohort.suv_factor)


def _scans(files: PairFiles) -> list[tuple[Drf, Path]]:
    return [(1.0, files.full), *files.lows.items()]


def _bytes(scan: Path) -> int:
    """Return the size of a file, or of all files of a folder."""
    parts = scan.rglob("*") if scan.is_dir() else [scan]
    return sum(part.stat().st_size for part in parts if part.is_file())


def _with_model_path(name: str, compared: ComparedMethod, folder: Path) -> ComparedMethod:
    """Return the settings with the absolute path of the model file, for other processes."""
    if name == FULL_DOSE:
        raise ValueError(f"{name}: is the name of the reference; give another name")
    if compared.is_filter:
        if compared != ComparedMethod(model=compared.model):
            raise ValueError(f"{name}: {compared.model} is a filter and takes no settings")
        return compared
    known = shipped_or_path(compared.model)
    file = known if os.path.isfile(known) else folder / compared.model
    if os.path.isfile(file):
        _require_dose_input(name, compared, file)
        return compared if file is known else compared.model_copy(update={"model": str(file)})
    raise ValueError(
        f"{name}: {compared.model!r} is not a filter ({', '.join(FILTERS)}), a shipped model "
        f'({", ".join(shipped_models())}) or a file: give model = "FILE.safetensors"'
    )


def _require_dose_input(name: str, compared: ComparedMethod, file: Path) -> None:
    if compared.tell_dose:
        from petdiff.methods.model import read_card
        from petdiff.methods.registry import METHODS

        card = read_card(file)
        method = METHODS[card.method].from_card(card)
        if not method.accepts_dose:
            raise ValueError(f"{name}: {method.name} does not use the dose: leave out tell_dose")


def _require_once(names: Sequence[str | float]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is given twice")


def _first_error(error: ValidationError) -> str:
    """Return the first error with its key, on one line of limited length."""
    first = error.errors()[0]
    key = ".".join(_short(str(part)) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _known_keys(first["loc"])
        message = f"unknown{nearest(_short(str(first['loc'][-1])), known)}"
    elif first["type"] == "missing":
        message = "missing"
    elif first["type"] != "value_error":
        message = f"{message}, not {_short(repr(first['input']))}"
    message = one_line(message)
    message = message if len(message) <= _MAX_MESSAGE else message[:_MAX_MESSAGE] + " …"
    return f"{key}: {message}" if key else message


def _known_keys(where: tuple[int | str, ...]) -> Collection[str]:
    """Return the valid keys at a position of the file."""
    if len(where) == 1:
        return Cohort.model_fields
    return Claim.model_fields if where[0] == "claims" else ComparedMethod.model_fields


def _short(text: str) -> str:
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]} …"
