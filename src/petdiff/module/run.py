"""One run of the module: read the input folder, denoise its PET series, write result.json.

result.json and the exit code are also written after an error, so that the router has the reason.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from petdiff import __version__, disk
from petdiff.errors import InputRefused, PetdiffError, UsageError, with_plain_names
from petdiff.module.contract import Folders, read_folders, read_settings
from petdiff.module.inputs import PetSeries, find_pet_series
from petdiff.module.result import (
    INTERRUPTED,
    RESULT,
    ModelName,
    ModuleResult,
    SeriesResult,
    remove_former_result,
)
from petdiff.module.settings import ModuleSettings
from petdiff.records import NOTICE
from petdiff.runs import remove_unfinished, whole_additions
from petdiff.terminal import one_line, print_message

_OWN = "petdiff has made this series: check the router's rules"


def run_module(environment: Mapping[str, str]) -> int:
    """Run the module with the folders and settings of an environment; returns the exit code.

    0 denoised, 1 failed while running, 2 wrong settings, 3 nothing in the folder can be denoised,
    130 interrupted. Without an output folder the reason is only printed to stderr.
    """
    settings = ModuleSettings()
    folders: Folders | None = None
    try:
        folders = read_folders(environment)
        _prepare(folders.output)
        settings = read_settings(folders, environment)
        _denoise_all(folders, settings, _series_in(folders.input))
        return 0
    except KeyboardInterrupt:
        code, reason = INTERRUPTED, "interrupted: the router stopped the container"
    except PetdiffError as problem:
        code, reason = problem.exit_code, str(problem)
    except MemoryError:
        code, reason = 1, "out of memory: allow the container more"
    except Exception as problem:  # the router gets the reason of every error
        code, reason = 1, f"{type(problem).__name__}: {problem}"
    reason = one_line(with_plain_names(reason))
    print_message(f"petdiff: {reason}")
    if folders is not None:
        try:
            ModuleResult.failed(settings, code, reason).write(folders.output)
        except (PetdiffError, OSError) as problem:
            print_message(f"petdiff: {RESULT} cannot be written: {one_line(str(problem))}")
    return code


def _prepare(output: Path) -> None:
    """Make the output folder, and remove what a former run has left in it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not os.access(output, os.W_OK | os.X_OK):  # before denoising, which takes minutes
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        remove_unfinished(output)
    except OSError as problem:
        raise PetdiffError(f"cannot write in {output}: {disk.reason(problem)}") from problem
    remove_former_result(output)


def _series_in(folder: Path) -> list[PetSeries]:
    """Return the PET series of the input folder; raises if there is none to denoise."""
    if not folder.is_dir():
        raise UsageError(f"the input folder {folder} does not exist")
    found = find_pet_series(folder)
    if all(series.is_own for series in found):
        raise InputRefused(_OWN)
    return found


def _denoise_all(folders: Folders, settings: ModuleSettings, found: list[PetSeries]) -> None:
    """Denoise every PET series that was found; raises InputRefused if none can be denoised."""
    from petdiff.device import describe_device, resolve_device
    from petdiff.methods.model import load_model
    from petdiff.module.series import denoise_series

    device = describe_device(resolve_device(settings.device))
    model = load_model(settings.model)
    name = ModelName(name=Path(model.name).name, sha256=model.sha256)
    print_message(f"petdiff {__version__} · {NOTICE}")
    print_message(f"{folders.contract} module · {name.name} · {device}")
    results: list[SeriesResult] = []
    with whole_additions(folders.output) as folder:
        for series in found:
            uid = series.uid
            try:
                if series.is_own:
                    raise InputRefused(_OWN)
                results.append(denoise_series(folders.input, uid, model, settings, folder))
            except InputRefused as problem:
                reason = with_plain_names(str(problem))
                results.append(SeriesResult(source=uid, status="refused", reason=reason))
            print_message(_line(results[-1]))
        if not any(result.made for result in results):
            raise InputRefused("; ".join(result.reason for result in results))
        ModuleResult.done(settings, name, tuple(results)).write(folder)


def _line(result: SeriesResult) -> str:
    """Return a line about the series for the log, without patient data."""
    if not result.made:
        return f"series  refused: {one_line(result.reason)}"
    change = result.relative_change
    changed = "" if change is None else f" · activity {change:+.1%}"
    return f"series  {result.images} images · {result.values_in}{changed} · {result.seconds:g} s"
