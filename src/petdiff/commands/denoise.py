"""`petdiff denoise`: one scan into one folder, or many scans into a folder each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from petdiff.denoising.request import Request
from petdiff.denoising.scan import denoise_scan
from petdiff.errors import InputRefused, UsageError, with_scan_options
from petdiff.many.jobs import Jobs, find_jobs, is_pattern
from petdiff.many.rows import FOLDER, ScanRow
from petdiff.many.scan_list import is_list
from petdiff.progress import Progress
from petdiff.terminal import print_message

_SHOWN = 5


@dataclass(frozen=True)
class DenoiseResult:
    """The paths to print, and the exit code: 1 if some of many scans have no result."""

    files: Sequence[Path]
    exit_code: int = 0


def denoise_inputs(
    inputs: Sequence[Path],
    output: Path,
    request: Request,
    *,
    shard: str | None = None,
    cluster: str | None = None,
    quiet: bool = False,
) -> DenoiseResult:
    """Denoise one scan, or each scan of a folder, a list, a pattern or several inputs.

    request  how to read, denoise and write each scan; its own path is not used

    Raises PetdiffError or a subclass where no scan could be begun.
    """
    single = inputs[0] if len(inputs) == 1 and shard is None and cluster is None else None
    found: Jobs | None = None
    if single is not None:
        found = _several_in_folder(single, output, request)
        if found is None and not (is_list(single) or is_pattern(single)):
            request = replace(request, scan=single)
            return DenoiseResult(denoise_scan(request, output, progress=Progress(quiet)).files)
    if request.series is not None:
        raise UsageError("`series` is for one scan: leave it out, or give it in a list of scans")
    from petdiff.many.run import run_many

    progress = Progress(quiet)
    result = run_many(
        inputs, output, request, found=found, shard=shard, cluster=cluster, progress=progress
    )
    if result.failed:
        _print_failures(result.failed, len(result.rows), result.files[0])
    return DenoiseResult(result.files, int(bool(result.failed)))


def _several_in_folder(path: Path, output: Path, request: Request) -> Jobs | None:
    """Return the scans of a folder if it holds several, or results of an earlier run; else None."""
    path = path.expanduser()
    if request.series is not None or not path.is_dir():
        return None
    try:
        found = find_jobs([path], request, output)
    except InputRefused:
        return None  # reading the folder as one scan raises an error that says what it holds
    is_resumed = (output / FOLDER).is_dir()
    return found if found.readable > 1 or is_resumed else None


def _print_failures(failed: Sequence[ScanRow], total: int, summary: Path) -> None:
    shown = "; ".join(f"{row.scan}: {row.reason}" for row in failed[:_SHOWN])
    more = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
    line = f"petdiff: {len(failed)} of {total} scans have no result, see {summary} ({shown}{more})"
    print_message(with_scan_options(line))
