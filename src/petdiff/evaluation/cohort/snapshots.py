"""Small grey pictures of every method's answer, so that the worst cases can be looked at later.

Coronal: the projection of the largest SUV, and one slice. Inverted grey from SUV 0 to 10, the same
for all; patient's right at the viewer's left, head up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petdiff.image import PETImage
from petdiff.volume.regions import body_box

TOP_SUV = 10.0
LEAST_PIXEL_MM = 2.4
PROJECTION, SLICE = "projection", "slice"
Grey = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Snapshots:
    """Of one unit.

    pictures  by "dose/method/projection" and "dose/method/slice", rows from the head down
    places    by dose, JSON-able: pixel_mm (down, across), and for a slice through a lesion its name
              and where its centre is, as shares of height and width
    """

    pictures: dict[str, Grey] = field(default_factory=dict)
    places: dict[str, Any] = field(default_factory=dict)

    def __or__(self, other: Snapshots) -> Snapshots:
        return Snapshots(self.pictures | other.pictures, self.places | other.places)


def take(
    answers: Mapping[str, NDArray[np.float32]],
    grid: PETImage,
    dose: float,
    lesion: tuple[str, tuple[float, float, float]] | None = None,
) -> Snapshots:
    """Pictures of answers on one grid at one dose; the slice goes through the lesion's centre in
    mm, or through the middle of the body."""
    import nibabel

    orientation = nibabel.orientations.io_orientation(grid.affine)
    turned = {
        name: nibabel.orientations.apply_orientation(suv, orientation)
        for name, suv in answers.items()
    }
    back = nibabel.orientations.inv_ornt_aff(orientation, grid.suv.shape)
    affine = grid.affine @ back
    x, y, z = (float(size) for size in np.linalg.norm(affine[:3, :3], axis=0))
    shape = next(iter(turned.values())).shape
    box = body_box(next(iter(turned.values())), (x, y, z))
    name, row = None, (box[1].start + box[1].stop) // 2
    at: tuple[float, float] | None = None
    if lesion is not None:
        name, centre_mm = lesion
        i, j, k = np.linalg.solve(affine, [*centre_mm, 1.0])[:3].tolist()
        row = int(np.clip(round(j), 0, shape[1] - 1))
        width, height = box[0].stop - box[0].start, box[2].stop - box[2].start
        at = 1 - (k + 0.5 - box[2].start) / height, 1 - (i + 0.5 - box[0].start) / width
    pictures = {}
    for method, suv in turned.items():
        body = suv[box[0], :, box[2]]
        for kind, plane in ((PROJECTION, body.max(axis=1)), (SLICE, body[:, row])):
            pictures[f"{dose:g}/{method}/{kind}"] = _grey(plane, x, z)
    steps = _steps(x), _steps(z)
    place = {"pixel_mm": [z * steps[1], x * steps[0]], "lesion": name, "at": at}
    return Snapshots(pictures, {f"{dose:g}": place})


def _steps(size_mm: float) -> int:
    return max(round(LEAST_PIXEL_MM / size_mm), 1)


def _grey(plane: NDArray[np.float32], x_mm: float, z_mm: float) -> Grey:
    """[x, z] → rows from the head down, means of pixels, white at SUV 0."""
    a, b = _steps(x_mm), _steps(z_mm)
    n, m = -(-plane.shape[0] // a), -(-plane.shape[1] // b)
    filled = np.pad(plane, ((0, n * a - plane.shape[0]), (0, m * b - plane.shape[1])), "edge")
    means = filled.reshape(n, a, m, b).mean(axis=(1, 3))
    grey = np.rint(255 * (1 - np.clip(means / TOP_SUV, 0, 1))).astype(np.uint8)
    upright: Grey = grey[::-1, ::-1].T
    return upright
