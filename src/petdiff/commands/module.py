"""`petdiff module`: one call as a module of a DICOM router."""

from __future__ import annotations

import os

from petdiff.module.run import run_module


def run_as_module() -> int:
    """Run with the folders and settings of this process's environment; returns the exit code."""
    return run_module(os.environ)
