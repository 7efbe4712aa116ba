"""Volumes beside the denoised scan: its uncertainty and the bounds of its intervals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.run_record import SUFFIX, OutputFormat
from petdiff.io import write


def write_beside(
    scan: PETImage | PETFrames, name: str, folder: Path, file_format: OutputFormat
) -> None:
    """Write a volume beside a result of a file_format; beside DICOM it is NIfTI.

    It holds the scan's values and not its stored unit, except in a BIDS derivative, whose volumes
    are all in the unit of the measured scan.
    """
    file = folder / f"{name}{SUFFIX[file_format] or '.nii.gz'}"
    if file_format == "bids":
        write(scan, file)
    elif isinstance(scan, PETFrames):
        write(scan.with_frames([_bare(frame) for frame in scan]), file)
    else:
        write(_bare(scan), file)


def _bare(image: PETImage) -> PETImage:
    return replace(image, stored_per_value=1.0, source=None)
