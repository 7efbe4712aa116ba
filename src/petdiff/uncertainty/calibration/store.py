"""Calibrations on the disk: a small JSON file beside the weights that it belongs to.

It is not in the header of the weights, because a calibration is renewed more often than they are
and their file would have to be stored again. The digest ties it to the weights.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from petdiff.errors import InputRefused
from petdiff.runs import whole_file
from petdiff.uncertainty.calibration.record import Calibration

SUFFIX = ".calibration.json"


def calibration_path(weights: Path) -> Path:
    """Return where the calibration of a weights file is: flow3d.calibration.json."""
    return weights.with_name(weights.name.removesuffix(".safetensors") + SUFFIX)


def load_calibration(weights: Path, sha256: str) -> Calibration:
    """Return the calibration beside a weights file with this digest.

    Raises InputRefused where there is none, where it makes no sense, and where it is of other
    weights.
    """
    path = calibration_path(weights)
    if not path.is_file():
        raise InputRefused(
            f"{weights.name} has no calibration ({path.name} beside it), so there are no "
            "intervals: make one with benchmarks/calibrate.py, or use flow3d"
        )
    try:
        calibration = Calibration.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise InputRefused(f"{path}: no calibration ({where}: {first['msg']})") from None
    if calibration.weights_sha256 != sha256:
        raise InputRefused(
            f"{path} is the calibration of other weights ({calibration.weights_sha256[:12]}, "
            f"not {sha256[:12]}): make one with benchmarks/calibrate.py"
        )
    return calibration


def save_calibration(weights: Path, calibration: Calibration) -> Path:
    """Write a calibration beside a weights file, whole or not at all; returns its path."""
    path = calibration_path(weights)
    with whole_file(path, replace=True) as unfinished:
        unfinished.write_text(calibration.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path
