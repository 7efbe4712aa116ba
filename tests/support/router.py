"""What a DICOM router puts before a module: files by UID with their tags, and a task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from support.dicom_factory import pet_slices

PIXELS = np.random.default_rng(0).integers(0, 3000, (16, 16, 16), dtype=np.int16)


def router_folders(
    folder: Path, slices: Sequence[Dataset] | None = None, settings: Any = None
) -> tuple[Path, Path]:
    """Make the folders `in`, with a series and its task, and `out`, which anybody may write to."""
    into, out = folder / "in", folder / "out"
    into.mkdir()
    out.mkdir()
    for path, mode in ((into, 0o777), (out, 0o777)):
        path.chmod(mode)
    add_series(into, pet_slices(PIXELS) if slices is None else slices)
    process = {"module_name": "petdiff", "settings": settings or {}}
    (into / "task.json").write_text(json.dumps({"id": "1", "info": {}, "process": process}))
    return into, out


def add_series(into: Path, slices: Sequence[Dataset]) -> None:
    """Add the files of a series."""
    for ds in slices:
        stem = f"{ds.SeriesInstanceUID}#{ds.SOPInstanceUID}"
        ds.save_as(into / f"{stem}.dcm", enforce_file_format=True)
        (into / f"{stem}.tags").write_text(json.dumps({"Modality": "PT"}))


def mercure(into: Path, out: Path) -> dict[str, str]:
    """The variables that mercure sets: its own, and those of the other contracts."""
    return {
        "MERCURE_IN_DIR": str(into),
        "MERCURE_OUT_DIR": str(out),
        "MONAI_INPUTPATH": str(into),
        "MONAI_OUTPUTPATH": str(out),
        "HOLOSCAN_INPUT_PATH": str(into),
        "HOLOSCAN_OUTPUT_PATH": str(out),
    }


def result_of(out: Path) -> dict[str, Any]:
    """The content of result.json."""
    content: dict[str, Any] = json.loads((out / "result.json").read_text("utf-8"))
    return content
