"""The file format that a path names, and whether the path can be opened."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from petdiff.errors import InputRefused

InputFormat = Literal["nifti", "itk", "npz", "dicom"]

NIFTI = (".nii", ".nii.gz")
NIFTI_PAIR = (".hdr", ".hdr.gz", ".img", ".img.gz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
NPZ = (".npz",)
DICOM = (".dcm", ".ima", ".dicom", ".dic")  # many DICOM files have another suffix or none


def existing(path: str | Path) -> Path:
    """Return the path with ~ expanded. Raises InputRefused where nothing is there."""
    try:
        found = Path(path).expanduser()
        if found.exists():
            return found
    except (OSError, RuntimeError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise InputRefused(f"{path} cannot be opened ({reason}): check the name") from None
    raise InputRefused(f"{found} does not exist")


def suffix_of(path: Path) -> str:
    """Return the suffix in lower case; .nii.gz counts as one."""
    name = path.name.lower()
    inner = Path(name.removesuffix(".gz")).suffix
    return f"{inner}.gz" if name.endswith(".gz") and inner else path.suffix.lower()


def stem_of(path: Path) -> str:
    """Return the name without its suffix; .nii.gz counts as one."""
    suffix = suffix_of(path)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def is_file_suffix(suffix: str) -> bool:
    """Return whether a suffix begins with a letter, as no part of a UID does."""
    return re.fullmatch(r"\.[a-z][a-z0-9]{1,4}(\.gz)?", suffix) is not None


def format_of(path: Path) -> InputFormat:
    """Return the format of an existing file by its name; "dicom" for a folder and other names."""
    suffix = suffix_of(path)
    if path.is_dir():
        return "dicom"
    if suffix in (".img", ".img.gz") and not _has_header_file(path):
        return "dicom"  # DICOM files may be named .img
    for file_format, suffixes in (("nifti", (*NIFTI, *NIFTI_PAIR)), ("itk", ITK), ("npz", NPZ)):
        if suffix in suffixes:
            return file_format  # type: ignore[return-value]
    return "dicom"


def _has_header_file(path: Path) -> bool:
    stem = stem_of(path)
    return any(path.with_name(stem + s).is_file() for s in (".hdr", ".HDR", ".hdr.gz", ".HDR.gz"))
