"""A cohort run to its end: units over processes, each kept as it is done, none done twice.

A unit's rows appear under rows/ whole or not at all, so a run that was killed goes on where it was:
what is there is done, what is not is to do. The folder remembers what it is the run of.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from petdiff.cluster.connection import connected
from petdiff.errors import PetdiffError, UsageError
from petdiff.evaluation.cohort.definition import Cohort, Unit, identity, units
from petdiff.evaluation.cohort.pace import PaceQueue, Pacing, report_paces_to
from petdiff.evaluation.cohort.stored import Done, read_unit, store_unit
from petdiff.evaluation.cohort.unit import Measured, measure_unit
from petdiff.runs import begin_or_resume, is_empty, remove_unfinished
from petdiff.terminal import log_in_process

Work = Callable[[Cohort, Unit], Measured]
Tick = Callable[[int, int], None]

IDENTITY = "cohort.json"
ROWS = "rows"
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
_POLL_S = 2.0


def run_cohort(
    cohort: Cohort,
    folder: Path,
    *,
    workers: int = 1,
    work: Work = measure_unit,
    progress: Tick | None = None,
    notify: Callable[[str], None] | None = None,
    cluster: str | None = None,
) -> list[Done]:
    """Measure the units of a cohort that are not measured yet; return all in the order of `units`.

    workers   processes, each with one thread of arithmetic
    work      what measures a unit; a function that processes can be sent
    progress  called with (units done, units in all), once at the start
    notify    called with a line on each model that will take long
    cluster   local, local:N or the address of a Dask scheduler, in place of `workers`

    Raises UsageError where the folder holds another run or something else, InputRefused where what
    it holds is damaged, PetdiffError where a process dies; what was done by then stays, and the
    same call goes on.
    """
    todo = units(cohort)
    _begin_or_resume(folder, identity(cohort))
    rows = folder / ROWS
    rows.mkdir(exist_ok=True)
    remove_unfinished(rows)
    left = [unit for unit in todo if not _file(rows, unit).exists()]
    for unit in todo:
        if unit not in left:
            read_unit(_file(rows, unit), unit, cohort.methods)  # before hours of work, not after
    tick = progress or (lambda done, total: None)
    done = len(todo) - len(left)
    tick(done, len(todo))
    notify = notify or (lambda line: None)
    if cluster is None:
        finished = _finished(
            cohort, left, rows, workers, work, Pacing(cohort, left, workers, notify)
        )
    else:
        pieces = [_Piece(cohort, unit, rows.absolute(), work) for unit in left]
        finished = _on_cluster(pieces, cluster, notify)
    for _ in finished:
        done += 1
        tick(done, len(todo))
    return [read_unit(_file(rows, unit), unit, cohort.methods) for unit in todo]


def _finished(
    cohort: Cohort,
    left: Sequence[Unit],
    rows: Path,
    workers: int,
    work: Work,
    pacing: Pacing,
) -> Iterator[Unit]:
    """Yield units as they are done."""
    if not left:
        return
    count = min(workers, len(left))
    others = multiprocessing.active_children()
    context = multiprocessing.get_context("spawn")
    paces: PaceQueue = context.SimpleQueue()
    with _environment(_ONE_THREAD):
        pool = ProcessPoolExecutor(
            count, mp_context=context, initializer=_begin_process, initargs=(paces,)
        )
        try:
            jobs = {pool.submit(_do, cohort, unit, rows, work): unit for unit in left}
            for job in _completed(set(jobs), paces, pacing):
                _require_done(job, jobs[job], workers)
                yield jobs[job]
        except KeyboardInterrupt:  # a unit may take many minutes: do not wait for it
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _Piece:
    """A unit for a process of a cluster."""

    cohort: Cohort
    unit: Unit
    rows: Path
    work: Work


def _on_cluster(
    pieces: Sequence[_Piece], address: str, notify: Callable[[str], None]
) -> Iterator[Unit]:
    """Yield units as processes of a cluster have done them."""
    if not pieces:
        return
    with connected(address, notify, shared=pieces[0].rows) as cluster:
        for piece, outcome in cluster.finished(_do_piece, pieces):
            if outcome is not None:
                raise type(outcome)(f"{piece.unit.name}: {outcome}")
            yield piece.unit


def _do_piece(piece: _Piece) -> None:
    _do(piece.cohort, piece.unit, piece.rows, piece.work)


def _completed(
    waiting: set[Future[None]], paces: PaceQueue, pacing: Pacing
) -> Iterator[Future[None]]:
    """Yield jobs as they end, and meanwhile pass on how fast the models of the others are."""
    while waiting:
        ended, waiting = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        while not paces.empty():
            pacing.add(paces.get())
        yield from ended


def _require_done(job: Future[None], unit: Unit, workers: int) -> None:
    try:
        job.result()
    except BrokenProcessPool:
        raise PetdiffError(
            "a process died, perhaps for want of memory: run it again with fewer "
            f"`workers` than {workers}; what is done stays done"
        ) from None
    except PetdiffError as problem:
        raise type(problem)(f"{unit.name}: {problem}") from None


def _begin_process(paces: PaceQueue) -> None:
    """Prepare a new process.

    It ends when the one that started it has ended, however that ended, and leaves Ctrl-C to it.
    """
    report_paces_to(paces)
    log_in_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(cohort: Cohort, unit: Unit, rows: Path, work: Work) -> None:
    store_unit(_file(rows, unit), unit, work(cohort, unit))


def _file(rows: Path, unit: Unit) -> Path:
    return rows / f"{unit.name}.json"


def _begin_or_resume(folder: Path, now: Mapping[str, object]) -> None:
    """Begin a folder, or make sure that it is this run's."""
    path = folder / IDENTITY
    if not path.exists() and folder.exists() and not (folder.is_dir() and is_empty(folder)):
        raise UsageError(f"{folder} exists and is not a cohort's: name another, or remove it")
    begin_or_resume(path, now)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Let processes that start meanwhile see these values."""
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
