"""Coronal projections with rings around regions, as SVG in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from petdiff.image import PETImage
from petdiff.report.png import Picture, grey_png, signed_png
from petdiff.terminal import one_line
from petdiff.volume.orientation import RASVolume, to_ras

MARK = "#0b5cad"
_MAX_LABELLED = 40
_FAINT = 0.35  # opacity of rings that have no numbers
_MIN_RADIUS_MM = 4.0


class Ring(NamedTuple):
    """A ring around a position in mm, RAS+; `name` is its tooltip."""

    name: str
    centre_mm: tuple[float, float, float]
    radius_mm: float


def grey_projection(caption: str, scan: PETImage, top: float, rings: Sequence[Ring]) -> str:
    """Return the maximum on each ray from front to back, in inverted grey from 0 to `top`."""
    ras = to_ras(scan.values, scan.affine)
    shown = f"{caption}, 0 to {top:g} {scan.unit_name}"
    return _figure(shown, caption, grey_png(_upright(ras.volume.max(axis=1)), top), ras, rings)


def signed_projection(
    caption: str, scan: PETImage, limit: float, unit: str, rings: Sequence[Ring]
) -> str:
    """Return the value farthest from 0 on each ray, blue at -limit and red at `limit`."""
    ras = to_ras(scan.values, scan.affine)
    high, low = ras.volume.max(axis=1), ras.volume.min(axis=1)
    farthest = high.copy()
    farthest[-low > high] = low[-low > high]
    shown = f"{caption}, ±{limit:g} {unit}"
    return _figure(shown, caption, signed_png(_upright(farthest), limit), ras, rings)


def _upright(picture: Picture) -> Picture:
    """Convert [x, z] to rows from the head down, with the patient's right on the left."""
    return picture[::-1, ::-1].T


def _figure(shown: str, caption: str, png: str, ras: RASVolume, rings: Sequence[Ring]) -> str:
    width_mm, height_mm = (ras.volume.shape[axis] * ras.spacing_mm[axis] for axis in (0, 2))
    has_numbers = len(rings) <= _MAX_LABELLED
    drawn = "".join(
        _ring(ring, n if has_numbers else None, ras, width_mm, height_mm)
        for n, ring in enumerate(rings, 1)
    )
    return (
        f"<figure><figcaption>{escape(shown)}</figcaption>"
        f'<svg viewBox="0 0 {width_mm:.1f} {height_mm:.1f}" role="img" '
        f'aria-label="{escape(caption)}, coronal projection">'
        f'<image width="{width_mm:.1f}" height="{height_mm:.1f}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{png}"/>{drawn}</svg></figure>'
    )


def _ring(ring: Ring, n: int | None, ras: RASVolume, width_mm: float, height_mm: float) -> str:
    """Return a ring with the number `n`; without a number it is fainter."""
    index = np.linalg.solve(ras.affine, [*ring.centre_mm, 1.0])
    # The patient's right is on the viewer's left, the head on top.
    x = width_mm - (index[0] + 0.5) * ras.spacing_mm[0]
    y = height_mm - (index[2] + 0.5) * ras.spacing_mm[2]
    radius = max(ring.radius_mm, _MIN_RADIUS_MM)
    size = max(height_mm / 45, 7.0)
    text, opacity = "", _FAINT
    if n is not None:
        opacity = 1.0
        text = (
            f'<text x="{x + radius + 1:.1f}" y="{y + size / 3:.1f}" font-size="{size:.1f}" '
            f'fill="{MARK}" stroke="#fff" stroke-width="{size / 6:.1f}" paint-order="stroke">'
            f"{n}</text>"
        )
    title = f"<title>{escape(one_line(ring.name))}</title>"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="none" stroke="{MARK}" '
        f'stroke-width="{size / 6:.1f}" opacity="{opacity:g}">{title}</circle>{text}'
    )
