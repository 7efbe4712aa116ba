"""The result of one run of the module, written to result.json."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from petdiff import __version__, disk
from petdiff.errors import InputRefused
from petdiff.io.json_files import read_json
from petdiff.module.settings import ModuleSettings
from petdiff.records import NOTICE
from petdiff.runs import replace_json

RESULT = "result.json"
INTERRUPTED = 130
_STATUS = {0: "done", 1: "failed", 2: "wrong settings", 3: "refused", INTERRUPTED: "interrupted"}
_NOTABLE_CHANGE = 0.02


class SeriesResult(BaseModel, frozen=True):
    """The result of one PET series.

    source           its SeriesInstanceUID
    reason           why it was refused; empty if it was denoised
    made             SeriesInstanceUID of the derived series
    images           number of files of the derived series
    values_in        unit of the figures: SUV, or the stored unit
    relative_change  of the whole scan's activity, denoised / measured - 1
    """

    source: str
    status: Literal["denoised", "refused"]
    reason: str = ""
    made: str | None = None
    images: int = 0
    values_in: str = ""
    relative_change: float | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    def notes(self) -> list[str]:
        """Return the notes for the user."""
        if self.made is None:
            return [f"refused: {self.reason}"]
        changed = abs(self.relative_change or 0) > _NOTABLE_CHANGE
        change = [f"the activity changed by {self.relative_change:+.1%}"] if changed else []
        return [*self.warnings, *change]


class ModelName(BaseModel, frozen=True):
    """The model and the SHA-256 of its file."""

    name: str
    sha256: str


class Notification(BaseModel, frozen=True):
    """The text of mercure's notification, and whether the module requests it."""

    text: str
    requested: bool


class ModuleResult(BaseModel, frozen=True):
    """The content of result.json."""

    status: str
    exit_code: int
    reason: str = ""
    petdiff: str = __version__
    notice: str = NOTICE
    settings: ModuleSettings
    model: ModelName | None = None
    series: tuple[SeriesResult, ...] = ()
    notification: Notification = Field(serialization_alias="__mercure_notification")

    @classmethod
    def done(
        cls, settings: ModuleSettings, model: ModelName, series: tuple[SeriesResult, ...]
    ) -> ModuleResult:
        """Return the result of a call that denoised at least one series."""
        count = sum(one.made is not None for one in series)
        notes = [note for one in series for note in one.notes()]
        dose = "" if settings.dose is None else f" at {settings.dose} of the dose"
        what = f"{count} PET series denoised with {model.name}{dose}"
        return cls(
            status=_STATUS[0],
            exit_code=0,
            settings=settings,
            model=model,
            series=series,
            notification=_notification(settings, "; ".join([what, *notes]), has_notes=bool(notes)),
        )

    @classmethod
    def failed(cls, settings: ModuleSettings, exit_code: int, reason: str) -> ModuleResult:
        """Return the result of a call that denoised nothing."""
        status = _STATUS.get(exit_code, "failed")
        return cls(
            status=status,
            exit_code=exit_code,
            reason=reason,
            settings=settings,
            notification=_notification(settings, f"{status}: {reason}", has_notes=True),
        )

    def write(self, folder: Path) -> None:
        """Write result.json into a folder, replacing a former one."""
        replace_json(folder / RESULT, self.model_dump(mode="json", by_alias=True))


class _FormerResult(BaseModel, frozen=True):
    series: tuple[SeriesResult, ...] = ()


def remove_former_result(folder: Path) -> None:
    """Remove result.json of a former run from a folder, and the series that it lists."""
    path = folder / RESULT
    try:
        former = _FormerResult.model_validate(read_json(path))
    except (InputRefused, ValidationError):  # there is none, or it is none of a module
        former = _FormerResult()
    made = {series.made for series in former.series}
    for file in folder.glob("*#*.dcm"):
        if file.name.partition("#")[0] in made:
            disk.remove(file)
    disk.remove(path)


def _notification(settings: ModuleSettings, text: str, *, has_notes: bool) -> Notification:
    requested = settings.notify == "always" or (settings.notify == "problems" and has_notes)
    return Notification(text=f"petdiff: {text}", requested=requested)
