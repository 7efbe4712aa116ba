"""Draw the pictures and the page of a denoised scan. If they fail, the result is still kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from petdiff.denoising.request import Request
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.frames import FramesResult
from petdiff.inference.record import DenoisingRecord
from petdiff.inference.run_record import RunRecord
from petdiff.progress import Progress
from petdiff.units import counted, share_of

if TYPE_CHECKING:
    from petdiff.inference.denoise import Result


def draw_curves(measured: PETFrames, result: FramesResult, path: Path) -> None:
    """Draw the activity of each frame before and after."""
    from petdiff.report.time_activity import write_time_activity

    heading = f"{title(result.record)} · {counted(len(measured), 'frame')}"
    write_time_activity(path, measured, result.image, title=heading)


def draw_preview(request: Request, image: PETImage, result: Result, path: Path) -> None:
    """Draw the measured scan, the denoised scan and their difference."""
    from petdiff.report.preview import write_preview

    uncertainty = None if result.uncertainty is None else result.uncertainty.values
    device, frames = result.record.device, result.record.frames
    mean_of = f"mean of {counted(len(frames), 'frame')} · " if frames else ""
    name = request.scan.resolve().name
    stored = f"stored {image.unit} · " if image.unit else ""
    note = f"{name} · {mean_of}{image.grid_text} · {stored}{device}"
    write_preview(path, image, result.image, uncertainty, title=title(result.record), note=note)


def make_page(
    request: Request,
    image: PETImage,
    result: Result,
    record: RunRecord,
    folder: Path,
    progress: Progress,
) -> None:
    """Write report.html. Print a note if this installation has no 3-D viewer."""
    from petdiff.report.page import write_page
    from petdiff.report.volume_viewer import WITHOUT_VIEWER, has_viewer

    if not has_viewer():
        progress.print(f"note    {WITHOUT_VIEWER}")
    write_page(
        folder / "report.html",
        image,
        result.image,
        None if result.uncertainty is None else result.uncertainty.values,
        name=request.scan.resolve().name,
        title=title(result.record),
        record=record,
        picture=folder / "preview.png",
    )


def title(record: DenoisingRecord) -> str:
    """Return a title for the run: model, steps, samples, dose if known, seed."""
    words = [Path(record.model.name).name, counted(record.steps, "step")]
    if record.samples > 1:
        words.append(counted(record.samples, "sample"))
    if record.drf:
        words.append(f"dose {share_of(record.drf)}")
    return " · ".join([*words, f"seed {record.seed}"])
