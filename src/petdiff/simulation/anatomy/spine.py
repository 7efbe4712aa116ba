"""Vertebrae, spinal cord, back muscles, ribs and sternum."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from petdiff.simulation.anatomy.frame import Frame
from petdiff.simulation.anatomy.structure import Structure, bone
from petdiff.simulation.shapes.combined import Union
from petdiff.simulation.shapes.random_fields import FloatArray
from petdiff.simulation.shapes.signed_distance import Shape

# Top of each vertebra, from C1; the last entry is the bottom of L5.
CERVICAL = np.linspace(1600, 1480, 8)
THORACIC = 1480 - np.cumsum([0, *np.linspace(19, 26.5, 12)])
LUMBAR = THORACIC[-1] - np.cumsum([0, *np.linspace(35, 38, 5)])
TOPS = np.concatenate([CERVICAL[:-1], THORACIC[:-1], LUMBAR])
VERTEBRAE = (
    *(f"vertebrae_C{n}" for n in range(1, 8)),
    *(f"vertebrae_T{n}" for n in range(1, 13)),
    *(f"vertebrae_L{n}" for n in range(1, 6)),
)


def spine_y(z_mm: ArrayLike) -> FloatArray:
    """Return y of the vertebral bodies' centres, with lordosis, kyphosis and lordosis."""
    z = [
        890,
        930,
        975,
        1018,
        1060,
        1110,
        1160,
        1210,
        1270,
        1340,
        1400,
        1450,
        1480,
        1530,
        1570,
        1600,
    ]
    y = [-72, -84, -74, -40, -18, -14, -22, -38, -54, -66, -66, -52, -38, -20, -14, -14]
    depth: FloatArray = np.interp(np.asarray(z_mm, float), z, y)
    return depth


def chest_wall(z_mm: float) -> tuple[float, float, float]:
    """Return half width, back and front of the inside of the rib cage at a reference height."""
    z = [1110, 1160, 1200, 1250, 1300, 1350, 1400, 1440, 1465, 1490]
    half = np.interp(z_mm, z, [118, 126, 130, 132, 130, 121, 102, 74, 54, 30])
    back = np.interp(z_mm, z, [60, 74, 80, 88, 94, 95, 90, 76, 62, 45])
    front = np.interp(z_mm, z, [78, 84, 87, 88, 85, 76, 59, 36, 22, 10])
    return float(half), float(back), float(front)


def back_muscles(frame: Frame) -> list[Structure]:
    """Return the muscles along the spine, which bulge into the abdomen, and the psoas."""
    heights = np.linspace(960, 1230, 12)
    line = np.stack([0 * heights, spine_y(heights) - 34, heights], axis=1)
    scale = frame.patient.width
    along = [frame.tube(line + np.array((x, 0, 0)), 26, scale=scale) for x in (-30, 0, 30)]
    structures = [Structure("muscle", Union(along, 10), "muscle", texture=0.1)]
    z = [1185, 1150, 1100, 1050, 1000, 960, 930, 895]
    x = [30, 36, 42, 48, 58, 72, 88, 100]
    y = [*(spine_y(z[:5]) - (6, 6, 6, 4, -8)), 22, 28, 14]
    for side, side_name in ((1, "right"), (-1, "left")):
        radius = [9, 14, 19, 22, 22, 19, 17, 13]
        psoas = frame.tube(np.stack([x, y, z], axis=1), radius, side, frame.patient.build)
        structures.append(Structure(f"iliopsoas_{side_name}", psoas, "muscle", texture=0.1))
    return structures


def spine(frame: Frame) -> list[Structure]:
    """Return C1 to L5, each a body, an arch and processes, and the spinal cord."""
    structures = []
    for name, top, bottom in zip(VERTEBRAE, TOPS[:-1], TOPS[1:], strict=True):
        body, arch = _vertebra(frame, name, float(top), float(bottom))
        structures += bone(name, body, 1.2)
        structures += bone(name, arch, 2.0)
    z = np.linspace(1150, 1612, 24)
    y = spine_y(z) - 20 * np.interp(z, [1040, 1500], [1.2, 0.9]) - 5
    cord = frame.tube(np.stack([0 * z, y, z], axis=1), 5.5)
    structures.append(Structure("spinal_cord", cord, "spinal_cord"))
    return structures


def _vertebra(frame: Frame, name: str, top: float, bottom: float) -> tuple[Shape, Shape]:
    middle, half = (top + bottom) / 2, (top - bottom) * 0.43
    size = float(np.interp(middle, [1040, 1210, 1450, 1600], [1.0, 0.78, 0.5, 0.45]))
    y = float(spine_y(middle))
    organ = frame.organ(name, (0, y, middle))
    a, b = 26 * size, 19 * size
    body = organ.loft(
        2,
        [
            (middle - half, 0, y, a, a, b, b, 2.3),
            (middle, 0, y, a * 0.9, a * 0.9, b * 0.92, b * 0.92, 2.3),
            (middle + half, 0, y, a, a, b, b, 2.3),
        ],
    )
    back = y - b - 16 * size - 6
    arch: list[Shape] = [
        organ.tube([(0, back, middle - 4), (0, back - 22 * size - 6, middle - 14)], [5, 4])
    ]
    for side in (1, -1):
        root, wing = (side * a * 0.7, y - b * 0.9, middle + 3), (side * a * 0.8, back + 4, middle)
        arch.append(organ.tube([root, wing, (0, back, middle - 3)], [5.0, 5.5, 5]))
        arch.append(organ.tube([wing, (side * (a + 16 * size), back + 4, middle + 2)], [5, 4]))
    return body, Union(arch)


# Descent of each rib from its vertebra to its front end, and the angle of its front end about the
# body's axis, from 0 at the back to π at the sternum.
RIB_DESCENT_MM = (38, 70, 92, 108, 122, 134, 142, 146, 142, 128, 80, 48)
RIB_END_ANGLE_RAD = (2.75, 2.85, 2.9, 2.9, 2.9, 2.85, 2.75, 2.65, 2.5, 2.35, 1.7, 1.25)


def chest(frame: Frame) -> list[Structure]:
    """Return twelve pairs of ribs and the sternum."""
    structures = []
    for number in range(12):
        line = _rib_line(THORACIC[number] - 4, RIB_DESCENT_MM[number], RIB_END_ANGLE_RAD[number])
        radius = np.where(np.arange(len(line)) < len(line) - 3, 5.2, 4.6)
        for side, side_name in ((1, "right"), (-1, "left")):
            rib = frame.tube(line, radius, side, frame.bone_scale)
            structures += bone(f"rib_{side_name}_{number + 1}", rib, 1.6, factor=0.75)
    plate = frame.organ("sternum", (0, 76, 1340)).loft(
        2,
        [
            (1245, 0, 93, 6, 6, 5, 5, 2.5),
            (1270, 0, 91, 15, 15, 5, 5, 2.5),
            (1330, 0, 87, 15, 15, 5, 5, 2.5),
            (1380, 0, 76, 17, 17, 5.5, 5.5, 2.5),
            (1425, 0, 54, 28, 28, 6, 6, 2.5),
            (1435, 0, 49, 22, 22, 6, 6, 2.5),
        ],
    )
    return structures + bone("sternum", plate, 1.5)


def brown_fat(frame: Frame) -> list[Structure]:
    """Return the brown fat of adults: above the clavicles and beside the thoracic spine."""
    depots: list[Shape] = []
    collar = [(30, -2, 1505), (48, -8, 1478), (74, -10, 1456), (118, -14, 1428)]
    for side in (1, -1):
        depots.append(frame.tube(collar, [6, 8, 8, 6], side))
        for top in THORACIC[:-1]:
            beside = (27, float(spine_y(top)) - 16, float(top) - 8)
            depots.append(frame.ellipsoid(beside, (5, 5, 6), side))
    return [Structure("brown_fat", Union(depots), "brown_fat", "fat", 0.4, (15, 60))]


def _rib_line(start_mm: float, descent_mm: float, end_angle_rad: float) -> FloatArray:
    """Return points along a right rib, on the surface of the rib cage."""
    angle = np.linspace(0.32, end_angle_rad, 18)
    fraction = np.linspace(0, 1, 18)
    z = start_mm - descent_mm * np.sin(fraction * np.pi / 2 * 0.95) ** 1.3
    line = []
    for a, height in zip(angle, z, strict=True):
        half, back, front = chest_wall(float(height))
        x, y = np.sin(a), -np.cos(a)
        depth = (back if y < 0 else front) + 5
        power = 2 / 2.3
        line.append(((half + 5) * x**power, np.sign(y) * depth * np.abs(y) ** power, height))
    return np.array(line)
