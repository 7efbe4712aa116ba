"""One series in the queue: a folder with the images and what is known of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from petdiff import disk
from petdiff.runs import write_json

# pet: to be denoised; other: no PET; late: PET of a series that was taken before these came;
# damaged: what cannot be read as DICOM.
Kind = Literal["pet", "other", "late", "damaged"]
ORIGIN, IMAGES, RESULT, ANSWER, REASON = (
    "series.json", "images", "result", "answer.json", "reason.txt",
)  # fmt: skip
_RECORD = ConfigDict(frozen=True, extra="forbid")
Record = TypeVar("Record", bound=BaseModel)


class Origin(BaseModel):
    """What the node knows of a series from its first image on.

    number  of the node's own; logs call the series so
    series  SeriesInstanceUID; empty for damaged files
    sender  AE title, or name of the source
    """

    model_config = _RECORD
    number: int
    kind: Kind
    series: str
    sender: str


class Answer(BaseModel):
    """What the worker has made of a series.

    made             SeriesInstanceUID of the derived series
    sources          SOPInstanceUIDs of the images that it was made from
    relative_change  of the whole scan's activity, denoised / measured - 1
    """

    model_config = _RECORD
    made: str
    images: int
    sources: tuple[str, ...]
    relative_change: float | None
    seconds: float
    warnings: int


class Done(BaseModel):
    """The record of a series whose result has reached its destinations."""

    model_config = _RECORD
    origin: Origin
    answer: Answer
    destinations: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A series where it lies now."""

    path: Path
    origin: Origin

    @property
    def number(self) -> int:
        """The node's number of the series."""
        return self.origin.number

    @property
    def images(self) -> Path:
        """The folder of the images that came, each under its SOPInstanceUID."""
        return self.path / IMAGES

    @property
    def result(self) -> Path:
        """The folder of the denoised images and the answer, once they are complete."""
        return self.path / RESULT

    def image_names(self) -> list[str]:
        """Return the names of the images, SOPInstanceUIDs without suffix."""
        return sorted(name.removesuffix(".dcm") for name in _listing(self.images))

    def result_files(self) -> list[Path]:
        """Return the files of the denoised series."""
        return [self.result / name for name in sorted(_listing(self.result))]

    def answer(self) -> Answer | None:
        """Return what the worker has made; None where there is none."""
        return read_record(self.result / ANSWER, Answer)

    def reason(self) -> str:
        """Return why the series was refused; empty where it was not."""
        try:
            return (self.path / REASON).read_text(encoding="utf-8")
        except OSError:
            return ""


def read_entry(path: Path) -> Entry | None:
    """Return the entry that a folder holds; None where it holds none."""
    origin = read_record(path / ORIGIN, Origin)
    return None if origin is None else Entry(path, origin)


def read_record(path: Path, kind: type[Record]) -> Record | None:
    """Read a record; None where it is missing or damaged."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def write_record(path: Path, record: BaseModel) -> None:
    """Write a record whole, in place of a former one; any thread may."""
    unfinished = path.with_name(f".{path.name}")
    write_json(unfinished, record)
    _settle(unfinished, path)


def write_reason(entry: Entry, reason: str) -> None:
    """Write reason.txt beside the images."""
    unfinished = entry.path / f".{REASON}"
    unfinished.write_text(f"{reason}\n", encoding="utf-8", errors="backslashreplace")
    _settle(unfinished, entry.path / REASON)


def _settle(unfinished: Path, path: Path) -> None:
    disk.flush(unfinished)
    disk.place_file(unfinished, path, replace=True)
    disk.flush_folder(path.parent)


def _listing(folder: Path) -> list[str]:
    """Return the names of complete DICOM files in a folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [name for name in names if name.endswith(".dcm") and not name.startswith(".")]
