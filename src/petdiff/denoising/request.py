"""A request to denoise a scan: how to read it, the model, how to denoise and write it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from petdiff.errors import UsageError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.options import DenoiseOptions
from petdiff.inference.run_record import OutputFormat, RunOptions
from petdiff.io.read_options import ReadOptions

# Format of the result by the format of the scan.
_SAME_FORMAT: dict[str, OutputFormat] = {
    "dicom": "dicom", "nrrd": "nrrd", "nhdr": "nrrd", "mha": "mha", "mhd": "mha",
}  # fmt: skip


@dataclass(frozen=True)
class Request(ReadOptions):
    """The settings for one scan: how to read it, the model, how to denoise and write it.

    scan      path of the scan
    model     a shipped model's name, or a .safetensors file
    to        format of the result; None: the format of the scan
    interval  level of the voxel intervals to write, such as 0.9; None: no intervals
    """

    scan: Path
    model: str = "flow3d"
    options: DenoiseOptions = field(default_factory=DenoiseOptions)
    to: OutputFormat | None = None
    interval: float | None = None

    def read(self) -> PETImage | PETFrames:
        """Read the scan. Raises InputRefused, as `petdiff.read` does."""
        return self.read_scan(self.scan)

    def run_options(self) -> RunOptions:
        """Return the request as it is written to run.json."""
        return RunOptions(
            scan=str(self.scan),
            model=self.model,
            **self.options.settings(),
            series=self.series,
            units=self.units,
            suv_factor=self.suv_factor,
            to=self.to,
            interval=self.interval,
        )


def result_bytes(request: Request, scan: PETImage | PETFrames) -> int:
    """Return an upper estimate of the size of the results, in bytes."""
    voxels = scan.first.values.size * len(scan) if isinstance(scan, PETFrames) else scan.values.size
    volumes = 1 + (request.options.samples != 1) + 2 * (request.interval is not None)
    return 4 * voxels * volumes + 40_000_000


def output_format(scan: Path, to: OutputFormat | None, image: PETImage) -> OutputFormat:
    """Return the format of the result: the one requested, or that of the scan, or NIfTI.

    scan   path of the scan, for the message
    to     requested format; None: not requested
    image  the scan as it was read

    Raises UsageError where the scan cannot be written in the requested format.
    """
    source = image.facts.get("format")
    if to == "dicom" and source != "dicom":
        raise UsageError(
            f"`to` dicom: {scan.name} is not DICOM, so there is no patient or study to "
            "derive a series from; use `to` nifti"
        )
    if to in ("nrrd", "mha") and isinstance(image, PETFrames):
        raise UsageError(f"`to` {to}: several frames are written as NIfTI or DICOM")
    return to or _SAME_FORMAT.get(str(source), "nifti")
