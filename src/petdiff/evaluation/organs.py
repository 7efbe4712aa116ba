"""The organs of a label volume, and spherical regions in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petdiff.volume.regions import Box, Spacing, Volume, ball, inscribed_sphere, label_boxes

LIVER_SPHERE_MM = 15.0  # radius


@dataclass(frozen=True, eq=False)
class Organ:
    """A labelled region: its name, its bounding box, and its mask within the box."""

    name: str
    box: Box
    mask: NDArray[np.bool_]


def find_organs(labels: NDArray[np.int32], names: Mapping[int, str]) -> list[Organ]:
    """Return an organ for each label above 0.

    The name of a label without a name is its number. If several labels have one name, the number
    is added.
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


def deepest_sphere(organ: Organ, spacing_mm: Spacing) -> tuple[NDArray[np.bool_], float]:
    """Return the mask of the largest sphere in the organ, within its box, and its radius in mm.

    The centre is the voxel furthest from the organ's edge; it does not depend on the scans. The
    radius is at most LIVER_SPHERE_MM.
    """
    centre, depth_mm = inscribed_sphere(organ.mask, spacing_mm)
    radius_mm = min(depth_mm, LIVER_SPHERE_MM)
    return ball(organ.mask.shape, spacing_mm, centre, radius_mm) & organ.mask, radius_mm


def coefficient_of_variation(values: NDArray[np.float32]) -> float | None:
    """Return standard deviation over mean; None if the mean is not positive."""
    mean = float(values.mean(dtype=np.float64))
    return float(values.std(dtype=np.float64)) / mean if mean > 0 else None
