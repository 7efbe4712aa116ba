"""`petdiff thin`: what a full-dose scan would have looked like at a share of its dose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from petdiff import __version__
from petdiff.denoising.request import Request, output_format
from petdiff.frames import PETFrames
from petdiff.inference.run_record import SUFFIX, OutputFormat, ScanFacts
from petdiff.io import Derivation, read, write
from petdiff.io.derivation import SIMULATED
from petdiff.progress import Progress
from petdiff.records import FileName, RunFacts
from petdiff.runs import whole_folder, write_json
from petdiff.thinning.thin import Thinned, ThinningRecord, thin
from petdiff.units import share_of


@dataclass(frozen=True)
class ThinRequest:
    """Say what to thin: the scan, how to read it, the dose reduction factor, the format."""

    scan: Path
    drf: float
    seed: int = 0
    series: str | None = None
    units: Literal["suv", "bqml"] | None = None
    suv_factor: float | None = None
    to: OutputFormat | None = None


class ThinRunRecord(RunFacts):
    """The content of run.json of `petdiff thin`."""

    scan: FileName
    input: ScanFacts
    thinning: ThinningRecord


def thin_file(request: ThinRequest, output: Path, *, quiet: bool = False) -> list[Path]:
    """Thin one scan into the new folder `output`, which appears whole or not at all.

    Returns the paths of what it holds: the thinned scan, of frames the mean of all of them too, and
    run.json.
    """
    progress = Progress(quiet)
    with whole_folder(output) as folder:
        with progress.stage("reading"):
            scan = read(
                request.scan,
                series=request.series,
                units=request.units,
                suv_factor=request.suv_factor,
            )
        with progress.stage("thinning"):
            found = thin(scan, request.drf, seed=request.seed)
        for warning in found.record.warnings:
            progress.print(f"warning {warning}")
        with progress.stage("writing"):
            _write(request, found, folder, several=isinstance(scan, PETFrames))
        record = ThinRunRecord(
            scan=str(request.scan),
            input=ScanFacts.of(found.full),
            thinning=found.record,
            seconds=dict(progress.seconds),
        )
        write_json(folder / "run.json", record)
        names = sorted(entry.name for entry in folder.iterdir())
    return [Path(output) / name for name in names]


def _write(request: ThinRequest, found: Thinned, folder: Path, *, several: bool) -> None:
    """Write the thinned scan; of frames their mean too, which has no DICOM source."""
    file_format = (
        "nifti" if several else output_format(Request(request.scan, to=request.to), found.full)
    )
    how = (
        f"mean of {len(found.record.frames)} of the scan's frames"
        if several
        else "noise was added to a scan of the full dose"
    )
    derivation = Derivation(
        f"Simulated at {share_of(request.drf)} of the dose, not measured: {how}; "
        f"seed {request.seed}; petdiff {__version__}; for research, not a medical device",
        model="thin",
        series_prefix=f"SIMULATED {share_of(request.drf)} dose",
        image_kind=SIMULATED,
    )
    write(found.image, folder / f"thinned{SUFFIX[file_format]}", derivation)
    if several:
        write(found.full, folder / f"full{SUFFIX[file_format]}")
