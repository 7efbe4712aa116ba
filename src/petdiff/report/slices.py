"""Slices through a position of a scan, as SVG in millimetres centred on the position.

Each picture is placed by its own voxels without resampling, so that volumes on different grids can
be compared. The patient's right is on the left, front or head is on top.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from petdiff.image import PETImage
from petdiff.report.png import Picture
from petdiff.report.projections import MARK
from petdiff.volume.orientation import to_ras

HALF_MM = 80.0  # from the position to the edge of a picture
_GAP_MM = 6.0  # from the ring to the lines of the crosshair

Millimetres = tuple[float, float, float]


class Plane(NamedTuple):
    """A plane, with the RAS axes across, up and through it."""

    name: str
    across: int
    up: int
    through: int


PLANES = (Plane("axial", 0, 1, 2), Plane("coronal", 0, 2, 1))


def slice_through(
    scan: PETImage, centre_mm: Millimetres, plane: Plane, radius_mm: float,
    png: Callable[[Picture], str], label: str,
) -> str:  # fmt: skip
    """Return the slice of a scan through a position, with a crosshair and a ring of `radius_mm`.

    png    makes a PNG of rows and columns
    label  text alternative of the picture
    """
    ras = to_ras(scan.values, scan.affine)
    at = np.linalg.solve(ras.affine, [*centre_mm, 1.0])[:3]
    k = int(np.clip(np.rint(at[plane.through]), 0, ras.volume.shape[plane.through] - 1))
    flat = np.moveaxis(ras.volume, (plane.across, plane.up, plane.through), (0, 1, 2))[..., k]
    cuts, rect = [], []
    for axis, n in zip((plane.across, plane.up), flat.shape, strict=True):
        size = ras.spacing_mm[axis]
        first = int(np.clip(np.floor(at[axis] - HALF_MM / size), 0, n - 1))
        stop = int(np.clip(np.ceil(at[axis] + HALF_MM / size) + 1, first + 1, n))
        cuts.append(slice(first, stop))
        # Both axes are opposite to those of the screen.
        rect.append((-(stop - 0.5 - at[axis]) * size, (stop - first) * size))
    (x, width), (y, height) = rect
    picture = png(flat[tuple(cuts)][::-1, ::-1].T)
    return (
        f'<svg viewBox="{-HALF_MM:g} {-HALF_MM:g} {2 * HALF_MM:g} {2 * HALF_MM:g}" role="img" '
        f'aria-label="{label}"><image x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" '
        f'height="{height:.2f}" preserveAspectRatio="none" href="data:image/png;base64,{picture}"/>'
        f"{_crosshair(radius_mm)}</svg>"
    )


def _crosshair(radius_mm: float) -> str:
    near = radius_mm + _GAP_MM
    lines = "".join(f"M{a} 0H{b}M0 {a}V{b}" for a, b in ((-HALF_MM, -near), (near, HALF_MM)))
    return (
        f'<g fill="none" stroke="{MARK}" stroke-width="0.7"><path d="{lines}"/>'
        f'<circle r="{radius_mm:g}"/></g>'
    )
