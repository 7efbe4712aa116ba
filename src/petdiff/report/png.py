"""Scales of colours, and pictures as PNG in base64, for pages."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]
Colours = tuple[str, ...]

CHANGE = ("#0b3c78", "#4f93c8", "#ffffff", "#e07b5f", "#8c1420")  # colours for less, equal, more
# "Greys" of ColorBrewer, and "hot" of matplotlib.
GREYS = (
    "#ffffff", "#f0f0f0", "#d9d9d9", "#bdbdbd", "#969696", "#737373", "#525252", "#252525",
    "#000000",
)  # fmt: skip
HOT = (
    "#0b0000", "#5f0000", "#b30000", "#ff0800", "#ff5c00", "#ffb000", "#ffff07", "#ffff85",
    "#ffffff",
)  # fmt: skip


def coloured(shares: NDArray[np.floating], colours: Colours) -> NDArray[np.uint8]:
    """Return the colours [..., 3] at shares of a scale from 0 to 1, interpolated."""
    stops = np.array([[int(colour[n : n + 2], 16) for n in (1, 3, 5)] for colour in colours])
    position = shares * (len(stops) - 1)
    channels = [np.interp(position, range(len(stops)), stops[:, n]) for n in range(3)]
    return np.asarray(np.rint(np.stack(channels, axis=-1)), dtype=np.uint8)


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
