"""Lungs, airways, heart and great vessels, oesophagus."""

from __future__ import annotations

import numpy as np

from petdiff.clinic.anatomy.frame import Frame
from petdiff.clinic.anatomy.spine import chest_wall, spine_y
from petdiff.clinic.anatomy.structure import Structure, rippled
from petdiff.clinic.implicit import Ellipsoid, Grown, Loft, Shape, Tube, Union, Within, Without

HEART_MM = (-24.0, 24.0, 1321.0)


def thorax(frame: Frame) -> list[Structure]:
    """Heart, vessels, airways and oesophagus."""
    return _heart(frame) + _vessels(frame) + _tubes(frame)


def rib_cage(frame: Frame) -> Loft:
    """The inside of the rib cage, from its lower rim to the apices."""
    rows = []
    for z in np.linspace(1120, 1490, 38):
        half, back, front = chest_wall(z)
        rows.append((z, half, back, front))
    z, half, back, front = np.array(rows).T
    width, depth = frame.across(z)
    knots = np.zeros((len(z), 8))
    knots[:, 0] = frame.z(z)
    knots[:, 3] = knots[:, 4] = half * width
    knots[:, 5], knots[:, 6] = back * depth, front * depth
    knots[:, 7] = 2.3
    return Loft(2, knots)


def dome(frame: Frame, side: int) -> Shape:
    """The space under one half of the diaphragm, its top the dome."""
    top = 1292 if side > 0 else 1276
    x, y, z = frame.point((side * 66, 4, top))
    low = frame.z(1130)
    w, d = frame.patient.width, frame.patient.depth
    return Ellipsoid((x, y - 2, low), (78 * w, 104 * d, z - low))


def lungs(frame: Frame, cage: Shape) -> list[Structure]:
    """Mediastinum and lungs, which fill the rib cage above the diaphragm."""
    middle = frame.organ("mediastinum", (0, -10, 1380))
    found = [Structure("mediastinum", Within(Grown(middle.loft(2, [
        (1200, 0, -10, 60, 60, 90, 100, 2.2),
        (1280, 0, -10, 62, 62, 90, 100, 2.2),
        (1400, 0, -10, 46, 46, 90, 100, 2.2),
        (1470, 0, -10, 40, 40, 80, 80, 2.2),
    ]), 0), cage), "fat", "soft", factor=2.2)]  # fmt: skip
    for side, word in ((1, "right"), (-1, "left")):
        sign = float(side)
        lobe = frame.organ(f"lung_{word}", (sign * 70, -5, 1360)).loft(
            2,
            [
                (1170, sign * 76, -22, 48, 52, 70, 66, 2.4),
                (1230, sign * 78, -14, 52, 54, 84, 88, 2.4),
                (1300, sign * 75, -10, 54, 58, 90, 96, 2.4),
                (1350, sign * 70, -12, 54, 56, 88, 88, 2.4),
                (1400, sign * 60, -16, 44, 50, 78, 70, 2.3),
                (1440, sign * 45, -22, 32, 36, 58, 48, 2.2),
                (1470, sign * 36, -26, 21, 22, 36, 28, 2.0),
                (1488, sign * 32, -28, 8, 8, 14, 12, 2.0),
            ],
        )
        lung = Without(Within(lobe, Grown(cage, -1.5)), dome(frame, side))
        found.append(
            Structure(f"lung_{word}", rippled(frame.patient, f"lung_{word}", lung, 1.5, 60), "lung", "lung",
                      texture=0.18, grain_mm=(15, 120))
        )  # fmt: skip
    return found


def heart_turn() -> np.ndarray:
    """The heart's long axis (its third column) points to the apex: left, forward, down."""
    axis = np.array([-0.66, 0.58, -0.48])
    axis /= np.linalg.norm(axis)
    side = np.cross([0, 0, 1.0], axis)
    side /= np.linalg.norm(side)
    return np.stack([side, np.cross(axis, side), axis], axis=1)


def _heart(frame: Frame) -> list[Structure]:
    place = frame.organ("heart", HEART_MM)
    t = heart_turn()
    axis = t[:, 2]
    lv = np.array(HEART_MM) + (-18, 6, -6)
    base = lv - 45 * axis
    wall = place.ellipsoid(lv, (38, 38, 58), t)
    cavity = place.ellipsoid(lv - 6 * axis, (26.5, 26.5, 48), t)
    open_base = place.ellipsoid(base - 14 * axis, (46, 46, 28), t)
    right = place.ellipsoid(np.array(HEART_MM) + (22, 20, -16), (40, 28, 50), t)
    found = [
        Structure("heart", place.ellipsoid(np.array(HEART_MM) + (0, 2, -4), (70, 58, 66)), "fat", "fat",
                  factor=1.5),
        Structure("heart_ventricle_right", Grown(right, 3), "myocardium", factor=0.45, texture=0.1),
        Structure("heart_ventricle_right", right, "blood", texture=0.03),
        Structure("heart_atrium_right", place.ellipsoid(np.array(HEART_MM) + (54, -2, 10), (28, 28, 37)),
                  "blood", texture=0.03),
        Structure("heart_atrium_left", place.ellipsoid(np.array(HEART_MM) + (24, -38, 20), (39, 25, 29)),
                  "blood", texture=0.03),
        Structure("heart_myocardium", Without(wall, open_base), "myocardium", texture=0.14, grain_mm=(30, 80)),
        Structure("heart_ventricle_left", Without(cavity, open_base), "blood", texture=0.03),
    ]  # fmt: skip
    return found


def _vessels(frame: Frame) -> list[Structure]:
    def line(*points: tuple[float, float, float]) -> np.ndarray:
        return frame.point(np.array(points))

    down = [(-22, float(spine_y(z)) + 26, z) for z in np.linspace(1385, 1225, 8)]
    belly = [(x, float(spine_y(z)) + 31, z) for x, z in zip(np.linspace(-18, -4, 8),
                                                             np.linspace(1205, 1062, 8), strict=True)]  # fmt: skip
    aorta = line((4, 4, 1335), (14, 16, 1365), (14, 20, 1395), (2, 8, 1415), (-12, -14, 1418),
                 (-22, -34, 1405), *down, *belly)  # fmt: skip
    cava = line(*[(20, float(spine_y(z)) + 30, z) for z in np.linspace(1056, 1200, 6)], (30, 0, 1250),
                (34, 8, 1290))  # fmt: skip
    radius = np.concatenate([np.full(3, 15.5), np.full(3, 14.0), np.linspace(13, 11.5, 8),
                             np.linspace(10.5, 8.5, 8)])  # fmt: skip
    pulmonary: Shape = Union(
        [
            Tube(line((-20, 34, 1345), (-16, 16, 1375), (-12, 0, 1385)), [15, 14, 13]),
            Tube(line((-12, 0, 1385), (20, -14, 1380), (52, -20, 1370)), [12, 11, 8]),
            Tube(line((-12, 0, 1385), (-34, -18, 1385), (-56, -26, 1372)), [12, 10, 8]),
        ],
        4,
    )
    found = [
        Structure("aorta", Tube(aorta, radius), "blood", texture=0.03),
        Structure("inferior_vena_cava", Tube(cava, [10, 10, 10.5, 11, 11, 11.5, 12, 13]), "blood", texture=0.03),
        Structure("superior_vena_cava",
                  Tube(line((34, 12, 1340), (30, 8, 1390), (26, 14, 1420)), [11, 10, 9]), "blood", texture=0.03),
        Structure("pulmonary_artery", pulmonary, "blood", texture=0.03),
        Structure("brachiocephalic_vessels",
                  Union([Tube(line((10, 14, 1412), (22, 6, 1440), (44, -4, 1452), (110, -10, 1440)), [7, 6.5, 6, 5]),
                         Tube(line((-10, 0, 1420), (-26, -8, 1445), (-50, -8, 1454), (-110, -10, 1440)), [6, 6, 6, 5]),
                         Tube(line((22, 6, 1440), (26, 8, 1500), (30, 10, 1570)), [5.5, 5, 4.5]),
                         Tube(line((-6, 2, 1420), (-24, 6, 1500), (-30, 10, 1570)), [5.5, 5, 4.5])]),
                  "blood", texture=0.03),
    ]  # fmt: skip
    for side, word in ((1, "right"), (-1, "left")):
        s = float(side)
        artery = line((-3 if s < 0 else 0, -2, 1064), (s * 26, -18, 1030), (s * 48, -16, 990),
                      (s * 70, 26, 945), (s * 82, 34, 900), (s * 88, 26, 820), (s * 84, 4, 680),
                      (s * 84, -26, 540))  # fmt: skip
        found.append(
            Structure(
                f"iliac_artery_{word}",
                Tube(artery, [8, 7.5, 7, 6.5, 6, 5.5, 5, 4.5]),
                "blood",
                texture=0.03,
            )
        )
        vein = artery + np.array([s * -4, -13, 0])
        found.append(
            Structure(
                f"iliac_vena_{word}", Tube(vein, [8, 8, 8, 7.5, 7, 6, 6, 5]), "blood", texture=0.03
            )
        )
    return found


def _tubes(frame: Frame) -> list[Structure]:
    def line(*points: tuple[float, float, float]) -> np.ndarray:
        return frame.point(np.array(points))

    wind = line((0, 16, 1520), (0, 6, 1480), (2, -14, 1440), (2, -24, 1402))
    bronchi = Union(
        [
            Tube(wind, 9.5),
            Tube(line((2, -24, 1402), (22, -28, 1385), (48, -30, 1366)), [8, 7.5, 5]),
            Tube(line((2, -24, 1402), (-22, -30, 1382), (-50, -32, 1362)), [7.5, 6.5, 5]),
        ]
    )
    gullet = [(0, -6, 1520), (-2, -12, 1480), (-4, -34, 1420), (-2, -40, 1340), (-10, -30, 1270),
              (-22, -14, 1240)]  # fmt: skip
    return [
        Structure("trachea", Grown(bronchi, 1.5), "muscle"),
        Structure("trachea", bronchi, "gas", "gas"),
        Structure(
            "esophagus", Tube(line(*gullet), [8, 7, 7, 8, 8.5, 9]), "oesophagus", texture=0.1
        ),
    ]
