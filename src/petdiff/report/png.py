"""Encode pictures as PNG in base64, for pages."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray

from petdiff.report.preview import CHANGE

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
    stops = np.array([[int(text[n : n + 2], 16) for n in (1, 3, 5)] for text in CHANGE])
    position = (np.clip(picture / limit, -1, 1) + 1) / 2 * (len(stops) - 1)
    channels = [np.interp(position, range(len(stops)), stops[:, n]) for n in range(3)]
    return png(np.rint(np.stack(channels, axis=-1)).astype(np.uint8))
