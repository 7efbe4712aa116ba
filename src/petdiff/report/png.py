"""Encode pictures as PNG in base64, for pages."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray

from petdiff.report.colours import CHANGE, coloured

Picture = NDArray[np.float32]


def png(pixels: NDArray[np.uint8]) -> str:
    """Return grey [row, column] or RGB [row, column, 3] pixels as PNG in base64."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="png", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def grey_png(picture: Picture, top: float) -> str:
    """Return a picture in inverted grey: white at 0, black at `top`."""
    return png(255 - np.rint(255 * np.clip(picture / top, 0, 1)).astype(np.uint8))


def signed_png(picture: Picture, limit: float) -> str:
    """Return a picture of differences from -limit (blue) over 0 (white) to limit (red)."""
    return png(coloured((np.clip(picture / limit, -1, 1) + 1) / 2, CHANGE))
