"""What a damaged scan may lead to: it is read and can be written again, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from petdiff.errors import InputRefused, UsageError
from petdiff.frames import PETFrames
from petdiff.io import read, read_suv, write
from petdiff.terminal import one_line

REFUSED, READ = "refused", "read"


def outcome(scan: Path, scratch: Path) -> str:
    """Read a scan, describe it and write what was read; returns READ or REFUSED.

    Raises whatever is raised beside InputRefused, and AssertionError for values that are none and
    for messages that do not name a file or hold more than a line of printable text.
    """
    try:
        found = read(scan)
    except InputRefused as refusal:
        _check_line(str(refusal))
        return REFUSED
    frames = found.frames if isinstance(found, PETFrames) else (found,)
    for image in frames:
        assert np.isfinite(image.values).all(), "values that are no numbers"
        assert np.isfinite(image.affine).all(), "a place that is no number"
        assert np.isfinite(image.stored_per_value).all(), "a factor that is no number"
        assert all(1e-3 < mm < 1e3 for mm in image.spacing_mm), image.spacing_mm
    json.dumps(found.facts, allow_nan=False)
    try:
        read_suv(scan)
    except InputRefused as refusal:
        _check_line(str(refusal))
    try:
        write(found, scratch / "derived")
    except (InputRefused, UsageError) as refusal:
        _check_line(str(refusal))
        raise AssertionError(f"read, but not to be written: {refusal}") from refusal
    return READ


def _check_line(message: str) -> None:
    assert message == one_line(message), f"no line of printable text: {message!r}"
    assert len(message) < 2000, f"too long to read: {message[:200]!r}"
