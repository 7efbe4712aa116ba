"""Organs of a label volume, and the spheres that are measured in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petdiff.volume.regions import Box, Spacing, ball, inscribed_sphere, label_boxes

Volume = NDArray[np.float32]

LIVER_SPHERE_MM = 15.0  # radius


@dataclass(frozen=True, eq=False)
class Organ:
    """A labelled region: its name, the box around it, and the voxels of the box that are it."""

    name: str
    box: Box
    mask: NDArray[np.bool_]


def find_organs(labels: NDArray[np.int32], names: Mapping[int, str]) -> list[Organ]:
    """Return an organ for each label above 0.

    One without a name is called by its number; a name of several labels carries the number too.
    """
    boxes = label_boxes(labels)
    uses = Counter(names.get(number, "") for number in boxes)

    def title(number: int) -> str:
        name = names.get(number, "")
        return name if uses[name] == 1 and name else f"{name} label {number}".strip()

    return [Organ(title(number), box, labels[box] == number) for number, box in boxes.items()]


def measure_organ(organ: Organ, suv: Volume) -> dict[str, float]:
    """Measure mean and maximum SUV of an organ in one scan."""
    values = suv[organ.box][organ.mask]
    return {"suv_mean": float(values.mean(dtype=np.float64)), "suv_max": float(values.max())}


def deepest_sphere(
    organ: Organ, spacing_mm: Spacing, largest_mm: float = LIVER_SPHERE_MM
) -> tuple[NDArray[np.bool_], float]:
    """Return the voxels of the organ's box within the largest sphere in the organ, and its radius.

    The sphere lies about the voxel that is furthest from the organ's edge, whatever the scans show.
    Its radius is `largest_mm` where there is room for more.
    """
    centre, depth_mm = inscribed_sphere(organ.mask, spacing_mm)
    radius_mm = min(depth_mm, largest_mm)
    return ball(organ.mask.shape, spacing_mm, centre, radius_mm) & organ.mask, radius_mm


def coefficient_of_variation(values: NDArray[np.float32]) -> float | None:
    """Return standard deviation over mean; None where the mean is not positive."""
    mean = float(values.mean(dtype=np.float64))
    return float(values.std(dtype=np.float64)) / mean if mean > 0 else None
