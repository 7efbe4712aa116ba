"""The outline of the body and its layers: skin, subcutaneous fat, muscle."""

from __future__ import annotations

from typing import Literal

import numpy as np

from petdiff.simulation.anatomy.frame import Frame
from petdiff.simulation.anatomy.structure import Structure
from petdiff.simulation.shapes.combined import Cached, Offset, Union
from petdiff.simulation.shapes.random_fields import FloatArray
from petdiff.simulation.shapes.signed_distance import Shape
from petdiff.simulation.shapes.solids import Ellipsoid, Loft, Tube

SKIN_MM = 2.0
FAT_SCALE = 0.85  # factor of the thicknesses of fat in the tables below

# Height, half width, depth to the back, depth to the front, exponent, mean subcutaneous fat;
# the outline of a man of 1760 mm and 73 kg.
TRUNK = np.array(
    [
        (838, 60, 40, 30, 2.0, 14),
        (850, 120, 75, 52, 2.2, 18),
        (870, 155, 100, 76, 2.4, 22),
        (900, 170, 114, 90, 2.5, 22),
        (930, 174, 114, 96, 2.5, 20),
        (980, 168, 102, 100, 2.5, 18),
        (1040, 155, 90, 100, 2.4, 17),
        (1090, 147, 86, 101, 2.3, 17),
        (1130, 146, 87, 102, 2.3, 16),
        (1200, 150, 94, 105, 2.3, 13),
        (1260, 156, 101, 110, 2.3, 11),
        (1320, 162, 107, 111, 2.3, 10),
        (1370, 165, 110, 105, 2.3, 9),
        (1405, 168, 109, 92, 2.2, 9),
        (1430, 160, 103, 76, 2.1, 8),
        (1450, 140, 95, 64, 2.0, 7),
        (1468, 108, 84, 55, 2.0, 6),
        (1485, 76, 73, 49, 2.0, 6),
        (1505, 61, 65, 48, 2.0, 5),
        (1525, 57, 64, 54, 2.0, 4),
        (1540, 57, 64, 78, 2.2, 4),
        (1560, 63, 68, 98, 2.3, 4),
        (1590, 69, 84, 104, 2.2, 4),
        (1620, 73, 95, 104, 2.2, 4),
        (1660, 76, 99, 104, 2.1, 4),
        (1700, 73, 95, 98, 2.1, 4),
        (1730, 60, 77, 80, 2.0, 4),
        (1750, 36, 45, 48, 2.0, 4),
        (1757, 20, 25, 28, 2.0, 4),
        (1760, 3, 4, 5, 2.0, 4),
    ]
)
# Height, and width of a woman's trunk relative to a man's.
FEMALE_WIDTH = (
    [838, 940, 1040, 1100, 1250, 1400, 1490, 1530],
    [1.08, 1.08, 1.03, 0.95, 0.95, 0.92, 0.92, 1.0],
)

# x, y, z, radius, fat; right side, mirrored to the left.
LEG = np.array(
    [
        (92, -6, 905, 84, 18),
        (94, -6, 830, 88, 18),
        (95, -2, 720, 78, 15),
        (93, 2, 600, 64, 12),
        (90, 2, 500, 57, 8),
        (90, -12, 390, 57, 7),
        (88, -14, 280, 46, 6),
        (86, -14, 150, 35, 4),
        (85, -18, 80, 37, 4),
    ]
)
FOOT = np.array(
    [(85, -42, 40, 33, 4), (90, 10, 42, 33, 4), (95, 70, 30, 30, 4), (99, 120, 26, 22, 4)]
)
ARM_DOWN = np.array(
    [
        (166, -10, 1408, 55, 8),
        (190, -14, 1370, 52, 9),
        (212, -18, 1260, 47, 8),
        (228, -20, 1130, 39, 6),
        (238, -8, 1060, 41, 5),
        (245, 4, 960, 33, 4),
        (246, 10, 880, 27, 3),
        (244, 14, 820, 31, 3),
        (240, 18, 770, 25, 3),
        (236, 20, 700, 13, 2),
    ]
)
ARM_UP = np.array(
    [
        (158, -12, 1412, 55, 8),
        (182, -14, 1455, 52, 9),
        (205, -14, 1560, 46, 8),
        (222, -10, 1680, 39, 6),
        (196, -4, 1745, 41, 5),
        (140, 6, 1815, 33, 4),
        (96, 12, 1860, 27, 3),
        (62, 16, 1890, 30, 3),
        (20, 18, 1905, 22, 3),
        (-30, 20, 1915, 12, 2),
    ]
)


def arm_line(frame: Frame) -> FloatArray:
    """Return the arm's reference points in this patient's position, up or down."""
    return ARM_UP if frame.patient.arms == "up" else ARM_DOWN


def body_outline(frame: Frame, layer: Literal["skin", "lean"]) -> Shape:
    """Return the surface of the skin, or of the muscle beneath the fat."""
    fat = frame.patient.fatness if layer == "skin" else 0.0
    parts: list[Shape] = [_trunk(frame, fat)]
    hands: list[Shape] = []
    for side in (1, -1):
        parts += [_limb(frame, line, side, fat) for line in (LEG, FOOT, arm_line(frame)[:-1])]
        hands += _fingers(frame, side)
    if frame.patient.sex == "female":
        parts += [_breast(frame, side, fat) for side in (1, -1)]
    else:
        parts.append(frame.ellipsoid((0, 66, 818), (38, 28, 36)))
        parts.append(frame.tube([(0, 78, 872), (0, 96, 838), (0, 98, 805)], [16, 15, 14]))
    # The wide blend that rounds armpits and groins would merge the fingers.
    return Union([Union(parts, blend_mm=28.0), Union(hands, blend_mm=4.0)], blend_mm=14.0)


def _trunk(frame: Frame, fat: float) -> Loft:
    z, half, back, front, power, fat_mm = TRUNK.T
    width, depth = frame.width_and_depth(z)
    if frame.patient.sex == "female":
        half = half * np.interp(z, *FEMALE_WIDTH)
    build = 1 + (frame.patient.build - 1) * 0.5
    extra_mm = FAT_SCALE * fat_mm * (fat - 1)
    # Fat varies most on the belly. The lean outline (fat 0) must not become concave there.
    belly = 1 + 0.7 * np.exp(-(((z - 1080) / 90) ** 2)) if fat > 0 else 1.0
    knots = np.zeros((len(z), 8))
    knots[:, 0] = frame.z(z)
    knots[:, 3] = knots[:, 4] = np.maximum(half * width * build + extra_mm, 2)
    knots[:, 5] = np.maximum(back * depth * build + extra_mm, 2)
    knots[:, 6] = np.maximum(front * depth * build + extra_mm * belly, 2)
    knots[:, 7] = power
    return Loft(2, knots)


def _limb(frame: Frame, line: FloatArray, side: int, fat: float) -> Tube:
    scale = np.sqrt(frame.patient.width * frame.patient.depth) * frame.patient.build
    radius = line[:, 3] * scale + FAT_SCALE * line[:, 4] * (fat - 1)
    points = frame.point(line[:, :3] * (side, 1, 1))
    return Tube(_rounded(points), _rounded(np.maximum(radius, 3)[:, None])[:, 0])


def _fingers(frame: Frame, side: int) -> list[Shape]:
    """Return four fingers side by side and a thumb, as tubes from the end of the palm."""
    wrist, palm, tip = arm_line(frame)[-4, :3], arm_line(frame)[-2, :3], arm_line(frame)[-1, :3]
    along = (tip - palm) / np.linalg.norm(tip - palm)
    across = np.array([0.0, 1.0, 0.0])
    fingers: list[Shape] = []
    for across_mm, length in zip((-24, -8, 8, 23), (66, 80, 84, 76), strict=True):
        root = palm + across_mm * across - 14 * along
        line = [
            root,
            root + 0.5 * length * along,
            root + (14 + length) * along + 0.3 * across_mm * across,
        ]
        fingers.append(frame.tube(line, [9.5, 8, 6.5], side))
    root = wrist + 0.55 * (palm - wrist)
    thumb = [root + 16 * across, root + 34 * across + 28 * along, root + 40 * across + 62 * along]
    fingers.append(frame.tube(thumb, [13, 11, 8], side))
    return fingers


def _rounded(points: FloatArray) -> FloatArray:
    """Return the line with its corners smoothed, and a point between each two points."""
    middle = (points[:-1] + points[1:]) / 2
    smooth = points.copy()
    smooth[1:-1] = (middle[:-1] + 2 * points[1:-1] + middle[1:]) / 4
    line = np.empty((2 * len(points) - 1, points.shape[1]))
    line[::2], line[1::2] = smooth, middle
    return line


def _breast(frame: Frame, side: int, fat: float) -> Ellipsoid:
    if fat == 0:
        return frame.ellipsoid((74, 84, 1300), (20, 10, 20), side)
    return frame.ellipsoid((74, 84, 1300), (52, 40, 52), side, 0.8 + 0.25 * fat)


def layers(frame: Frame) -> list[Structure]:
    """Return skin, subcutaneous fat and muscle; each one fills all the space inside it."""
    skin = Cached(body_outline(frame, "skin"))
    lean = Cached(body_outline(frame, "lean"))
    structures = [
        Structure("skin", skin, "skin", texture=0.08),
        Structure("subcutaneous_fat", Offset(skin, -SKIN_MM), "fat", "fat", 0.08),
        Structure("muscle", lean, "muscle", texture=0.1, wavelength_mm=(15, 90)),
    ]
    if frame.patient.sex == "female":
        glands = [frame.ellipsoid((74, 100, 1300), (30, 20, 30), side) for side in (1, -1)]
        structures.append(Structure("breast_glands", Union(glands), "breast", texture=0.2))
    return structures
