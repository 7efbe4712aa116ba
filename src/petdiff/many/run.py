"""Denoise many scans, one after the other or on a cluster, and write a summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from petdiff import __version__
from petdiff.cluster.connection import Cluster, connected, is_local
from petdiff.denoising.request import Request
from petdiff.device import describe_device, resolve_device
from petdiff.errors import PetdiffError, UsageError
from petdiff.inference.options import DenoiseOptions, DenoiseSettings
from petdiff.inference.run_record import OutputFormat
from petdiff.inference.session import Session
from petdiff.io import Units
from petdiff.many.jobs import Job, Jobs, find_jobs, shard_slice
from petdiff.many.rows import ScanRow, is_current, read_row, store_row
from petdiff.many.summary import write_summary
from petdiff.many.work import Task, denoise_job, denoise_task
from petdiff.methods.model import Model, load_model
from petdiff.progress import Progress, Tick
from petdiff.records import NOTICE
from petdiff.runs import remove_unfinished


@dataclass(frozen=True)
class ManyResult:
    """The results of many scans.

    rows   status of each scan of this run (of its shard), sorted by name
    files  summary.csv and index.html, which list all scans in the folder
    """

    rows: tuple[ScanRow, ...]
    files: tuple[Path, ...]

    @property
    def failed(self) -> list[ScanRow]:
        """The scans that have no result."""
        return [row for row in self.rows if not row.is_done]


def denoise_many(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    model: str | Path = "flow3d",
    *,
    units: Units | None = None,
    suv_factor: float | None = None,
    to: OutputFormat | None = None,
    interval: float | None = None,
    shard: str | None = None,
    cluster: str | None = None,
    progress: Progress | None = None,
    **settings: Unpack[DenoiseSettings],
) -> ManyResult:
    """Denoise every PET scan of folders, lists and patterns, each into a folder of its own name.

    inputs    folders (searched through all their levels), .csv lists, patterns, files
    output    folder of the results; results with the same settings and scans are kept
    model     a shipped model's name, or a .safetensors file; it is loaded once
    shard     "i/n": only every n-th scan, from the i-th on
    cluster   "local", "local:N" or the address of a Dask scheduler; None: one scan after the other
    progress  prints messages; None: nothing is printed
    settings  the fields of petdiff.inference.options.DenoiseOptions

    If a scan cannot be denoised, its row has the reason, and the run continues with the others.

    Raises InputRefused if there is no scan, UsageError for impossible options.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    options = DenoiseOptions.of(settings)
    template = Request(
        Path(), str(model), options, to, interval, units=units, suv_factor=suv_factor
    )
    return run_many(
        [Path(one) for one in given],
        Path(output),
        template,
        shard=shard,
        cluster=cluster,
        progress=progress or Progress(quiet=True),
    )


def run_many(
    inputs: Sequence[Path],
    output: Path,
    template: Request,
    *,
    found: Jobs | None = None,
    shard: str | None = None,
    cluster: str | None = None,
    progress: Progress,
) -> ManyResult:
    """Denoise many scans, as `denoise_many`, with the request `template` for each.

    found  result of `find_jobs`, if it was called already
    """
    output = output.expanduser().absolute()
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file: name a folder")
    part = shard_slice(shard)  # before the search, which may be long
    if found is None:
        with progress.stage("searching"):
            found = find_jobs(inputs, template, output)
    for note in found.notes:
        progress.print(f"note    {note}")
    jobs = found.jobs[part]
    model = load_model(template.model)
    _require_possible(model, template.options, on_cluster=cluster is not None)
    before = {job.name: read_row(output, job.name) for job in jobs}
    remaining = [
        job for job in jobs if not is_current(before[job.name], output, job.request, model.sha256)
    ]
    _announce(model, len(jobs), len(remaining), len(found.jobs), progress)
    if cluster is None:
        device = describe_device(resolve_device(template.options.device))
        progress.print(f"device  {device}")
    output.mkdir(parents=True, exist_ok=True)
    rows = {name: row for name, row in before.items() if row is not None}
    with progress.stage("scans") as tick:
        finished = _finished(remaining, output, model, cluster, progress)
        for done, row in enumerate(finished, start=len(jobs) - len(remaining) + 1):
            rows[row.scan] = row
            _print_row(row, done, len(jobs), progress, tick)
    with progress.stage("summary"):
        files = write_summary(output, [job.name for job in found.jobs])
    return ManyResult(tuple(rows[job.name] for job in jobs), tuple(files))


def _require_possible(model: Model, options: DenoiseOptions, *, on_cluster: bool) -> None:
    """Raise UsageError for impossible options, before the first scan is read.

    For a cluster the device is not checked, because this process need not have it.
    """
    Session(model, options.model_copy(update={"device": "cpu"}) if on_cluster else options)


def _announce(model: Model, chosen: int, remaining: int, found: int, progress: Progress) -> None:
    progress.print(f"petdiff {__version__} · {NOTICE}")
    progress.print(f"model   {model.summary}")
    of = f" of {found}" if chosen < found else ""
    done = f", {chosen - remaining} of them done before" if remaining < chosen else ""
    progress.print(f"scans   {chosen}{of}{done}")


def _finished(
    jobs: Sequence[Job], output: Path, model: Model, cluster: str | None, progress: Progress
) -> Iterator[ScanRow]:
    """Yield the status of each scan when it has ended."""
    if cluster is None or not jobs:
        for job in jobs:
            yield denoise_job(job, output, model)
        return
    tasks = [Task(job, output, model.sha256) for job in jobs]
    device = jobs[0].request.options.device
    try:
        with connected(cluster, progress.print, device=device, shared=output) as workers:
            yield from _on_cluster(tasks, workers)
    finally:
        if is_local(cluster):  # its processes have ended; a stopped run leaves unfinished files
            remove_unfinished(output, [job.name for job in jobs])


def _on_cluster(tasks: Sequence[Task], workers: Cluster) -> Iterator[ScanRow]:
    for task, outcome in workers.finished(denoise_task, tasks):
        if isinstance(outcome, PetdiffError):  # a worker that died, or cannot load the model
            row = ScanRow(scan=task.job.name, status="failed", reason=str(outcome))
            store_row(task.output, row)
            yield row
        else:
            yield outcome


def _print_row(row: ScanRow, done: int, total: int, progress: Progress, tick: Tick) -> None:
    tick(done, total)
    if row.is_done:
        changed = "" if row.change is None else f" · activity {row.change:+.2%}"
        progress.print(f"{done}/{total}  {row.scan} · {row.seconds:.1f} s{changed}")
    else:
        progress.print(f"{done}/{total}  {row.scan} · {row.status}: {row.reason}")
