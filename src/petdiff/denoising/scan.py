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
from petdiff.denoising.interval import IntervalWriter, prepare_intervals
from petdiff.denoising.pictures import draw_curves, draw_preview, make_page, title
from petdiff.denoising.request import Request, output_format, result_bytes
from petdiff.frames import PETFrames, mean_image
from petdiff.image import PETImage
from petdiff.inference.frames import FramesResult
from petdiff.inference.run_record import SUFFIX, OutputFormat, RunRecord, ScanFacts
from petdiff.io import Derivation, write
from petdiff.methods.weights_files import weights_path
from petdiff.progress import Progress, Tick
from petdiff.records import NOTICE
from petdiff.report.notices import repetition_notices
from petdiff.runs import require_free, whole_additions, whole_folder, write_json
from petdiff.uncertainty.alarm.features import scan_features
from petdiff.uncertainty.alarm.record import AlarmRecord
from petdiff.uncertainty.alarm.reference import reference_path
from petdiff.uncertainty.audit.record import AuditRecord
from petdiff.units import share_of
from petdiff.volume.activity import ActivityChange, activity_change

if TYPE_CHECKING:
    from petdiff.inference.denoise import Result
    from petdiff.methods.model import Model


_HINT = "fewer steps or samples, a GPU or the default model are faster"


@dataclass(frozen=True)
class Denoised:
    """The files that were written for a scan, and the content of its run.json."""

    files: tuple[Path, ...]
    record: RunRecord


@dataclass(frozen=True)
class _Run:
    """A request, its scan, and where and how the results are written.

    image  the scan; of several frames, their mean, which pictures and figures show
    facts  of the image, with the fingerprint of the scan
    """

    request: Request
    scan: PETImage | PETFrames
    image: PETImage
    facts: ScanFacts
    folder: Path
    file_format: OutputFormat
    progress: Progress


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
        image = mean_image(scan)
        file_format = "bids" if bids is not None else output_format(request.scan, request.to, image)
        require_free(output, result_bytes(request, scan))
        facts = ScanFacts.of(image, fingerprint)
        run = _Run(request, scan, image, facts, folder, file_format, progress)
        model, alarm = _load_and_check(run, model)
        intervals = prepare_intervals(request.interval, image, model, request.options)
        with progress.stage("denoising", hint=_HINT) as tick:
            denoised = _denoise(run, model, tick)
        with progress.stage("writing"):
            _write(run, denoised, intervals)
        result = mean_result(denoised)
        change, audit = _compare(run, denoised, result)
        record = _write_record(run, result, change, alarm, audit)
        names = sorted(Path(entry.name) for entry in folder.iterdir())
        if bids is not None:
            source = provenance(record.denoising, request.interval)
            names = bids.arrange(folder, unit_name(scan), source)
            bids.describe()
    return Denoised(tuple(Path(output) / name for name in names), record)


def _load_and_check(run: _Run, model: Model | None) -> tuple[Model, AlarmRecord | None]:
    """Return the loaded model, and the alarm of the scan if the model has a reference for it."""
    with ThreadPoolExecutor(1) as executor:
        features: Callable[[], Mapping[str, float]] = partial(scan_features, run.image)
        # This thread will import torch.
        if model is None and reference_path(weights_path(run.request.model)).is_file():
            features = executor.submit(scan_features, run.image).result
        model = _load_and_announce(run, model)
        return model, check_alarm(features, model, run.progress)


def _load_and_announce(run: _Run, model: Model | None) -> Model:
    """Return the loaded model, and print scan, unit, dose, model and device before the run."""
    from petdiff.device import describe_device, resolve_device
    from petdiff.methods.model import load_model

    request, image, suv, say = run.request, run.image, run.facts.suv, run.progress.print
    device = describe_device(resolve_device(request.options.device))
    model = load_model(request.model) if model is None else model
    say(f"petdiff {__version__} · {NOTICE}")
    say(f"scan    {request.scan} · {image.grid_text}")
    if image.in_suv:
        say(f"suv     stored {image.unit or 'values'} · rule: {suv.rule} ({suv.reason})")
    else:
        unit = f"{image.unit_name}," if image.unit else "not known; values"
        say(f"unit    {unit} as stored · {image.no_suv_reason}")
    if request.options.drf is not None:
        say(f"dose    {share_of(request.options.drf)} of the full dose, as given")
    for warning in [*repetition_notices(run.facts), *suv.warnings, *run.facts.warnings]:
        say(f"warning {warning}")
    say(f"model   {model.summary}")
    if model.card.limits:
        say(f"limits  {model.card.limits}")
    say(f"device  {device}")
    if run.file_format == "dicom" and image.facts.get("multi_frame"):
        say("format  single-frame PET slices; the source is multi-frame DICOM")
    if isinstance(run.scan, PETFrames):
        say(f"frames  {frames_text(run.scan)}; each is denoised as a scan of its own")
    return model


def _denoise(run: _Run, model: Model, tick: Tick) -> Result | FramesResult:
    from petdiff.inference.denoise import denoise

    settings = run.request.options.settings()
    if isinstance(run.scan, PETImage):
        return denoise(run.scan, model, callback=tick, **settings)
    result = denoise(run.scan, model, callback=partial(tick, note="frames"), **settings)
    return with_frame_figures(run.scan, result)


def _write(run: _Run, denoised: Result | FramesResult, intervals: IntervalWriter | None) -> None:
    """Write the denoised scan, its uncertainty and the intervals of its voxels."""
    model, folder, file_format = denoised.record.model, run.folder, run.file_format
    derivation = Derivation(
        f"{title(denoised.record)}; petdiff {__version__}. {NOTICE}",
        Path(model.name).name,
        model.sha256,
    )
    write(denoised.image, folder / f"denoised{SUFFIX[file_format]}", derivation)
    if denoised.uncertainty is not None:
        write_extra_volume(denoised.uncertainty, "uncertainty", folder, file_format)
    if intervals is not None:
        intervals.write(run.scan, denoised.image, folder, file_format)
        _warn_uncalibrated(denoised, run.progress)


def _warn_uncalibrated(denoised: Result | FramesResult, progress: Progress) -> None:
    empty = [str(row.frame) for row in denoised.record.frames if row.unchanged]
    if empty:
        progress.print(
            f"warning no activity in frame {', '.join(empty)}: it was not changed, and the bounds "
            "of its voxels are not calibrated"
        )


def _compare(
    run: _Run, denoised: Result | FramesResult, result: Result
) -> tuple[ActivityChange, AuditRecord | None]:
    """Return the change of activity and the audit, and draw the pictures meanwhile.

    A picture that cannot be drawn is left out with a warning.
    """
    progress, folder = run.progress, run.folder
    if isinstance(run.scan, PETFrames) and isinstance(denoised, FramesResult):
        with progress.stage("curves"), progress.optional(folder / "frames.png"):
            draw_curves(run.scan, denoised, folder / "frames.png")
    with ThreadPoolExecutor(1) as executor:
        auditing = executor.submit(check_audit, run.image, result.image, progress)
        with progress.stage("preview"), progress.optional(folder / "preview.png"):
            draw_preview(run.request, run.image, result, folder / "preview.png")
        before, after = run.image, result.image
        change = activity_change(
            before.values, after.values, before.spacing_mm, in_suv=before.in_suv
        )
        with progress.stage("audit"):  # the time that it takes longer than the picture
            return change, auditing.result()


def _write_record(
    run: _Run,
    result: Result,
    change: ActivityChange,
    alarm: AlarmRecord | None,
    audit: AuditRecord | None,
) -> RunRecord:
    """Write the page, which may fail without losing the result, and run.json."""
    progress, folder = run.progress, run.folder

    def record() -> RunRecord:
        return RunRecord(
            options=run.request.run_options(),
            input=run.facts,
            output_form=run.file_format,
            denoising=result.record,
            activity=change,
            alarm=alarm,
            audit=audit,
            seconds=dict(progress.seconds),
            missing=dict(progress.missing),
        )

    with progress.stage("page"), progress.optional(folder / "report.html"):
        make_page(run.request, run.image, result, record(), folder, progress)
    final = record()
    write_json(folder / "run.json", final)
    if audit is not None:
        progress.print(f"audit   {audit.verdict}")
    return final
