"""Bones: spine, ribs, sternum, shoulder girdle, pelvis, long bones, skull. A cortex around marrow."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petdiff.clinic.anatomy.body import arm_line
from petdiff.clinic.anatomy.frame import Frame, turn
from petdiff.clinic.anatomy.structure import Structure
from petdiff.clinic.implicit import Ellipsoid, Grown, Loft, Shape, Tube, Union

# Top of each vertebra (reference z), from C1; the last entry is the bottom of L5.
CERVICAL = np.linspace(1600, 1480, 8)
THORACIC = 1480 - np.cumsum([0, *np.linspace(19, 26.5, 12)])
LUMBAR = THORACIC[-1] - np.cumsum([0, *np.linspace(35, 38, 5)])
VERTEBRAE = [
    *(f"vertebrae_C{n}" for n in range(1, 8)),
    *(f"vertebrae_T{n}" for n in range(1, 13)),
    *(f"vertebrae_L{n}" for n in range(1, 6)),
]
TOPS = np.concatenate([CERVICAL[:-1], THORACIC[:-1], LUMBAR])


def spine_y(z_mm: ArrayLike) -> NDArray[np.float64]:
    """Depth of the vertebral bodies' centre: cervical and lumbar lordosis, thoracic kyphosis."""
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
    return np.interp(z_mm, z, y)


def bones(frame: Frame) -> list[Structure]:
    """All bones, the marrow inside painted over the cortex around it."""
    found: list[Structure] = []
    found += _spine(frame)
    found += _ribs(frame)
    found += _pelvis(frame)
    found += _limbs(frame)
    return found


def _bone(
    name: str, shape: Shape, cortex_mm: float, marrow: str = "marrow", factor: float = 1.0
) -> list[Structure]:
    cortex = Structure(name, shape, "cortical_bone", "cortical", 0.05)
    inside = Structure(name, Grown(shape, -cortex_mm), marrow, "marrow", 0.08, factor=factor)
    return [cortex, inside]


def _spine(frame: Frame) -> list[Structure]:
    found = []
    for name, top, bottom in zip(VERTEBRAE, TOPS[:-1], TOPS[1:], strict=True):
        middle, height = (top + bottom) / 2, top - bottom
        grow = np.interp(middle, [1040, 1210, 1450, 1600], [1.0, 0.78, 0.5, 0.45])
        y = float(spine_y(middle))
        place = frame.organ(name, (0, y, middle))
        a, b, half = 25 * grow, 18 * grow, height * 0.43
        body = place.loft(
            2,
            [
                (middle - half, 0, y, a, a, b, b, 2.3),
                (middle, 0, y, a * 0.9, a * 0.9, b * 0.92, b * 0.92, 2.3),
                (middle + half, 0, y, a, a, b, b, 2.3),
            ],
        )
        back = y - b - 16 * grow - 6
        arch: list[Shape] = [
            place.tube([(0, back, middle - 4), (0, back - 22 * grow - 6, middle - 14)], [5, 4]),
        ]
        for side in (1, -1):
            root, wing = (
                (side * a * 0.7, y - b * 0.9, middle + 3),
                (side * a * 0.8, back + 4, middle),
            )
            tip = (side * (a + 16 * grow), back + 4, middle + 2)
            arch.append(place.tube([root, wing, (0, back, middle - 3)], [5.0, 5.5, 5]))
            arch.append(place.tube([wing, tip], [5, 4]))
        found += _bone(name, body, 1.2)
        found += _bone(name, Union(arch), 2.0)
    canal = [(0, float(spine_y(z)) - 20 * np.interp(z, [1040, 1500], [1.2, 0.9]) - 5, z)
             for z in np.linspace(1150, 1612, 24)]  # fmt: skip
    found.append(
        Structure("spinal_cord", frame.organ("cord", (0, -60, 1380)).tube(np.array(canal), 5.5),
                  "spinal_cord")
    )  # fmt: skip
    return found


def chest_wall(z_mm: float) -> tuple[float, float, float]:
    """Half width, back and front of the rib cage's inside at a reference height."""
    z = [1110, 1160, 1200, 1250, 1300, 1350, 1400, 1440, 1465, 1490]
    half = np.interp(z_mm, z, [118, 126, 130, 132, 130, 121, 102, 74, 54, 30])
    back = np.interp(z_mm, z, [60, 74, 80, 88, 94, 95, 90, 76, 62, 45])
    front = np.interp(z_mm, z, [78, 84, 87, 88, 85, 76, 59, 36, 22, 10])
    return float(half), float(back), float(front)


def _ribs(frame: Frame) -> list[Structure]:
    found = []
    drop = [38, 70, 92, 108, 122, 134, 142, 146, 142, 128, 80, 48]
    reach = [2.75, 2.85, 2.9, 2.9, 2.9, 2.85, 2.75, 2.65, 2.5, 2.35, 1.7, 1.25]
    for number in range(12):
        start = THORACIC[number] - 4
        for side, word in ((1, "right"), (-1, "left")):
            angle = np.linspace(0.32, reach[number], 18)
            fall = (angle - angle[0]) / (reach[number] - angle[0])
            z = start - drop[number] * np.sin(fall * np.pi / 2 * 0.95) ** 1.3
            line = []
            for a, height in zip(angle, z, strict=True):
                half, back, front = chest_wall(height)
                x, y = np.sin(a), -np.cos(a)
                power = 2 / 2.3
                depth = (back if y < 0 else front) + 5
                line.append(
                    (
                        side * (half + 5) * np.abs(x) ** power,
                        np.sign(y) * depth * np.abs(y) ** power,
                        height,
                    )
                )
            points = frame.point(np.array(line))
            tube = Tube(points, np.where(np.arange(18) < 15, 5.2, 4.6))
            found += _bone(f"rib_{word}_{number + 1}", tube, 1.6, factor=0.75)
    sternum = frame.organ("sternum", (0, 76, 1340))
    y = [40, 56, 72, 82, 86]
    plate = sternum.loft(
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
    del y
    found += _bone("sternum", plate, 1.5)
    for side, word in ((1, "right"), (-1, "left")):
        raised = 22 if frame.patient.arms == "up" else 0
        line = [
            (side * 24, 50, 1436), (side * 70, 44, 1446), (side * 112, 14, 1452),
            (side * 150, -8, 1446 + raised),
        ]  # fmt: skip
        clavicle = Tube(frame.point(np.array(line)), [8, 6, 6, 7])
        found += _bone(f"clavicula_{word}", clavicle, 2.2, factor=0.6)
        blade = [
            Ellipsoid(frame.point((side * 108, -88, 1370)), (34, 5.5, 62), turn(z=side * 28, y=side * 8)),
            Tube(frame.point(np.array([(side * 85, -96, 1405), (side * 130, -74, 1425),
                                       (side * 158, -34, 1438 + raised)])), [5, 6, 8]),
            Ellipsoid(frame.point((side * 138, -45, 1395)), (12, 14, 18)),
        ]  # fmt: skip
        found += _bone(f"scapula_{word}", Union(blade), 1.8, factor=0.7)
    return found


def _pelvis(frame: Frame) -> list[Structure]:
    wide = 1.06 if frame.patient.sex == "female" else 1.0
    found = []
    sacrum = frame.organ("sacrum", (0, -70, 970))
    found += _bone(
        "sacrum",
        sacrum.loft(
            2,
            [
                (888, 0, -74, 6, 6, 5, 5, 2),
                (910, 0, -86, 18, 18, 8, 8, 2),
                (950, 0, -86, 36, 36, 13, 13, 2.2),
                (990, 0, -66, 50, 50, 20, 18, 2.2),
                (1018, 0, -48, 52, 52, 22, 16, 2.2),
            ],
        ),
        1.5,
    )
    for side, word in ((1, "right"), (-1, "left")):
        centre = (side * 95, -30, 985)
        place = frame.organ(f"hip_{word}", centre)

        def at(*points: tuple[float, ...], side: int = side) -> NDArray[np.float64]:
            return np.array([(side * wide * x, y, z) for x, y, z in points])

        wing = Union(
            [
                place.tube(
                    at((52, -78, 1000), (66, -72, 1040), (96, -40, 1066), (124, 8, 1058), (134, 46, 1015),
                       (126, 52, 985)),
                    [9, 8, 7, 7, 8, 8],
                ),
                place.tube(at((62, -66, 1005), (100, -20, 1040), (124, 30, 1020)), [9, 7, 8]),
                place.tube(at((62, -60, 990), (104, -4, 1010), (124, 40, 1000)), [10, 7, 8]),
                place.tube(at((64, -54, 975), (96, -4, 978), (118, 36, 980)), [11, 10, 8]),
                place.tube(at((68, -48, 965), (92, -6, 940)), [13, 17]),
                place.tube(at((112, 34, 975), (92, 4, 945)), [8, 16]),
            ],
            6,
        )  # fmt: skip
        lower = Union(
            [
                place.tube(
                    at((88, -8, 930), (76, 26, 922), (42, 52, 908), (12, 60, 900)), [22, 12, 9, 10]
                ),
                place.tube(at((82, -22, 915), (68, -42, 880), (60, -38, 852)), [18, 13, 14]),
                place.tube(at((60, -34, 850), (40, 10, 862), (14, 54, 888)), [9, 6, 8]),
            ],
            6,
        )
        found += _bone(f"hip_{word}", Union([wing, lower], 5), 2.0)
    return found


def _limbs(frame: Frame) -> list[Structure]:
    found = []
    arm = arm_line(frame)
    for side, word in ((1, "right"), (-1, "left")):
        mirror = (side, 1, 1)
        leg = [(84, -4, 925), (96, -4, 915), (122, -10, 902), (124, -10, 870), (114, 0, 780), (100, 8, 640),
               (92, 4, 540), (90, 0, 508)]  # fmt: skip
        femur = Union(
            [
                Tube(frame.point(np.array(leg) * mirror), [20, 16, 17, 18, 14, 14, 18, 26]),
                Ellipsoid(frame.point((side * 84, -4, 926)), (24, 24, 24)),
                Ellipsoid(frame.point((side * 90, -2, 512)), (38, 28, 22)),
            ],
            8,
        )
        upper = Ellipsoid(frame.point((side * 102, -6, 890)), (46, 34, 70))
        found += _bone(f"femur_{word}", femur, 5.0, "yellow_marrow")
        found.append(
            Structure(
                f"femur_{word}", _inside(Grown(femur, -3.5), upper), "marrow", "marrow", factor=0.75
            )
        )
        tibia = Tube(
            frame.point(np.array([(88, 0, 476), (86, 4, 440), (80, 12, 300), (78, -6, 100), (78, -10, 70)])
                        * mirror), [32, 20, 12, 14, 18])  # fmt: skip
        fibula = Tube(
            frame.point(np.array([(120, -20, 450), (114, -20, 280), (108, -22, 80)]) * mirror),
            [9, 7, 9],
        )
        patella = Ellipsoid(frame.point((side * 90, 44, 515)), (21, 10, 22))
        found += _bone(f"tibia_{word}", tibia, 4.5, "yellow_marrow")
        found += _bone(f"fibula_{word}", fibula, 3, "yellow_marrow")
        found += _bone(f"patella_{word}", patella, 2.5, "yellow_marrow")
        foot = Union(
            [
                Ellipsoid(frame.point((side * 84, -40, 40)), (19, 32, 20)),
                Tube(
                    frame.point(np.array([(84, -14, 62), (88, 30, 48), (92, 60, 34)]) * mirror),
                    [18, 16, 12],
                ),
                Tube(frame.point(np.array([(80, 60, 34), (84, 122, 24)]) * mirror), [8, 6]),
                Tube(frame.point(np.array([(104, 55, 28), (110, 112, 22)]) * mirror), [8, 5]),
            ],
            5,
        )
        found += _bone(f"foot_{word}", foot, 2.5, "yellow_marrow")
        joint, elbow, wrist, tip = arm[0, :3], arm[3, :3], arm[6, :3], arm[9, :3]
        start = joint + (0, 0, 0)
        shaft = np.array(
            [start, joint + 0.2 * (elbow - joint), joint + 0.8 * (elbow - joint), elbow]
        )
        humerus = Tube(frame.point(shaft * mirror), [23, 13, 11, 19])
        out = np.array([9.0, 2, 4])
        radius = Tube(frame.point(np.array([elbow + out, wrist + out]) * mirror), [9, 10])
        ulna = Tube(frame.point(np.array([elbow - out, wrist - out]) * mirror), [12, 7])
        hand = Tube(frame.point(np.array([wrist, (wrist + tip) / 2, tip]) * mirror), [12, 9, 5])
        found += _bone(f"humerus_{word}", humerus, 4.0, "yellow_marrow")
        found.append(Structure(f"humerus_{word}", Ellipsoid(frame.point(start * mirror), (17, 17, 17)),
                               "marrow", "marrow", factor=0.6))  # fmt: skip
        for name, shape in (("radius", radius), ("ulna", ulna), ("hand", hand)):
            found += _bone(f"{name}_{word}", shape, 2.5, "yellow_marrow")
    return found


def _inside(shape: Shape, container: Shape) -> Shape:
    from petdiff.clinic.implicit import Within

    return Within(shape, container)
