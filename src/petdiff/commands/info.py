"""`petdiff info`: describe this installation, a scan, a model file or a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from petdiff import __version__
from petdiff.errors import InputRefused, UsageError
from petdiff.frames import PETFrames
from petdiff.inference.run_record import read_run_record
from petdiff.io import read
from petdiff.methods.weights_files import shipped_models
from petdiff.records import NOTICE, package_versions
from petdiff.report.notices import notices
from petdiff.report.page import record_rows

if TYPE_CHECKING:
    from petdiff.methods.model import Model


def describe(file: Path | None, series: str | None = None, *, as_json: bool = False) -> str:
    """Return the description as text, or as JSON."""
    if file is None:
        _require_no_series(series)
        description = describe_installation()
    elif file.suffix == ".safetensors" or _is_shipped(file):
        _require_no_series(series)
        description = describe_model(file)
    elif file.suffix == ".json":
        _require_no_series(series)
        description = describe_run(file, as_json=as_json)
    else:
        description = describe_scan(file, series)
    if as_json:
        return json.dumps(description, indent=2, ensure_ascii=False)
    return "\n".join(_lines(description))


def _require_no_series(series: str | None) -> None:
    if series is not None:
        raise UsageError(f"`series` {series}: only a DICOM scan has series")


def _is_shipped(file: Path) -> bool:
    return not file.exists() and str(file) in shipped_models()


def describe_installation() -> dict[str, object]:
    """Return versions, devices and shipped models."""
    from petdiff.device import describe_device, describe_precision, resolve_device

    device = resolve_device("auto")
    return {
        "petdiff": __version__,
        "notice": NOTICE,
        "versions": package_versions(),
        "device": describe_device(device),
        "precision": describe_precision("auto", device),
        "models": shipped_models(),
    }


def describe_model(path: Path) -> dict[str, object]:
    """Return the card, number of parameters and hash of a model file or a shipped model."""
    from petdiff.methods.model import load_model

    model = load_model(path)
    parameters = sum(p.numel() for p in model.network.parameters())
    card = model.card.model_dump()
    return {
        "file": str(path),
        "sha256": model.sha256,
        "parameters": parameters,
        **card,
        "intervals": _intervals(model),
    }


def _intervals(model: Model) -> str:
    """Describe the levels and the calibration of a model's intervals, or why it has none."""
    from petdiff.uncertainty.intervals import calibration_of

    try:
        calibration = calibration_of(model)
    except InputRefused as reason:
        return f"none: {reason}"
    levels = ", ".join(calibration.figures[0].groups[0].bounds)
    return f"at {levels}, from {calibration.patients}"


def describe_run(path: Path, *, as_json: bool) -> dict[str, object]:
    """Describe a run of `petdiff denoise` as its page does; for JSON, return its whole run.json."""
    record = read_run_record(path)
    if as_json:
        return record.model_dump(mode="json")
    notes = {f"note {n}": note for n, note in enumerate(notices(record), 1)}
    return {"file": str(path), **dict(record_rows(record)), **notes}


def describe_scan(path: Path, series: str | None = None) -> dict[str, object]:
    """Return grid, frames, unit, range and acquisition of a scan."""
    scan = read(path, series=series)
    frames = scan.frames if isinstance(scan, PETFrames) else (scan,)
    image = frames[0]
    return {
        "file": str(path),
        "shape": list(image.shape),
        "spacing_mm": [round(size, 4) for size in image.spacing_mm],
        "affine": image.affine.round(4).tolist(),
        "unit": image.unit,
        "values_in": image.unit_name,
        "suv_range" if image.in_suv else "range": [
            min(float(frame.values.min()) for frame in frames),
            max(float(frame.values.max()) for frame in frames),
        ],
        **image.facts,
        **(frame_facts(scan) if isinstance(scan, PETFrames) else {}),
    }


def frame_facts(scan: PETFrames) -> dict[str, object]:
    """Return kind, number and times in seconds of the frames; unknown times are left out."""
    columns = {
        name: [getattr(timing, name) for timing in scan.timings]
        for name in ("start_s", "duration_s", "trigger_s")
    }
    known = {name: column for name, column in columns.items() if None not in column}
    return {"frames": {"kind": scan.kind, "count": len(scan), **known}}


def _lines(content: dict[str, object], indent: str = "") -> list[str]:
    """Return `name  value` lines, nested content indented below its name."""
    lines = []
    width = max((len(name) for name in content), default=0) + 2
    for name, value in content.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{name}", *_lines(value, indent + "  ")]
        elif value not in (None, "", [], {}):
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            lines.append(f"{indent}{name:<{width}}{shown}")
    return lines
