"""Write the uncertainty and the interval bounds of a denoised scan next to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.run_record import SUFFIX, OutputFormat
from petdiff.io import write


def write_extra_volume(
    scan: PETImage | PETFrames, name: str, folder: Path, file_format: OutputFormat
) -> None:
    """Write a volume in the format of the result, or as NIfTI where the result is DICOM.

    In a BIDS derivative it is in the stored unit of the measured scan, elsewhere in the unit of
    `scan.values`.
    """
    file = folder / f"{name}{SUFFIX[file_format] or '.nii.gz'}"
    if file_format == "bids":
        write(scan, file)
    elif isinstance(scan, PETFrames):
        write(scan.with_frames([_without_source(frame) for frame in scan]), file)
    else:
        write(_without_source(scan), file)


def _without_source(image: PETImage) -> PETImage:
    return replace(image, stored_per_value=1.0, source=None)
