"""`petdiff thin`: simulate a lower dose by adding noise to a full-dose scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from petdiff import __version__
from petdiff.denoising.request import output_format
from petdiff.errors import UsageError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.run_record import SUFFIX, OutputFormat, ScanFacts
from petdiff.io import Derivation, write
from petdiff.io.derivation import SIMULATED
from petdiff.io.read_options import ReadOptions
from petdiff.progress import Progress
from petdiff.records import NOTICE, FileName, RunFacts
from petdiff.runs import whole_folder, write_json
from petdiff.thinning.thin import Thinned, ThinningRecord, thin
from petdiff.units import share_of


@dataclass(frozen=True)
class ThinRequest(ReadOptions):
    """The settings for thinning one scan.

    scan  path of the full-dose scan
    drf   dose reduction factor
    to    format of the result; None: the format of the scan
    """

    scan: Path
    drf: float
    seed: int = 0
    to: OutputFormat | None = None


class ThinRunRecord(RunFacts, frozen=True):
    """The content of run.json of `petdiff thin`."""

    scan: FileName
    input: ScanFacts
    thinning: ThinningRecord


def thin_file(request: ThinRequest, output: Path, *, quiet: bool = False) -> list[Path]:
    """Thin one scan into the new folder `output`, which appears whole or not at all.

    Returns the paths of its files: the thinned scan, run.json and, for a scan of several frames,
    the mean of all frames.
    """
    progress = Progress(quiet)
    with whole_folder(output) as folder:
        with progress.stage("reading"):
            scan = request.read_scan(request.scan)
            file_format = _format(request, scan)
        with progress.stage("thinning"):
            thinned = thin(scan, request.drf, seed=request.seed)
        for warning in thinned.record.warnings:
            progress.print(f"warning {warning}")
        with progress.stage("writing"):
            _write(request, thinned, folder, file_format)
        record = ThinRunRecord(
            scan=str(request.scan),
            input=ScanFacts.of(thinned.full),
            thinning=thinned.record,
            seconds=dict(progress.seconds),
        )
        write_json(folder / "run.json", record)
        names = sorted(entry.name for entry in folder.iterdir())
    return [Path(output) / name for name in names]


def _format(request: ThinRequest, scan: PETImage | PETFrames) -> OutputFormat:
    """Return the format of the results. The mean of frames is NIfTI: it has no DICOM source."""
    if isinstance(scan, PETImage):
        return output_format(request.scan, request.to, scan)
    if request.to not in (None, "nifti"):
        raise UsageError(f"`to` {request.to}: the mean of frames is written as NIfTI; leave it out")
    return "nifti"


def _write(request: ThinRequest, thinned: Thinned, folder: Path, file_format: OutputFormat) -> None:
    """Write the thinned scan; of several frames also the mean of all."""
    several = bool(thinned.record.frames)
    method = (
        f"mean of {len(thinned.record.frames)} of the scan's frames"
        if several
        else "noise was added to a scan of the full dose"
    )
    derivation = Derivation(
        f"Simulated at {share_of(request.drf)} of the dose, not measured: {method}; "
        f"seed {request.seed}; petdiff {__version__}. {NOTICE}",
        model="thin",
        series_prefix=f"SIMULATED {share_of(request.drf)} dose",
        image_kind=SIMULATED,
    )
    write(thinned.image, folder / f"thinned{SUFFIX[file_format]}", derivation)
    if several:
        write(thinned.full, folder / f"full{SUFFIX[file_format]}")
