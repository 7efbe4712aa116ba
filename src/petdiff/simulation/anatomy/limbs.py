"""Bones of the limbs and girdles: shoulder, pelvis, arms, legs."""

from __future__ import annotations

import numpy as np

from petdiff.simulation.anatomy.body import arm_line
from petdiff.simulation.anatomy.frame import Frame, rotation
from petdiff.simulation.anatomy.structure import Structure, bone
from petdiff.simulation.shapes.combined import Intersection, Offset, Union
from petdiff.simulation.shapes.solids import Ellipsoid

SIDES = ((1, "right"), (-1, "left"))


def limbs(frame: Frame) -> list[Structure]:
    """Return all bones except skull, spine and rib cage."""
    structures = _sacrum(frame)
    for side, side_name in SIDES:
        structures += _shoulder(frame, side, side_name)
        structures += _arm(frame, side, side_name)
        structures += _hip(frame, side, side_name)
        structures += _thigh(frame, side, side_name)
        structures += _lower_leg(frame, side, side_name)
    return structures


def _shoulder(frame: Frame, side: int, side_name: str) -> list[Structure]:
    up = 22 if frame.patient.arms == "up" else 0
    scale = frame.bone_scale
    line = [(24, 50, 1436), (70, 44, 1446), (112, 14, 1452), (150, -8, 1446 + up)]
    clavicle = frame.tube(line, [8, 6, 6, 7], side, scale)
    tilt = rotation(z=side * 28, y=side * 8)
    spine = [(85, -96, 1405), (130, -74, 1425), (158, -34, 1438 + up)]
    blade = Union(
        [
            frame.ellipsoid((102, -82, 1370), (34, 5.5, 62), side, scale, tilt),
            frame.tube(spine, [5, 6, 8], side, scale),
            frame.ellipsoid((138, -45, 1395), (12, 14, 18), side, scale),
        ]
    )
    return [
        *bone(f"clavicula_{side_name}", clavicle, 2.2, factor=0.6),
        *bone(f"scapula_{side_name}", blade, 1.8, factor=0.7),
    ]


def _arm(frame: Frame, side: int, side_name: str) -> list[Structure]:
    line = arm_line(frame)[:, :3]
    joint, elbow, wrist, tip = line[0], line[3], line[6], line[9]
    shaft = [joint, joint + 0.2 * (elbow - joint), joint + 0.8 * (elbow - joint), elbow]
    apart = np.array([9.0, 2, 4])
    scale = frame.bone_scale
    humerus = frame.tube(shaft, [23, 13, 11, 19], side, scale)
    head = Intersection(Offset(humerus, -3), frame.ellipsoid(joint, (26, 26, 26), side, scale))
    structures = bone(f"humerus_{side_name}", humerus, 4.0, "yellow_marrow")
    structures.append(Structure(f"humerus_{side_name}", head, "marrow", "marrow", factor=0.6))
    rest = {
        "radius": frame.tube([elbow + apart, wrist + apart], [9, 10], side, scale),
        "ulna": frame.tube([elbow - apart, wrist - apart], [12, 7], side, scale),
        "hand": frame.tube([wrist, (wrist + tip) / 2, tip], [13, 11, 6], side, scale),
    }
    for name, shape in rest.items():
        structures += bone(f"{name}_{side_name}", shape, 2.5, "yellow_marrow")
    return structures


def _sacrum(frame: Frame) -> list[Structure]:
    shape = frame.organ("sacrum", (0, -70, 970)).loft(
        2,
        [
            (888, 0, -74, 6, 6, 5, 5, 2),
            (910, 0, -86, 18, 18, 8, 8, 2),
            (950, 0, -86, 36, 36, 13, 13, 2.2),
            (990, 0, -66, 52, 52, 21, 19, 2.2),
            (1018, 0, -48, 54, 54, 23, 17, 2.2),
        ],
    )
    return bone("sacrum", shape, 1.5)


# The right hip bone: tubes through these points form its wing and its ring.
HIP_WING = (
    (((52, -78, 1000), (66, -72, 1040), (96, -40, 1066), (124, 8, 1058), (134, 46, 1015),
      (126, 52, 985)), (9, 8, 7, 7, 8, 8)),
    (((62, -66, 1005), (100, -20, 1040), (124, 30, 1020)), (9, 7, 8)),
    (((62, -60, 990), (104, -4, 1010), (124, 40, 1000)), (10, 7, 8)),
    (((64, -54, 975), (96, -4, 978), (118, 36, 980)), (11, 10, 8)),
    (((68, -48, 965), (92, -6, 940)), (13, 17)),
    (((112, 34, 975), (92, 4, 945)), (8, 16)),
)  # fmt: skip
HIP_RING = (
    (((88, -8, 930), (76, 26, 922), (42, 52, 908), (12, 60, 900)), (22, 12, 9, 10)),
    (((82, -22, 915), (68, -42, 880), (60, -38, 852)), (18, 13, 14)),
    (((60, -34, 850), (40, 10, 862), (14, 54, 888)), (9, 6, 8)),
)


def _hip(frame: Frame, side: int, side_name: str) -> list[Structure]:
    wide = (1.06, 1, 1) if frame.patient.sex == "female" else (1, 1, 1)
    scale = frame.bone_scale * 0.98
    wing, ring = (
        [frame.tube(np.array(line) * wide, radius, side, scale) for line, radius in tubes]
        for tubes in (HIP_WING, HIP_RING)
    )
    # The wide blend closes gaps between the tubes of the wing; the ring keeps its hole.
    return bone(f"hip_{side_name}", Union([Union(wing, 20), Union(ring, 5)], 5), 2.0)


def _thigh(frame: Frame, side: int, side_name: str) -> list[Structure]:
    scale = frame.bone_scale
    line = [(84, -4, 925), (96, -4, 915), (122, -10, 902), (124, -10, 870), (114, 0, 780),
            (100, 8, 640), (92, 4, 540), (90, 0, 508)]  # fmt: skip
    femur = Union(
        [
            frame.tube(line, [20, 16, 17, 18, 14, 14, 18, 26], side, scale),
            frame.ellipsoid((84, -4, 926), (23, 23, 23), side, scale),
            frame.ellipsoid((90, -2, 512), (38, 28, 22), side, scale),
        ],
        8,
    )
    # Adults have red marrow in the upper end only.
    upper = Intersection(Offset(femur, -3.5), frame.ellipsoid((102, -6, 890), (46, 34, 70), side))
    patella = Ellipsoid(frame.point((side * 90, 44, 515)), (21, 10, 22))
    return [
        *bone(f"femur_{side_name}", femur, 5.0, "yellow_marrow"),
        Structure(f"femur_{side_name}", upper, "marrow", "marrow", factor=0.75),
        *bone(f"patella_{side_name}", patella, 2.5, "yellow_marrow"),
    ]


def _lower_leg(frame: Frame, side: int, side_name: str) -> list[Structure]:
    scale = frame.bone_scale
    shin = [(88, 0, 476), (86, 4, 440), (80, 12, 300), (78, -6, 100), (78, -10, 70)]
    calf = [(120, -20, 450), (114, -20, 280), (108, -22, 80)]
    foot = Union(
        [
            frame.ellipsoid((84, -40, 40), (20, 34, 22), side),
            frame.tube([(84, -14, 62), (88, 30, 48), (92, 60, 34)], [20, 18, 14], side),
            frame.tube([(80, 60, 34), (84, 122, 24)], [10, 8], side),
            frame.tube([(104, 55, 28), (110, 112, 22)], [9, 6], side),
        ],
        5,
    )
    return [
        *bone(f"tibia_{side_name}", frame.tube(shin, [32, 20, 13, 14, 18], side, scale), 4.5,
              "yellow_marrow"),
        *bone(f"fibula_{side_name}", frame.tube(calf, [9, 7, 9], side, scale), 3.0,
              "yellow_marrow"),
        *bone(f"foot_{side_name}", foot, 2.5, "yellow_marrow"),
    ]  # fmt: skip
