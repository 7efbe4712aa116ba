"""`petdiff denoise`: a scan in; the denoised scan, its uncertainty, pictures and a record out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from petdiff import __version__
from petdiff.commands.denoise_bids import derivative_of, provenance, unit_name
from petdiff.commands.denoise_frames import frames_text, mean_result, with_frame_figures
from petdiff.commands.denoise_interval import intervals_of
from petdiff.errors import UsageError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.frames import FramesResult
from petdiff.inference.options import DenoiseOptions
from petdiff.inference.record import DenoisingRecord
from petdiff.inference.run_record import Asked, Form, RunRecord, ScanFacts
from petdiff.io import Derivation, read, write
from petdiff.progress import Progress, Tick
from petdiff.runs import require_free, whole_additions, whole_folder, write_json
from petdiff.units import share_of
from petdiff.volume.activity import activity_change

if TYPE_CHECKING:
    from petdiff.inference.denoise import Result
    from petdiff.methods.model import Model


_FASTER = "fewer steps or samples, a GPU or the default model are faster"


_SUFFIX: dict[Form, str] = {
    "dicom": "", "nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "bids": ".nii.gz",
}  # fmt: skip
# The form of the result by that of the scan.
_LIKE: dict[str, Form] = {
    "dicom": "dicom", "nrrd": "nrrd", "nhdr": "nrrd", "mha": "mha", "mhd": "mha",
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """Hold what was asked for: the scan, how to read it, the model, how to denoise and write."""

    scan: Path
    model: str = "flow3d"
    options: DenoiseOptions = field(default_factory=DenoiseOptions)
    series: str | None = None
    units: Literal["suv", "bqml"] | None = None
    suv_factor: float | None = None
    to: Form | None = None
    interval: float | None = None

    def asked(self) -> Asked:
        """Return the request as run.json has it."""
        return Asked(
            scan=str(self.scan),
            model=self.model,
            **self.options.settings(),
            series=self.series,
            units=self.units,
            suv_factor=self.suv_factor,
            to=self.to,
            interval=self.interval,
        )


def denoise_file(request: Request, output: Path, *, quiet: bool = False) -> list[Path]:
    """Denoise one scan into the new folder `output`; returns the paths of what it holds.

    The folder appears whole or not at all. Where the result is a BIDS derivative, `output` is a
    data set to which the scan is added. Raises PetdiffError and its kinds.
    """
    progress = Progress(quiet)
    bids = derivative_of(request.scan, output, request.to)
    with whole_folder(output) if bids is None else whole_additions(output) as folder:
        with progress.stage("reading"):
            scan = read(
                request.scan,
                series=request.series,
                units=request.units,
                suv_factor=request.suv_factor,
            )
        # Pictures and figures of a scan of frames show the mean over them.
        image = scan.mean() if isinstance(scan, PETFrames) else scan
        form = "bids" if bids is not None else _form(request, image)
        require_free(output, _result_bytes(request, scan))
        model = _load(request, image, progress)
        intervals = intervals_of(request.interval, scan, model, request.options, form)
        if form == "dicom" and image.facts.get("multi_frame"):
            progress.say("form    single-frame PET slices; the source is multi-frame DICOM")
        if isinstance(scan, PETFrames):
            progress.say(f"frames  {frames_text(scan)}; each is denoised as a scan of its own")
        with progress.stage("denoising", hint=_FASTER) as tick:
            found = _denoise(request, scan, model, tick)
        with progress.stage("writing"):
            _write(found, folder, form)
            if intervals is not None and not isinstance(found, FramesResult):
                intervals.write(image, found.image, folder, _SUFFIX[form] or ".nii.gz")
        # From here on the result is on the disk: what only informs may fail without losing it.
        if isinstance(scan, PETFrames) and isinstance(found, FramesResult):
            found = with_frame_figures(scan, found)
            with progress.stage("curves"), progress.optional(folder / "frames.png"):
                _curves(scan, found, folder / "frames.png")
        result = mean_result(found) if isinstance(found, FramesResult) else found

        def record() -> RunRecord:
            return _record(request, image, result, form, progress)

        with progress.stage("preview"), progress.optional(folder / "preview.png"):
            _preview(request, image, result, folder / "preview.png")
        with progress.stage("page"), progress.optional(folder / "report.html"):
            _page(request, image, result, record(), folder, progress)
        write_json(folder / "run.json", record())
        names = sorted(Path(entry.name) for entry in folder.iterdir())
        if bids is not None:
            names = bids.arrange(folder, unit_name(scan), provenance(result.record))
            bids.describe()
    return [Path(output) / name for name in names]


def _result_bytes(request: Request, scan: PETImage | PETFrames) -> int:
    """Return the bytes that the results take, uncompressed."""
    voxels = scan.first.values.size * len(scan) if isinstance(scan, PETFrames) else scan.values.size
    volumes = 1 + (request.options.samples > 1) + 2 * (request.interval is not None)
    return 4 * voxels * volumes + 40_000_000


def _form(request: Request, image: PETImage) -> Form:
    """Return the form of the result: the one asked for, else that of the scan, else NIfTI."""
    source = image.facts.get("format")
    if request.to == "dicom" and source != "dicom":
        raise UsageError(
            f"--to dicom: {request.scan.name} is not DICOM, so there is no patient or study to "
            "derive a series from; use --to nifti"
        )
    if request.to in ("nrrd", "mha") and isinstance(image, PETFrames):
        raise UsageError(f"--to {request.to}: several frames are written as NIfTI or DICOM")
    like: Form = _LIKE.get(str(source), "nifti")
    return request.to or like


def _load(request: Request, image: PETImage, progress: Progress) -> Model:
    """Load the model, and say what will run on what before it does."""
    from petdiff.device import describe_device, resolve_device
    from petdiff.methods.model import load_model

    device = describe_device(resolve_device(request.options.device))
    model = load_model(request.model)
    suv = image.facts.get("suv", {})
    progress.say(f"petdiff {__version__} · for research, not a medical device")
    progress.say(f"scan    {request.scan} · {grid_text(image)}")
    if image.in_suv:
        rule = f"rule: {suv.get('rule')} ({suv.get('reason')})"
        progress.say(f"suv     stored {image.unit} · {rule}")
    else:
        progress.say(f"unit    {image.unit_name}, as stored · {image.no_suv_reason}")
    if request.options.drf is not None:
        progress.say(f"dose    {share_of(request.options.drf)} of the full dose, as given")
    for warning in [*suv.get("warnings", ()), *image.facts.get("warnings", ())]:
        progress.say(f"warning {warning}")
    progress.say(f"model   {model.name} · sha256 {model.sha256[:12]} · {model.card.licence}")
    if model.card.limits:
        progress.say(f"limits  {model.card.limits}")
    progress.say(f"device  {device}")
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


def _write(result: Result | FramesResult, folder: Path, form: Form) -> None:
    model = result.record.model
    derivation = Derivation(
        f"{title(result.record)}; petdiff {__version__}; for research, not a medical device",
        Path(model.name).name,
        model.sha256,
    )
    name = f"denoised{_SUFFIX[form]}"
    write(result.image, folder / name, derivation)
    if result.uncertainty is not None:
        suffix = _SUFFIX[form] or ".nii.gz"
        scan = result.uncertainty if form == "bids" else _without_source(result.uncertainty)
        write(scan, folder / f"uncertainty{suffix}")


def _without_source(scan: PETImage | PETFrames) -> PETImage | PETFrames:
    """Return the scan without its source, so that its values and no stored unit are written."""
    if isinstance(scan, PETFrames):
        return scan.with_frames([_bare(frame) for frame in scan])
    return _bare(scan)


def _bare(image: PETImage) -> PETImage:
    return replace(image, stored_per_value=1.0, source=None)


def _curves(measured: PETFrames, result: FramesResult, path: Path) -> None:
    from petdiff.report.time_activity import write_time_activity

    of = f"{title(result.record)} · {len(measured)} frames"
    write_time_activity(path, measured, result.image, title=of)


def _preview(request: Request, image: PETImage, result: Result, path: Path) -> None:
    from petdiff.report.preview import write_preview

    spread = None if result.uncertainty is None else result.uncertainty.values
    device, frames = result.record.device, result.record.frames
    of = f"mean of {len(frames)} frames · " if frames else ""
    note = (
        f"{request.scan.resolve().name} · {of}{grid_text(image)} · stored {image.unit} · {device}"
    )
    write_preview(path, image, result.image, spread, title=title(result.record), note=note)


def _page(
    request: Request,
    image: PETImage,
    result: Result,
    record: RunRecord,
    folder: Path,
    progress: Progress,
) -> None:
    from petdiff.report.page import WITHOUT_VIEWER, has_viewer, write_page

    if not has_viewer():
        progress.say(f"note    {WITHOUT_VIEWER}")
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


def _record(
    request: Request, image: PETImage, result: Result, form: Form, progress: Progress
) -> RunRecord:
    return RunRecord(
        options=request.asked(),
        input=ScanFacts.of(image),
        output_form=form,
        denoising=result.record,
        activity=activity_change(
            image.values, result.image.values, image.spacing_mm, in_suv=image.in_suv
        ),
        seconds=dict(progress.seconds),
        missing=dict(progress.missing),
    )


def title(record: DenoisingRecord) -> str:
    """Return the run in a few words: model, steps, samples, dose if known, seed."""
    words = [Path(record.model.name).name, f"{record.steps} step{'s' * (record.steps > 1)}"]
    if record.samples > 1:
        words.append(f"{record.samples} samples")
    if record.drf:
        words.append(f"dose {share_of(record.drf)}")
    return " · ".join([*words, f"seed {record.seed}"])


def grid_text(image: PETImage) -> str:
    """Return the grid for a person: 192 × 288 × 520 voxels of 1.65 × 1.65 × 1.65 mm."""
    shape = " × ".join(str(n) for n in image.shape)
    size = " × ".join(f"{mm:.4g}" for mm in image.spacing_mm)
    return f"{shape} voxels of {size} mm"
