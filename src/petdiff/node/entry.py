"""One series in the queue: a folder with its images and its records."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError

from petdiff import disk
from petdiff.runs import write_json

# pet: PET images to denoise; other: images that are not PET; late: PET images that came after their
# series was accepted; damaged: files that cannot be read as DICOM.
Kind = Literal["pet", "other", "late", "damaged"]
ORIGIN, IMAGES, RESULT, RESULT_RECORD, REASON = (
    "series.json", "images", "result", "answer.json", "reason.txt",
)  # fmt: skip
Record = TypeVar("Record", bound=BaseModel)


class Origin(BaseModel, frozen=True, extra="forbid"):
    """The identity of a series, written when its first image arrives.

    number  assigned by the node; the log names the series by it
    series  SeriesInstanceUID; empty for damaged files
    sender  AE title, or name of the source
    images  number of images that the source offered; 0: not known
    """

    number: int
    kind: Kind
    series: str
    sender: str
    images: int = 0


class ResultRecord(BaseModel, frozen=True, extra="forbid"):
    """The result of denoising one series, stored as answer.json.

    made             SeriesInstanceUID of the derived series
    sources          SOPInstanceUIDs of the denoised images
    relative_change  of the whole scan's activity, denoised / measured - 1
    """

    made: str
    images: int
    sources: tuple[str, ...]
    relative_change: float | None
    seconds: float
    warnings: int


class Done(BaseModel, frozen=True, extra="forbid"):
    """The record of a series whose result has reached its destinations."""

    origin: Origin
    answer: ResultRecord  # the key of this record in existing files
    destinations: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A series and its present folder."""

    path: Path
    origin: Origin

    @property
    def number(self) -> int:
        """The node's number of the series."""
        return self.origin.number

    @property
    def images(self) -> Path:
        """The folder of the received images, named by SOPInstanceUID."""
        return self.path / IMAGES

    @property
    def result(self) -> Path:
        """The folder of the denoised images and their record, once they are complete."""
        return self.path / RESULT

    def image_names(self) -> list[str]:
        """Return the names of the images, SOPInstanceUIDs without suffix."""
        return sorted(name.removesuffix(".dcm") for name in _listing(self.images))

    def result_files(self) -> list[Path]:
        """Return the files of the denoised series."""
        return [self.result / name for name in sorted(_listing(self.result))]

    def result_record(self) -> ResultRecord | None:
        """Return the record of the result; None if there is none."""
        return read_record(self.result / RESULT_RECORD, ResultRecord)

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
    """Write a record whole, replacing a former one. Threads may call this at the same time."""
    unfinished = path.with_name(f".{path.name}")
    write_json(unfinished, record)
    _publish(unfinished, path)


def write_reason(entry: Entry, reason: str) -> None:
    """Write reason.txt into the folder of the series."""
    unfinished = entry.path / f".{REASON}"
    unfinished.write_text(f"{reason}\n", encoding="utf-8", errors="backslashreplace")
    _publish(unfinished, entry.path / REASON)


def _publish(unfinished: Path, path: Path) -> None:
    disk.flush(unfinished)
    disk.place_file(unfinished, path, replace=True)
    disk.flush_folder(path.parent)


def _listing(folder: Path) -> list[str]:
    """Return the names of complete DICOM files in a folder; none where it is not there.

    Raises OSError for a folder that cannot be read, which is not an empty one.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [name for name in names if name.endswith(".dcm") and not name.startswith(".")]
