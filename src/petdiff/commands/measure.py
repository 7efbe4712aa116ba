"""`petdiff measure`: measure regions in the measured and the denoised scan of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from petdiff.commands.values import numbers
from petdiff.denoising.pictures import title
from petdiff.errors import UsageError
from petdiff.image import PETImage
from petdiff.measurement.files import read_regions
from petdiff.measurement.foci import FOUND_NOTE, find_lesions
from petdiff.measurement.record import Measurement
from petdiff.measurement.region import Region, RegionKind, ball_region
from petdiff.measurement.run import measure_run
from petdiff.measurement.stored_run import Run, read_run
from petdiff.measurement.structured_report import write_structured_report
from petdiff.measurement.tables import write_figures
from petdiff.progress import Progress
from petdiff.records import FileName, RunFacts
from petdiff.report.measures import write_measures_page
from petdiff.runs import whole_folder, write_json


@dataclass(frozen=True)
class MeasureRequest:
    """The regions to measure, and the run.

    run      output folder of `petdiff denoise`, or a run.json
    scan     measured scan, if it is not where run.json says
    frame    number of the frame, from 1, where the scan has several
    spheres  "x,y,z,r" in mm, RAS+
    lesions  threshold for foci, or "auto" for SUV 4
    kind     kind of all regions; None: derived from their names
    level    level of the intervals; None: 0.9, if the run has intervals
    """

    run: Path
    scan: Path | None = None
    mask: Path | None = None
    names: Path | None = None
    spheres: Sequence[str] = ()
    lesions: str | None = None
    kind: RegionKind | None = None
    resample: bool = False
    level: float | None = None
    frame: int | None = None

    def __post_init__(self) -> None:
        if self.mask is None and not self.spheres and self.lesions is None:
            raise UsageError(
                "nothing to measure: give --mask FILE, --sphere X,Y,Z,R or --lesions auto"
            )
        if self.mask is None and (self.names or self.resample):
            raise UsageError("--names and --resample are for a --mask FILE: give it, too")


class MeasuresRecord(RunFacts, frozen=True):
    """The content of measures.json: files, model and dose of the run, and the measurement."""

    run: FileName
    frame: int | None
    mask: FileName | None
    model: FileName
    model_sha256: str
    drf: float | None
    measurement: Measurement


def measure_file(
    request: MeasureRequest,
    output: Path | None = None,
    report: Path | None = None,
    *,
    quiet: bool = False,
) -> MeasuresRecord:
    """Measure the regions of a run.

    output  new folder for measures.json, measures.csv and measures.html
    report  new file for a DICOM structured report
    """
    progress = Progress(quiet)
    if output is None:
        return _measured(request, None, report, progress)
    with whole_folder(output) as folder:
        record = _measured(request, folder, report, progress)
        write_json(folder / "measures.json", record)
        write_figures(folder / "measures.csv", record.measurement)
    return record


def _measured(
    request: MeasureRequest, folder: Path | None, report: Path | None, progress: Progress
) -> MeasuresRecord:
    with progress.stage("reading"):
        run = read_run(request.run, request.scan, frame=request.frame)
        regions = _regions(request, run)
    with progress.stage("measuring"):
        measurement = measure_run(run, regions, level=request.level)
        if request.lesions is not None:
            notes = (*measurement.notes, FOUND_NOTE)
            measurement = measurement.model_copy(update={"notes": notes})
    model = run.record.denoising.model
    if report is not None:
        write_structured_report(report, measurement, regions, run.measured, run.denoised, model)
    if folder is not None:
        with progress.stage("page"), progress.optional(folder / "measures.html"):
            _page(folder / "measures.html", run, measurement)
    return MeasuresRecord(
        run=str(request.run),
        frame=request.frame,
        mask=None if request.mask is None else str(request.mask),
        model=Path(model.name).name,
        model_sha256=model.sha256,
        drf=run.record.denoising.drf,
        measurement=measurement,
        seconds=dict(progress.seconds),
        missing=dict(progress.missing),
    )


def _page(path: Path, run: Run, measurement: Measurement) -> None:
    write_measures_page(
        path,
        measurement,
        run.measured,
        run.denoised,
        name=Path(run.record.options.scan).name,
        title=title(run.record.denoising),
    )


def _regions(request: MeasureRequest, run: Run) -> list[Region]:
    scan = run.measured
    regions: list[Region] = []
    if request.mask is not None:
        regions += read_regions(
            request.mask, scan, names=request.names, kind=request.kind, resample=request.resample
        )
    regions += _spheres(request, scan)
    if request.lesions is not None:
        threshold = None if request.lesions == "auto" else _threshold(request.lesions)
        regions += find_lesions(run.denoised, threshold)
    return regions


def _threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"--lesions {text}: give auto, or a value above 0")
    return value


def _spheres(request: MeasureRequest, scan: PETImage) -> list[Region]:
    regions = []
    for number, text in enumerate(request.spheres, 1):
        sizes = numbers(text, "--sphere")
        if len(sizes) != 4 or not 0 < sizes[3] <= 500:
            raise UsageError(
                f"--sphere {text}: give X,Y,Z,R in mm, with a radius above 0, up to 500"
            )
        name = "sphere" if len(request.spheres) == 1 else f"sphere {number}"
        regions.append(
            ball_region(sizes[:3], sizes[3], scan, name=name, kind=request.kind or "sphere")
        )
    return regions
