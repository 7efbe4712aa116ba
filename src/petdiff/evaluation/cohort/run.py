"""A cohort run to its end: units over processes, each kept as it is done, none done twice.

A unit's rows appear under rows/ whole or not at all, so a run that was killed goes on where it was:
what is there is done, what is not is to do. The folder remembers what it is the run of.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from petdiff.errors import PetdiffError, UsageError
from petdiff.evaluation.cohort.definition import Cohort, Unit, identity, units
from petdiff.evaluation.cohort.snapshots import Grey, Snapshots
from petdiff.evaluation.cohort.unit import (
    CohortRow,
    Measured,
    measure_unit,
    reading_from_json,
    reading_to_json,
)
from petdiff.evaluation.detection.lesion_study import Reading
from petdiff.runs import begin_or_resume, is_empty, remove_unfinished, whole_file

Work = Callable[[Cohort, Unit], Measured]
Tick = Callable[[int, int], None]

IDENTITY = "cohort.json"
ROWS = "rows"
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Done:
    """A unit that is done. Rows and pictures of many units are too much to hold at once, so they
    are read from its files whenever they are wanted."""

    unit: Unit
    readings: list[Reading]
    places: dict[str, Any]
    file: Path

    @property
    def rows(self) -> list[CohortRow]:
        return [CohortRow(*row) for row in _content(self.file)["rows"]]

    def picture(self, name: str) -> Grey:
        """Of a name as in `Snapshots.pictures`."""
        with np.load(self.file.with_suffix(".npz")) as pictures:
            grey: Grey = pictures[name]
        return grey


def run_cohort(
    cohort: Cohort,
    folder: Path,
    *,
    workers: int = 1,
    work: Work = measure_unit,
    progress: Tick | None = None,
) -> list[Done]:
    """Do what is not done yet of a cohort, and return all of it in the order of `units`.

    workers   processes, each with one thread of arithmetic
    work      what measures a unit; a function that processes can be sent
    progress  called with (units done, units in all), once at the start

    Raises UsageError where the folder holds another run or something else, PetdiffError where a
    process dies; what was done by then stays, and the same call goes on.
    """
    todo = units(cohort)
    _begin_or_resume(folder, identity(cohort))
    rows = folder / ROWS
    rows.mkdir(exist_ok=True)
    remove_unfinished(rows)
    left = [unit for unit in todo if not _file(rows, unit).exists()]
    tick = progress or (lambda done, total: None)
    tick(len(todo) - len(left), len(todo))
    done = len(todo) - len(left)
    for _ in _finished(cohort, left, rows, workers, work):
        done += 1
        tick(done, len(todo))
    return [read_unit(_file(rows, unit), unit) for unit in todo]


def read_unit(file: Path, unit: Unit) -> Done:
    """A unit's file."""
    content = _content(file)
    return Done(
        unit,
        [reading_from_json(reading) for reading in content["readings"]],
        content["places"],
        file,
    )


def _content(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _finished(
    cohort: Cohort, left: Sequence[Unit], rows: Path, workers: int, work: Work
) -> Iterator[Unit]:
    """Units as they are done."""
    if not left:
        return
    count = min(workers, len(left))
    others = multiprocessing.active_children()
    with _environment(_ONE_THREAD):
        pool = ProcessPoolExecutor(
            count, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent
        )
        try:
            jobs = {pool.submit(_do, cohort, unit, rows, work): unit for unit in left}
            for job in as_completed(jobs):
                try:
                    job.result()
                except BrokenProcessPool:
                    raise PetdiffError(
                        "a process died, perhaps for want of memory: run the same command again "
                        f"with fewer `workers` than {workers}; what is done stays done"
                    ) from None
                except PetdiffError as problem:
                    raise type(problem)(f"{jobs[job].name}: {problem}") from None
                yield jobs[job]
        except KeyboardInterrupt:  # a unit may take many minutes: do not wait for it
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """In a new process: let it end when the one that started it has ended, however that ended, and
    leave Ctrl-C to that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(cohort: Cohort, unit: Unit, rows: Path, work: Work) -> None:
    measured = work(cohort, unit)
    file = _file(rows, unit)
    # The pictures first: where the rows are, the unit is done.
    with (
        whole_file(file.with_suffix(".npz"), replace=True) as unfinished,
        unfinished.open("wb") as pictures,
    ):
        np.savez_compressed(pictures, **_arrays(measured.snapshots))
    content = {
        "unit": unit.name,
        "rows": measured.rows,
        "readings": [reading_to_json(reading) for reading in measured.readings],
        "places": measured.snapshots.places,
    }
    with whole_file(file, replace=True) as unfinished:
        unfinished.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


def _arrays(snapshots: Snapshots) -> dict[str, Any]:
    return dict(snapshots.pictures)


def _file(rows: Path, unit: Unit) -> Path:
    return rows / f"{unit.name}.json"


def _begin_or_resume(folder: Path, now: Mapping[str, Any]) -> None:
    """Begin a folder, or make sure that it is this run's."""
    path = folder / IDENTITY
    if not path.exists() and folder.exists() and not (folder.is_dir() and is_empty(folder)):
        raise UsageError(f"{folder} exists and is not a cohort's: name another, or remove it")
    begin_or_resume(path, now)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Processes that start meanwhile see these values."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
