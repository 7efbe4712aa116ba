"""Store a measured exam: a JSON file with its rows, and an .npz file with its pictures.

A resumed run reads the files and checks them for damage.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, FiniteFloat, ValidationError

from petdiff.errors import InputRefused, first_error
from petdiff.evaluation.cohort.definition import FULL_DOSE, Exam
from petdiff.evaluation.cohort.exam import CohortRow, Measured
from petdiff.evaluation.cohort.snapshots import Grey, PictureGeometry
from petdiff.evaluation.detection.lesion_study import Reading
from petdiff.runs import whole_file
from petdiff.terminal import one_line

_MAX_SIDE = 4096  # pixels of a picture
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error,
               NotImplementedError, RuntimeError, MemoryError)  # fmt: skip

Channels = tuple[tuple[FiniteFloat, ...], ...]


class StoredReading(BaseModel, frozen=True, extra="forbid"):
    """A `Reading` as JSON: the score -inf of a lesion without a focus becomes None."""

    scan: str
    patient: str
    method: str
    dose: FiniteFloat
    lesions: tuple[FiniteFloat | None, ...]
    sizes: tuple[str, ...]
    contrasts: tuple[str, ...]
    false: tuple[FiniteFloat, ...]
    invented: tuple[FiniteFloat, ...]
    present: Channels = ()
    absent: Channels = ()

    @classmethod
    def of(cls, reading: Reading) -> StoredReading:
        """Convert a reading."""
        scores = [score if np.isfinite(score) else None for score in reading.lesions]
        return cls.model_validate({**vars(reading), "lesions": scores})

    def reading(self) -> Reading:
        """Convert back to a reading."""
        scores = tuple(-np.inf if score is None else score for score in self.lesions)
        return Reading(**{**dict(self), "lesions": scores})


class StoredExam(BaseModel, frozen=True, extra="forbid"):
    """The content of an exam's JSON file."""

    unit: str
    rows: list[CohortRow]
    readings: list[StoredReading]
    places: dict[str, PictureGeometry]
    trained_on: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class FinishedExam:
    """An exam that was measured and stored.

    Its rows and pictures are read from its files on demand, to save memory.
    """

    exam: Exam
    readings: list[Reading]
    places: dict[str, PictureGeometry]
    file: Path
    trained_on: tuple[str, ...] = ()

    @property
    def rows(self) -> list[CohortRow]:
        return _read(self.file).rows

    def picture(self, name: str) -> Grey:
        """Return a picture by its name in `Snapshots.pictures`. Raises InputRefused if damaged."""
        file = self.file.with_suffix(".npz")
        try:
            with np.load(file) as pictures:
                grey: Grey = pictures[name]
        except _UNREADABLE as problem:
            raise _damaged(file, f"{name}: {problem}") from None
        is_picture = grey.dtype == np.uint8 and grey.ndim == 2 and grey.size > 0
        if not is_picture or max(grey.shape) > _MAX_SIDE:
            raise _damaged(file, f"{name} is not a picture")
        return grey


def store_exam(file: Path, exam: Exam, measured: Measured) -> None:
    """Write an exam's files. The JSON file is written last: it marks the exam as finished."""
    with (
        whole_file(file.with_suffix(".npz"), replace=True) as unfinished,
        unfinished.open("wb") as pictures,
    ):
        np.savez_compressed(pictures, allow_pickle=False, **measured.snapshots.pictures)
    content = StoredExam(
        unit=exam.name,
        rows=measured.rows,
        readings=[StoredReading.of(reading) for reading in measured.readings],
        places=measured.snapshots.places,
        trained_on=tuple(measured.trained_on),
    )
    with whole_file(file, replace=True) as unfinished:
        unfinished.write_text(content.model_dump_json(), encoding="utf-8")


def read_exam(file: Path, exam: Exam, methods: Collection[str] | None = None) -> FinishedExam:
    """Read and check an exam's file.

    methods  those of the cohort; rows of other methods are refused

    Raises InputRefused if the file is damaged or belongs to another exam.
    """
    stored = _read(file)
    if stored.unit != exam.name:
        raise _damaged(file, f"it belongs to {stored.unit[:80]!r}")
    if methods is not None:
        known = {*methods, FULL_DOSE}
        found = {row.method for row in stored.rows} | {one.method for one in stored.readings}
        if unknown := sorted(found - known):
            raise _damaged(file, f"it has rows of {unknown[0][:80]!r}")
    readings = [reading.reading() for reading in stored.readings]
    return FinishedExam(exam, readings, stored.places, file, stored.trained_on)


def _read(file: Path) -> StoredExam:
    try:
        return StoredExam.model_validate_json(file.read_bytes())
    except ValidationError as problem:
        raise _damaged(file, first_error(problem)) from None
    except OSError as problem:
        raise _damaged(file, str(problem.strerror)) from None


def _damaged(file: Path, why: str) -> InputRefused:
    return InputRefused(
        f"{file} is damaged ({one_line(why)[:200]}): remove it and its {file.stem}.json, and the "
        "same command measures these scans again"
    )
