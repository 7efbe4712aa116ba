"""Small grey-scale pictures of each method's result, for the display of the worst cases.

A coronal maximum intensity projection and a coronal slice. The grey scale is inverted, from SUV 0
to 10 for all pictures; the patient's right is at the viewer's left, the head is at the top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from petdiff.data.layouts import Drf, dose_key
from petdiff.image import PETImage
from petdiff.volume.orientation import to_ras
from petdiff.volume.regions import body_box

TOP_SUV = 10.0
MIN_PIXEL_MM = 2.4
PROJECTION, SLICE = "projection", "slice"
Grey = NDArray[np.uint8]


class ShownLesion(NamedTuple):
    """The lesion in a slice: its name, and its centre in mm, RAS+."""

    name: str
    centre_mm: Sequence[float]


class PictureGeometry(BaseModel, frozen=True, extra="forbid"):
    """Pixel size and lesion of the pictures of one dose.

    pixel_mm  height and width of a pixel
    lesion    name of the lesion in the slice, if there is one
    at        its centre, as fractions of the slice's height and width from the top left
    """

    pixel_mm: tuple[float, float]
    lesion: str | None = None
    at: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Snapshots:
    """The pictures of one exam.

    pictures  by "dose/method/projection" and "dose/method/slice", rows from the head down
    places    pixel size and lesion of the pictures, by dose
    """

    pictures: dict[str, Grey] = field(default_factory=dict)
    places: dict[str, PictureGeometry] = field(default_factory=dict)

    def __or__(self, other: Snapshots) -> Snapshots:
        return Snapshots(self.pictures | other.pictures, self.places | other.places)


def take_snapshots(
    images: Mapping[str, NDArray[np.float32]],
    grid: PETImage,
    dose: Drf,
    lesion: ShownLesion | None = None,
) -> Snapshots:
    """Return pictures of images in SUV on one grid at one dose.

    The slice goes through the lesion's centre, or through the middle of the body.
    """
    volumes = {name: to_ras(suv, grid.affine) for name, suv in images.items()}
    first = next(iter(volumes.values()))
    box = body_box(first.volume, first.spacing_mm)
    x_mm, _, z_mm = first.spacing_mm
    row = (box[1].start + box[1].stop) // 2
    at: tuple[float, float] | None = None
    if lesion is not None:
        i, j, k = np.linalg.solve(first.affine, [*lesion.centre_mm, 1.0])[:3].tolist()
        row = int(np.clip(round(j), 0, first.volume.shape[1] - 1))
        at = _from_top(k, box[2], _steps(z_mm)), _from_top(i, box[0], _steps(x_mm))
    pictures = {}
    for method, ras in volumes.items():
        body = ras.volume[box[0], :, box[2]]
        for kind, plane in ((PROJECTION, body.max(axis=1)), (SLICE, body[:, row])):
            pictures[f"{dose_key(dose)}/{method}/{kind}"] = _grey(plane, x_mm, z_mm)
    pixel_mm = z_mm * _steps(z_mm), x_mm * _steps(x_mm)
    geometry = PictureGeometry(pixel_mm=pixel_mm, lesion=lesion.name if lesion else None, at=at)
    return Snapshots(pictures, {dose_key(dose): geometry})


def _from_top(index: float, shown: slice, step: int) -> float:
    """Return the position of a voxel index in a picture, as a fraction from its end.

    `_grey` pads the picture to whole pixels of `step` voxels and reverses the axis.
    """
    padded = -(-(shown.stop - shown.start) // step) * step
    return float(1 - (index + 0.5 - shown.start) / padded)


def _steps(size_mm: float) -> int:
    return max(round(MIN_PIXEL_MM / size_mm), 1)


def _grey(plane: NDArray[np.float32], x_mm: float, z_mm: float) -> Grey:
    """Return a plane [x, z] as grey pixels, in rows from the head down; SUV 0 is white."""
    a, b = _steps(x_mm), _steps(z_mm)
    n, m = -(-plane.shape[0] // a), -(-plane.shape[1] // b)
    padded = np.pad(plane, ((0, n * a - plane.shape[0]), (0, m * b - plane.shape[1])), "edge")
    means = padded.reshape(n, a, m, b).mean(axis=(1, 3))
    grey = np.rint(255 * (1 - np.clip(means / TOP_SUV, 0, 1))).astype(np.uint8)
    upright: Grey = grey[::-1, ::-1].T
    return upright
