"""One call of the module: read the router's folder, denoise its PET, answer with result.json.

result.json and the exit code are written whatever happens, so that the router can say why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petdiff import __version__, disk
from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.module.contract import Folders, folders_of, settings_of
from petdiff.module.settings import ModuleSettings
from petdiff.runs import remove_unfinished, whole_additions, whole_file, write_json
from petdiff.terminal import one_line, print_message
from petdiff.units import share_of

if TYPE_CHECKING:
    from petdiff.methods.model import Model
    from petdiff.module.series import SeriesAnswer

RESULT = "result.json"
NOTICE = "For research, not a medical device."
_INTERRUPTED = 130
_STATUS = {0: "done", 1: "failed", 2: "wrong settings", 3: "refused", _INTERRUPTED: "interrupted"}
_NOTABLE_CHANGE = 0.02


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
        _denoise_all(folders, settings)
        return 0
    except KeyboardInterrupt:
        code, reason = _INTERRUPTED, "interrupted: the router stopped the container"
    except PetdiffError as problem:
        code, reason = problem.exit_code, str(problem)
    except MemoryError:
        code, reason = 1, "out of memory: allow the container more"
    except Exception as problem:  # the reason must reach the router whatever it is
        code, reason = 1, f"{type(problem).__name__}: {problem}"
    reason = one_line(reason)
    print_message(f"petdiff: {reason}")
    if folders is not None:
        _write_failure(folders.output, code, reason, settings)
    return code


def _prepare(output: Path) -> None:
    """Make the output folder, and remove what a killed attempt has left in it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        remove_unfinished(output)
    except OSError as problem:
        raise PetdiffError(f"cannot write in {output}: {disk.reason(problem)}") from problem
    disk.remove(output / RESULT)


def _denoise_all(folders: Folders, settings: ModuleSettings) -> None:
    from petdiff.device import describe_device, resolve_device
    from petdiff.methods.model import load_model
    from petdiff.module.series import denoise_series, pet_series_of, refused

    if not folders.input.is_dir():
        raise UsageError(f"the input folder {folders.input} does not exist")
    device = describe_device(resolve_device(settings.device))
    model = load_model(settings.model)
    print_message(f"petdiff {__version__} · {NOTICE}")
    print_message(f"{folders.contract} module · {model.name} · {device}")
    answers: list[SeriesAnswer] = []
    with whole_additions(folders.output) as folder:
        for uid, is_own in pet_series_of(folders.input):
            try:
                if is_own:
                    raise InputRefused("petdiff has made this series: check the router's rules")
                answers.append(denoise_series(folders.input, uid, model, settings, folder))
            except InputRefused as problem:
                answers.append(refused(uid, problem))
            print_message(_line(answers[-1]))
        if not any(answer.made for answer in answers):
            raise InputRefused("; ".join(answer.reason for answer in answers))
        write_json(folder / RESULT, _result(model, settings, answers))


def _result(model: Model, settings: ModuleSettings, answers: list[SeriesAnswer]) -> dict[str, Any]:
    done = [answer for answer in answers if answer.made]
    notes = [f"refused: {answer.reason}" for answer in answers if not answer.made]
    notes += [warning for answer in done for warning in answer.warnings]
    notes += [
        f"the activity changed by {answer.relative_change:+.1%}"
        for answer in done
        if abs(answer.relative_change or 0) > _NOTABLE_CHANGE
    ]
    drf = settings.options().drf
    of = f" at {share_of(drf)} of the dose" if drf is not None and math.isfinite(drf) else ""
    what = f"{len(done)} PET series denoised with {Path(model.name).name}{of}"
    return {
        **_head(0, settings),
        "model": {"name": Path(model.name).name, "sha256": model.sha256},
        "series": [answer.model_dump(mode="json") for answer in answers],
        **_notification(settings, "; ".join([what, *notes]), wanted=bool(notes)),
    }


def _write_failure(output: Path, code: int, reason: str, settings: ModuleSettings) -> None:
    result = {
        **_head(code, settings),
        "reason": reason,
        **_notification(settings, f"{_STATUS.get(code, 'failed')}: {reason}", wanted=True),
    }
    try:
        with whole_file(output / RESULT, replace=True) as file:
            write_json(file, result)
    except (PetdiffError, OSError) as problem:
        print_message(f"petdiff: {RESULT} cannot be written: {one_line(str(problem))}")


def _head(code: int, settings: ModuleSettings) -> dict[str, Any]:
    return {
        "status": _STATUS.get(code, "failed"),
        "exit_code": code,
        "petdiff": __version__,
        "notice": NOTICE,
        "settings": settings.model_dump(mode="json"),
    }


def _notification(settings: ModuleSettings, text: str, *, wanted: bool) -> dict[str, Any]:
    """Return mercure's key: the text for its e-mail, and whether the module asks for one."""
    requested = settings.notify == "always" or (settings.notify == "problems" and wanted)
    return {"__mercure_notification": {"text": f"petdiff: {text}", "requested": requested}}


def _line(answer: SeriesAnswer) -> str:
    """Return what became of a series for the log; nothing in it names a patient."""
    if not answer.made:
        return f"series  refused: {one_line(answer.reason)}"
    change = answer.relative_change
    changed = "" if change is None else f" · activity {change:+.1%}"
    return f"series  {answer.images} images · {answer.values_in}{changed} · {answer.seconds:g} s"
