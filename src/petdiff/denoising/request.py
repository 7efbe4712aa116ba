"""What is asked of a scan: how to read it, the model, how to denoise and write it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from petdiff.errors import UsageError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.options import DenoiseOptions
from petdiff.inference.run_record import OutputFormat, RunOptions
from petdiff.io import read

# Format of the result by the format of the scan.
_SAME_FORMAT: dict[str, OutputFormat] = {
    "dicom": "dicom", "nrrd": "nrrd", "nhdr": "nrrd", "mha": "mha", "mhd": "mha",
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """Hold what was asked for: the scan, how to read it, the model, how to denoise and write.

    recursive  search a folder through all its levels; else its own DICOM files alone
    """

    scan: Path
    model: str = "flow3d"
    options: DenoiseOptions = field(default_factory=DenoiseOptions)
    series: str | None = None
    units: Literal["suv", "bqml"] | None = None
    suv_factor: float | None = None
    to: OutputFormat | None = None
    interval: float | None = None
    recursive: bool = True

    def read(self) -> PETImage | PETFrames:
        """Read the scan. Raises InputRefused, as `petdiff.read` does."""
        return read(
            self.scan,
            series=self.series,
            units=self.units,
            suv_factor=self.suv_factor,
            recursive=self.recursive,
        )

    def run_options(self) -> RunOptions:
        """Return the request as run.json has it."""
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
    """Return the bytes that the results take, uncompressed."""
    voxels = scan.first.values.size * len(scan) if isinstance(scan, PETFrames) else scan.values.size
    volumes = 1 + (request.options.samples > 1) + 2 * (request.interval is not None)
    return 4 * voxels * volumes + 40_000_000


def output_format(request: Request, image: PETImage) -> OutputFormat:
    """Return the format of the result: the one requested, or that of the scan, or NIfTI.

    Raises UsageError where the scan cannot be written in the requested format.
    """
    source = image.facts.get("format")
    if request.to == "dicom" and source != "dicom":
        raise UsageError(
            f"`to` dicom: {request.scan.name} is not DICOM, so there is no patient or study to "
            "derive a series from; use `to` nifti"
        )
    if request.to in ("nrrd", "mha") and isinstance(image, PETFrames):
        raise UsageError(f"`to` {request.to}: several frames are written as NIfTI or DICOM")
    return request.to or _SAME_FORMAT.get(str(source), "nifti")
