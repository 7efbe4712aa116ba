"""The file of a calibration, beside the weights that it belongs to."""

from __future__ import annotations

from pathlib import Path

from petdiff.errors import InputRefused
from petdiff.methods.weights_files import path_beside, read_beside, write_beside
from petdiff.uncertainty.calibration.record import Calibration

SUFFIX = ".calibration.json"


def load_calibration(weights: Path, sha256: str) -> Calibration:
    """Return the calibration beside a weights file with this digest.

    Raises InputRefused if there is none, if it is invalid, and if it is for other weights.
    """
    path = path_beside(weights, SUFFIX)
    if not path.is_file():
        raise InputRefused(
            f"{weights.name} has no calibration ({path.name} beside it), so there are no "
            "intervals: make one with benchmarks/calibrate.py, or use flow3d"
        )
    calibration = read_beside(path, Calibration, "calibration")
    if calibration.weights_sha256 != sha256:
        raise InputRefused(
            f"{path} is the calibration of other weights ({calibration.weights_sha256[:12]}, "
            f"not {sha256[:12]}): make one with benchmarks/calibrate.py"
        )
    return calibration


def save_calibration(weights: Path, calibration: Calibration) -> Path:
    """Write a calibration beside a weights file, complete or not at all, and return its path."""
    return write_beside(path_beside(weights, SUFFIX), calibration)
