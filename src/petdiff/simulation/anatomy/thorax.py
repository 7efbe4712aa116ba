"""The organs in the rib cage: lungs, heart, airways, oesophagus."""

from __future__ import annotations

import numpy as np

from petdiff.simulation.anatomy.frame import Frame
from petdiff.simulation.anatomy.spine import chest_wall
from petdiff.simulation.anatomy.structure import Structure, rippled
from petdiff.simulation.shapes.combined import Difference, Intersection, Offset, Union
from petdiff.simulation.shapes.random_fields import FloatArray
from petdiff.simulation.shapes.signed_distance import Shape
from petdiff.simulation.shapes.solids import Ellipsoid, Loft

SIDES = ((1, "right"), (-1, "left"))
HEART_MM = np.array((-24.0, 24.0, 1325.0))
DOME_MM = {1: 1292.0, -1: 1276.0}  # heights of the right and left dome of the diaphragm
BREATHING_REACH_MM = 40.0  # distance along z over which the blur of breathing decays
HILUM_MM = (40.0, -26.0, 1368.0)


def rib_cage(frame: Frame) -> Loft:
    """Return the inside of the rib cage, from its lower rim to the apices."""
    z = np.linspace(1120, 1490, 38)
    half, back, front = np.array([chest_wall(float(height)) for height in z]).T
    width, depth = frame.width_and_depth(z)
    knots = np.zeros((len(z), 8))
    knots[:, 0] = frame.z(z)
    knots[:, 3] = knots[:, 4] = half * width
    knots[:, 5], knots[:, 6] = back * depth, front * depth
    knots[:, 7] = 2.3
    return Loft(2, knots)


def dome(frame: Frame, side: int) -> Shape:
    """Return the space under one half of the diaphragm."""
    x, y, top = frame.point((side * 66, 4, DOME_MM[side]))
    low = float(frame.z(1130))
    width, depth = frame.patient.width, frame.patient.depth
    return Ellipsoid((x, y - 2, low), (78 * width, 104 * depth, top - low))


def breathing_range(frame: Frame) -> tuple[float, float]:
    """Return the height of the diaphragm's top, and the distance over which blur decays, in mm."""
    return float(frame.z(DOME_MM[1])), BREATHING_REACH_MM


def lungs(frame: Frame, cage: Shape) -> list[Structure]:
    """Return mediastinum and lungs, which fill the rib cage above the diaphragm."""
    middle = frame.organ("mediastinum", (0, -10, 1380)).loft(
        2,
        [
            (1200, 0, -10, 60, 60, 90, 100, 2.2),
            (1280, 0, -10, 62, 62, 90, 100, 2.2),
            (1400, 0, -10, 46, 46, 90, 100, 2.2),
            (1470, 0, -10, 40, 40, 80, 80, 2.2),
        ],
    )
    structures = [Structure("mediastinum", Intersection(middle, cage), "fat", "soft", factor=1.8)]
    for side, side_name in SIDES:
        lobes = Difference(
            Intersection(_lobes(frame, side, side_name), Offset(cage, -1)), dome(frame, side)
        )
        shape = rippled(frame.patient, f"lung_{side_name}", lobes, 1.5, 60)
        structures.append(
            Structure(
                f"lung_{side_name}",
                shape,
                "lung",
                "lung",
                0.18,
                (15, 120),
                moves_with_breathing=True,
            )
        )
        vessels = _lung_vessels(frame, side, side_name)
        structures.append(Structure("pulmonary_vessels", vessels, "blood", factor=0.8))
    return structures


def _lobes(frame: Frame, side: int, side_name: str) -> Loft:
    # The table is that of the right lung. The radii along x are towards the midline and the side.
    knots = [
        (1170, 77, -22, 52, 54, 72, 68, 2.4),
        (1230, 79, -14, 57, 56, 86, 90, 2.4),
        (1300, 76, -10, 60, 60, 93, 99, 2.4),
        (1350, 71, -12, 60, 58, 91, 91, 2.4),
        (1400, 61, -16, 50, 52, 80, 73, 2.3),
        (1440, 45, -22, 33, 37, 60, 50, 2.2),
        (1470, 36, -26, 21, 23, 37, 29, 2.0),
        (1488, 32, -28, 8, 8, 14, 12, 2.0),
    ]
    table = np.array(knots, float)
    if side < 0:
        table[:, 1] *= -1
        table[:, [3, 4]] = table[:, [4, 3]]
    return frame.organ(f"lung_{side_name}", (side * 70, -5, 1360)).loft(2, table)


def _lung_vessels(frame: Frame, side: int, side_name: str) -> Shape:
    """Return branches from the hilum towards the lung's surface, thinner with distance."""
    rng = frame.patient.stream(f"vessels {side_name}")
    ends = [(100, -70, 1260), (84, -20, 1440), (104, 40, 1330), (70, 56, 1290), (60, -78, 1400),
            (110, -20, 1300), (80, -60, 1220), (70, 40, 1400)]  # fmt: skip
    branches = []
    for end in ends:
        fraction = np.linspace(0, 1, 6)[:, None]
        line = np.array(HILUM_MM) + fraction * (np.array(end) + rng.normal(0, 9, 3) - HILUM_MM)
        line[1:] += rng.normal(0, 4, (5, 3))
        branches.append(frame.tube(line, np.linspace(5.0, 1.2, 6), side))
    return Union(branches)


def heart_axes() -> FloatArray:
    """Return the heart's axes as columns; the third points to the apex: left, forward, down."""
    apex = np.array([-0.66, 0.58, -0.48])
    apex /= np.linalg.norm(apex)
    across = np.cross([0, 0, 1.0], apex)
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(apex, across), apex], axis=1)


def thorax(frame: Frame) -> list[Structure]:
    """Return heart, airways and oesophagus."""
    return [*_heart(frame), *_tubes(frame)]


def _heart(frame: Frame) -> list[Structure]:
    organ = frame.organ("heart", HEART_MM)
    axes = heart_axes()
    apex = axes[:, 2]
    lv = HEART_MM + np.array((-18, 6, -6))
    pericardium = organ.ellipsoid(HEART_MM + np.array((0, 2, -4)), (74, 61, 69))
    right = organ.ellipsoid(HEART_MM + np.array((22, 20, -16)), (44, 31, 54), axes)
    wall = organ.ellipsoid(lv, (43, 43, 64), axes)
    cavity = organ.ellipsoid(lv - 6 * apex, (27, 27, 49), axes)
    valves = organ.ellipsoid(lv - 66 * apex, (48, 48, 28), axes)  # the wall is open at the base
    right_atrium = organ.ellipsoid(HEART_MM + np.array((54, -2, 10)), (30, 30, 39))
    left_atrium = organ.ellipsoid(HEART_MM + np.array((22, -38, 20)), (41, 27, 31))
    return [
        Structure("heart", pericardium, "fat", "fat", factor=1.5),
        Structure("heart_ventricle_right", Offset(right, 3), "myocardium", factor=0.45),
        Structure("heart_ventricle_right", right, "blood", texture=0.03),
        Structure("heart_atrium_right", right_atrium, "blood", texture=0.03),
        Structure("heart_atrium_left", left_atrium, "blood", texture=0.03),
        Structure(
            "heart_myocardium", Difference(wall, valves), "myocardium", "soft", 0.14, (30, 80)
        ),
        Structure("heart_ventricle_left", Difference(cavity, valves), "blood", texture=0.03),
    ]


def _tubes(frame: Frame) -> list[Structure]:
    airway = Union(
        [
            frame.tube([(0, 16, 1520), (0, 6, 1480), (2, -14, 1440), (2, -24, 1402)], 9.5),
            frame.tube([(2, -24, 1402), (22, -28, 1385), (48, -30, 1366)], [8, 7.5, 5]),
            frame.tube([(2, -24, 1402), (-22, -30, 1382), (-50, -32, 1362)], [7.5, 6.5, 5]),
        ]
    )
    line = [(0, -6, 1520), (-2, -12, 1480), (-4, -34, 1420), (-2, -40, 1340), (-10, -30, 1270),
            (-22, -14, 1240)]  # fmt: skip
    return [
        Structure("trachea", Offset(airway, 1.5), "muscle"),
        Structure("trachea", airway, "gas", "gas"),
        Structure("esophagus", frame.tube(line, [8, 7, 7, 8, 8.5, 9]), "oesophagus", texture=0.1),
    ]
