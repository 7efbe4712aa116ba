"""Denoise one scan file and write the results: scan, uncertainty, pictures, page and run.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from petdiff import __version__
from petdiff.data.fingerprint import scan_fingerprint
from petdiff.denoising.bids import derivative_of, provenance, unit_name
from petdiff.denoising.checks import check_alarm, check_audit
from petdiff.denoising.extra_volumes import write_extra_volume
from petdiff.denoising.frames import frames_text, mean_result, with_frame_figures
from petdiff.denoising.interval import prepare_intervals
from petdiff.denoising.pictures import draw_curves, draw_preview, make_page, title
from petdiff.denoising.request import Request, output_format, result_bytes
from petdiff.frames import PETFrames, mean_image
from petdiff.image import PETImage
from petdiff.inference.frames import FramesResult
from petdiff.inference.run_record import SUFFIX, OutputFormat, RunRecord, ScanFacts
from petdiff.io import Derivation, write
from petdiff.methods.weights_files import weights_path
from petdiff.progress import Progress, Tick
from petdiff.report.notices import repetition_notices
from petdiff.runs import require_free, whole_additions, whole_folder, write_json
from petdiff.uncertainty.alarm.features import scan_features
from petdiff.uncertainty.alarm.record import AlarmRecord
from petdiff.uncertainty.alarm.reference import reference_path
from petdiff.units import share_of
from petdiff.volume.activity import activity_change

if TYPE_CHECKING:
    from petdiff.inference.denoise import Result
    from petdiff.methods.model import Model


_HINT = "fewer steps or samples, a GPU or the default model are faster"


@dataclass(frozen=True)
class Denoised:
    """The files that were written for a scan, and the content of its run.json."""

    files: tuple[Path, ...]
    record: RunRecord


def denoise_scan(
    request: Request, output: Path, *, model: Model | None = None, progress: Progress | None = None
) -> Denoised:
    """Denoise one scan into the new folder `output`, which appears whole or not at all.

    Where the result is a BIDS derivative, `output` is a data set to which the scan is added. Raises
    PetdiffError or a subclass.

    model     a loaded model, for callers that denoise several scans; None: the model that the
              request names is loaded
    progress  prints messages and measures the stages; None: nothing is printed
    """
    progress = Progress(quiet=True) if progress is None else progress
    bids = derivative_of(request.scan, output, request.to)
    if bids is not None:
        bids.check()
    with whole_folder(output) if bids is None else whole_additions(output) as folder:
        with progress.stage("reading"):
            scan = request.read()
            fingerprint = scan_fingerprint(scan)
        # Pictures and figures of a scan of frames show the mean over them.
        image = mean_image(scan)
        file_format = "bids" if bids is not None else output_format(request.scan, request.to, image)
        require_free(output, result_bytes(request, scan))
        model, alarm = _load_and_check(request, image, model, progress)
        intervals = prepare_intervals(request.interval, image, model, request.options)
        if file_format == "dicom" and image.facts.get("multi_frame"):
            progress.print("format  single-frame PET slices; the source is multi-frame DICOM")
        if isinstance(scan, PETFrames):
            progress.print(f"frames  {frames_text(scan)}; each is denoised as a scan of its own")
        with progress.stage("denoising", hint=_HINT) as tick:
            result = _denoise(request, scan, model, tick)
        with progress.stage("writing"):
            _write(result, folder, file_format)
            if intervals is not None:
                intervals.write(scan, result.image, folder, file_format)
                _warn_uncalibrated(result, progress)
        record = _write_record(
            request, scan, fingerprint, result, file_format, folder, progress, alarm
        )
        names = sorted(Path(entry.name) for entry in folder.iterdir())
        if bids is not None:
            source = provenance(record.denoising, request.interval)
            names = bids.arrange(folder, unit_name(scan), source)
            bids.describe()
    return Denoised(tuple(Path(output) / name for name in names), record)


def _load_and_check(
    request: Request, image: PETImage, model: Model | None, progress: Progress
) -> tuple[Model, AlarmRecord | None]:
    """Return the loaded model, and the alarm of the scan if the model has a reference for it."""
    with ThreadPoolExecutor(1) as executor:
        features: Callable[[], Mapping[str, float]] = partial(scan_features, image)
        # This thread will import torch.
        if model is None and reference_path(weights_path(request.model)).is_file():
            features = executor.submit(scan_features, image).result
        model = _load_and_announce(request, image, model, progress)
        return model, check_alarm(features, model, progress)


def _load_and_announce(
    request: Request, image: PETImage, model: Model | None, progress: Progress
) -> Model:
    """Return the loaded model, and print scan, unit, dose, model and device before the run."""
    from petdiff.device import describe_device, resolve_device
    from petdiff.methods.model import load_model

    device = describe_device(resolve_device(request.options.device))
    model = load_model(request.model) if model is None else model
    suv = image.facts.get("suv", {})
    progress.print(f"petdiff {__version__} · for research, not a medical device")
    progress.print(f"scan    {request.scan} · {image.grid_text}")
    if image.in_suv:
        rule = f"rule: {suv.get('rule')} ({suv.get('reason')})"
        progress.print(f"suv     stored {image.unit or 'values'} · {rule}")
    else:
        unit = f"{image.unit_name}," if image.unit else "not known; values"
        progress.print(f"unit    {unit} as stored · {image.no_suv_reason}")
    if request.options.drf is not None:
        progress.print(f"dose    {share_of(request.options.drf)} of the full dose, as given")
    repeated = repetition_notices(ScanFacts.of(image))
    for warning in [*repeated, *suv.get("warnings", ()), *image.facts.get("warnings", ())]:
        progress.print(f"warning {warning}")
    progress.print(f"model   {model.summary}")
    if model.card.limits:
        progress.print(f"limits  {model.card.limits}")
    progress.print(f"device  {device}")
    return model


def _denoise(
    request: Request, scan: PETImage | PETFrames, model: Model, tick: Tick
) -> Result | FramesResult:
    from petdiff.inference.denoise import denoise

    note = "frames" if isinstance(scan, PETFrames) else ""
    return denoise(
        scan,
        model,
        **request.options.settings(),
        callback=lambda done, total: tick(done, total, note),
    )


def _write(result: Result | FramesResult, folder: Path, file_format: OutputFormat) -> None:
    model = result.record.model
    derivation = Derivation(
        f"{title(result.record)}; petdiff {__version__}; for research, not a medical device",
        Path(model.name).name,
        model.sha256,
    )
    name = f"denoised{SUFFIX[file_format]}"
    write(result.image, folder / name, derivation)
    if result.uncertainty is not None:
        write_extra_volume(result.uncertainty, "uncertainty", folder, file_format)


def _warn_uncalibrated(result: Result | FramesResult, progress: Progress) -> None:
    empty = [str(row.frame) for row in result.record.frames if row.unchanged]
    if empty:
        progress.print(
            f"warning no activity in frame {', '.join(empty)}: it was not changed, and the bounds "
            "of its voxels are not calibrated"
        )


def _write_record(
    request: Request,
    scan: PETImage | PETFrames,
    fingerprint: str,
    denoised: Result | FramesResult,
    file_format: OutputFormat,
    folder: Path,
    progress: Progress,
    alarm: AlarmRecord | None,
) -> RunRecord:
    """Write pictures, page and run.json. Pictures and page may fail without losing the result."""
    image = mean_image(scan)
    if isinstance(scan, PETFrames) and isinstance(denoised, FramesResult):
        denoised = with_frame_figures(scan, denoised)
        with progress.stage("curves"), progress.optional(folder / "frames.png"):
            draw_curves(scan, denoised, folder / "frames.png")
    result = mean_result(denoised) if isinstance(denoised, FramesResult) else denoised
    with ThreadPoolExecutor(1) as executor:
        auditing = executor.submit(check_audit, image, result.image, progress)
        with progress.stage("preview"), progress.optional(folder / "preview.png"):
            draw_preview(request, image, result, folder / "preview.png")
        before, after = image.values, result.image.values
        change = activity_change(before, after, image.spacing_mm, in_suv=image.in_suv)
        with progress.stage("audit"):  # the time that it takes longer than the picture
            audit = auditing.result()

    def record() -> RunRecord:
        return RunRecord(
            options=request.run_options(),
            input=ScanFacts.of(image).model_copy(update={"fingerprint": fingerprint}),
            output_form=file_format,
            denoising=result.record,
            activity=change,
            alarm=alarm,
            audit=audit,
            seconds=dict(progress.seconds),
            missing=dict(progress.missing),
        )

    with progress.stage("page"), progress.optional(folder / "report.html"):
        make_page(request, image, result, record(), folder, progress)
    final = record()
    write_json(folder / "run.json", final)
    if audit is not None:
        progress.print(f"audit   {audit.verdict}")
    return final
