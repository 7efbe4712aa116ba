"""Run a cohort: measure exams in several processes, store each one, and resume a stopped run.

The rows of an exam are written to rows/ in one step. A run that was killed continues with the exams
without rows. cohort.json stores the settings of the run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from petdiff.cgroup import one_thread_each
from petdiff.cluster.connection import connected
from petdiff.errors import PetdiffError, UsageError
from petdiff.evaluation.cohort.definition import Cohort, Exam, exams, identity
from petdiff.evaluation.cohort.exam import Measured, measure_exam
from petdiff.evaluation.cohort.pace import PaceQueue, Pacing, report_paces_to
from petdiff.evaluation.cohort.stored import FinishedExam, read_exam, store_exam
from petdiff.progress import ProgressCallback
from petdiff.runs import begin_or_resume, is_empty, remove_unfinished
from petdiff.terminal import log_in_process

Work = Callable[[Cohort, Exam], Measured]


IDENTITY = "cohort.json"
ROWS = "rows"
_POLL_S = 2.0


def run_cohort(
    cohort: Cohort,
    folder: Path,
    *,
    workers: int = 1,
    work: Work = measure_exam,
    progress: ProgressCallback | None = None,
    notify: Callable[[str], None] | None = None,
    cluster: str | None = None,
) -> list[FinishedExam]:
    """Measure the exams of a cohort that are not measured yet; return all in the order of `exams`.

    workers   number of processes, each with one thread
    work      measures an exam; a function that can be pickled
    progress  called with (exams done, exams in all), also once at the start
    notify    called with a line on each model that will take long
    cluster   local, local:N or the address of a Dask scheduler, instead of `workers`

    Raises UsageError if the folder has another run or other files, InputRefused if its files are
    damaged, PetdiffError if a process dies. Finished exams are kept, and the same call resumes.
    """
    todo = exams(cohort)
    _begin_or_resume(folder, identity(cohort))
    rows = folder / ROWS
    rows.mkdir(exist_ok=True)
    remove_unfinished(rows)
    remaining = [exam for exam in todo if not _file(rows, exam).exists()]
    for exam in todo:
        if exam not in remaining:
            read_exam(_file(rows, exam), exam, cohort.methods)  # checks it before hours of work
    tick = progress or (lambda done, total: None)
    done = len(todo) - len(remaining)
    tick(done, len(todo))
    notify = notify or (lambda line: None)
    jobs = [_Job(cohort, exam, rows.absolute(), work) for exam in remaining]
    if cluster is None:
        finished = _finished(jobs, workers, Pacing(cohort, remaining, workers, notify))
    else:
        finished = _on_cluster(jobs, cluster, notify)
    for _ in finished:
        done += 1
        tick(done, len(todo))
    return [read_exam(_file(rows, exam), exam, cohort.methods) for exam in todo]


@dataclass(frozen=True)
class _Job:
    """An exam for another process; its results are stored in the folder `rows`."""

    cohort: Cohort
    exam: Exam
    rows: Path
    work: Work


def _do(job: _Job) -> None:
    store_exam(_file(job.rows, job.exam), job.exam, job.work(job.cohort, job.exam))


def _finished(jobs: Sequence[_Job], workers: int, pacing: Pacing) -> Iterator[Exam]:
    """Yield exams as they are finished."""
    if not jobs:
        return
    count = min(workers, len(jobs))
    others = multiprocessing.active_children()
    context = multiprocessing.get_context("spawn")
    paces: PaceQueue = context.SimpleQueue()
    with one_thread_each():
        pool = ProcessPoolExecutor(
            count, mp_context=context, initializer=_begin_process, initargs=(paces,)
        )
        try:
            running = {pool.submit(_do, job): job.exam for job in jobs}
            for future in _completed(set(running), paces, pacing):
                _require_done(future, running[future], workers)
                yield running[future]
        except KeyboardInterrupt:  # an exam may take many minutes: do not wait for it
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _on_cluster(
    jobs: Sequence[_Job], address: str, notify: Callable[[str], None]
) -> Iterator[Exam]:
    """Yield exams as the processes of a cluster finish them."""
    if not jobs:
        return
    with connected(address, notify, shared=jobs[0].rows) as cluster:
        for job, outcome in cluster.finished(_do, jobs):
            if outcome is not None:
                raise type(outcome)(f"{job.exam.name}: {outcome}")
            yield job.exam


def _completed(
    waiting: set[Future[None]], paces: PaceQueue, pacing: Pacing
) -> Iterator[Future[None]]:
    """Yield jobs as they end; pass on the reports of expected times meanwhile."""
    while waiting:
        ended, waiting = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        while not paces.empty():
            pacing.add(paces.get())
        yield from ended


def _require_done(job: Future[None], exam: Exam, workers: int) -> None:
    try:
        job.result()
    except BrokenProcessPool:
        raise PetdiffError(
            "a process died, perhaps because memory was full: run it again with fewer "
            f"`workers` than {workers}; finished scans are kept"
        ) from None
    except PetdiffError as problem:
        raise type(problem)(f"{exam.name}: {problem}") from None


def _begin_process(paces: PaceQueue) -> None:
    """Prepare a worker process.

    It ignores Ctrl-C, and ends whenever the main process has ended.
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


def _file(rows: Path, exam: Exam) -> Path:
    return rows / f"{exam.name}.json"


def _begin_or_resume(folder: Path, now: Mapping[str, object]) -> None:
    """Begin a folder, or check that it belongs to this run."""
    path = folder / IDENTITY
    if not path.exists() and folder.exists() and not (folder.is_dir() and is_empty(folder)):
        raise UsageError(
            f"{folder} exists and is not the folder of a cohort: name another, or remove it"
        )
    begin_or_resume(path, now)
