"""One call of the module: read the router's folder, denoise its PET, answer with result.json.

result.json and the exit code are written whatever happens, so that the router can say why.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from petdiff import __version__, disk
from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.module.contract import Folders, folders_of, settings_of
from petdiff.module.inputs import PetSeries, pet_series_of
from petdiff.module.result import (
    INTERRUPTED,
    NOTICE,
    RESULT,
    ModelName,
    ModuleResult,
    SeriesAnswer,
)
from petdiff.module.settings import ModuleSettings
from petdiff.runs import remove_unfinished, whole_additions
from petdiff.terminal import one_line, print_message

_OWN = "petdiff has made this series: check the router's rules"


def run_module(environment: Mapping[str, str]) -> int:
    """Run the module with the folders and settings of an environment; returns the exit code.

    0 denoised, 1 failed while running, 2 wrong settings, 3 nothing in the folder can be denoised,
    130 interrupted. Without an output folder the reason is on stderr alone.
    """
    settings = ModuleSettings()
    folders: Folders | None = None
    try:
        folders = folders_of(environment)
        _prepare(folders.output)
        settings = settings_of(folders, environment)
        _denoise_all(folders, settings, _series_in(folders.input))
        return 0
    except KeyboardInterrupt:
        code, reason = INTERRUPTED, "interrupted: the router stopped the container"
    except PetdiffError as problem:
        code, reason = problem.exit_code, str(problem)
    except MemoryError:
        code, reason = 1, "out of memory: allow the container more"
    except Exception as problem:  # the reason must reach the router whatever it is
        code, reason = 1, f"{type(problem).__name__}: {problem}"
    reason = one_line(reason)
    print_message(f"petdiff: {reason}")
    if folders is not None:
        try:
            ModuleResult.failed(settings, code, reason).write(folders.output)
        except (PetdiffError, OSError) as problem:
            print_message(f"petdiff: {RESULT} cannot be written: {one_line(str(problem))}")
    return code


def _prepare(output: Path) -> None:
    """Make the output folder, and remove what a killed attempt has left in it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not os.access(output, os.W_OK | os.X_OK):  # known before minutes of work
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        remove_unfinished(output)
    except OSError as problem:
        raise PetdiffError(f"cannot write in {output}: {disk.reason(problem)}") from problem
    disk.remove(output / RESULT)


def _series_in(folder: Path) -> list[PetSeries]:
    """Return the PET series of the input folder; raises where there is none to denoise."""
    if not folder.is_dir():
        raise UsageError(f"the input folder {folder} does not exist")
    found = pet_series_of(folder)
    if all(series.is_own for series in found):
        raise InputRefused(_OWN)
    return found


def _denoise_all(folders: Folders, settings: ModuleSettings, found: list[PetSeries]) -> None:
    """Denoise every PET series that was found; raises InputRefused where none can be."""
    from petdiff.device import describe_device, resolve_device
    from petdiff.methods.model import load_model
    from petdiff.module.series import denoise_series

    device = describe_device(resolve_device(settings.device))
    model = load_model(settings.model)
    name = ModelName(name=Path(model.name).name, sha256=model.sha256)
    print_message(f"petdiff {__version__} · {NOTICE}")
    print_message(f"{folders.contract} module · {name.name} · {device}")
    answers: list[SeriesAnswer] = []
    with whole_additions(folders.output) as folder:
        for series in found:
            uid = series.uid
            try:
                if series.is_own:
                    raise InputRefused(_OWN)
                answers.append(denoise_series(folders.input, uid, model, settings, folder))
            except InputRefused as problem:
                answers.append(SeriesAnswer(source=uid, status="refused", reason=str(problem)))
            print_message(_line(answers[-1]))
        if not any(answer.made for answer in answers):
            raise InputRefused("; ".join(answer.reason for answer in answers))
        ModuleResult.done(settings, name, tuple(answers)).write(folder)


def _line(answer: SeriesAnswer) -> str:
    """Return what became of a series for the log; nothing in it names a patient."""
    if not answer.made:
        return f"series  refused: {one_line(answer.reason)}"
    change = answer.relative_change
    changed = "" if change is None else f" · activity {change:+.1%}"
    return f"series  {answer.images} images · {answer.values_in}{changed} · {answer.seconds:g} s"
