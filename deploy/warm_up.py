"""Denoise a tiny scan while the image is built, so that bytecode is stored of what that imports.

The image is read-only when it runs: what is compiled now need not be compiled at every start.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import petdiff
import petdiff.module.run
import petdiff.module.series
from petdiff.cli import run


def main() -> None:
    """Denoise noise, and fail the build where that fails."""
    noise = np.random.default_rng(0).gamma(4, 0.25, (16, 16, 16)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "scan.nii.gz"
        petdiff.write(petdiff.PETImage(noise, np.diag([4.0, 4.0, 4.0, 1.0])), scan)
        code = run(["denoise", str(scan), "-o", str(Path(folder) / "out"), "--device", "cpu"])
    raise SystemExit(code)


main()
