"""Abdominal cavity, liver, gallbladder, spleen, pancreas, adrenals, kidneys, stomach, bowel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petdiff.clinic.anatomy.frame import Frame, turn
from petdiff.clinic.anatomy.structure import Structure, rippled
from petdiff.clinic.anatomy.thorax import dome
from petdiff.clinic.implicit import Grown, Loft, Shape, Tube, Union, Within, Without


def cavity(frame: Frame) -> Loft:
    """The abdominal and pelvic cavity below the ribs, filled with fat where no organ lies."""
    knots = np.array(
        [
            (880, 0, -10, 40, 40, 40, 40, 2.2),
            (930, 0, -10, 66, 66, 56, 62, 2.3),
            (980, 0, -6, 84, 84, 56, 82, 2.4),
            (1040, 0, 0, 108, 108, 50, 80, 2.4),
            (1090, 0, 0, 117, 117, 52, 80, 2.4),
            (1150, 0, 0, 122, 122, 66, 84, 2.4),
            (1200, 0, 0, 124, 124, 74, 86, 2.4),
        ]
    )
    width, depth = frame.across(knots[:, 0])
    knots[:, 0] = frame.z(knots[:, 0])
    knots[:, 2] *= depth
    knots[:, 3:5] *= width[:, None]
    knots[:, 5:7] *= depth[:, None]
    return Loft(2, knots)


def abdomen(frame: Frame, wall: Shape) -> list[Structure]:
    """Everything between diaphragm and pelvic inlet, and the bowel; `wall` is the trunk's inside."""
    return [
        *_kidneys(frame),
        *_bowel(frame, wall),
        *_stomach(frame, wall),
        *_pancreas(frame),
        *_spleen(frame, wall),
        *_liver(frame, wall),
    ]


def abdominal_fat(frame: Frame, cage: Shape) -> list[Structure]:
    """What fills the abdomen where no organ lies, the space under the diaphragm included."""
    inner = Grown(cage, -3)
    return [
        Structure("visceral_fat", cavity(frame), "fat", "fat", 0.08),
        *(
            Structure("visceral_fat", Within(dome(frame, side), inner), "fat", "fat", 0.08)
            for side in (1, -1)
        ),
    ]


def _liver(frame: Frame, wall: Shape) -> list[Structure]:
    place = frame.organ("liver", (45, 10, 1225))
    # Sections across x, from the left tip to the right flank: x, then centre and radii in (y, z).
    lobes = place.loft(
        0,
        [
            (-72, 40, 1256, 6, 6, 6, 8, 2),
            (-50, 40, 1250, 22, 24, 16, 20, 2),
            (-20, 32, 1244, 36, 40, 30, 30, 2),
            (10, 20, 1238, 52, 56, 44, 42, 2.1),
            (45, 4, 1228, 66, 70, 62, 58, 2.2),
            (80, -4, 1218, 72, 74, 84, 68, 2.2),
            (105, -6, 1208, 66, 68, 88, 66, 2.2),
            (122, -8, 1200, 46, 48, 62, 48, 2.1),
            (129, -8, 1196, 20, 20, 26, 22, 2),
        ],
    )
    body = Within(lobes, Grown(wall, -5))
    shape = rippled(frame.patient, "liver", body, 2.5, 60)
    bladder = frame.organ("gallbladder", (48, 50, 1160))
    return [
        Structure("liver", shape, "liver", texture=0.05, grain_mm=(12, 80)),
        Structure("portal_vein_and_splenic_vein",
                  place.tube([(14, 2, 1190), (34, 6, 1212), (62, 2, 1226)], [7, 6.5, 5]), "blood"),
        Structure("gallbladder",
                  bladder.tube([(40, 34, 1172), (50, 52, 1158), (54, 62, 1148)], [9, 18, 20]), "gallbladder"),
    ]  # fmt: skip


def _spleen(frame: Frame, wall: Shape) -> list[Structure]:
    place = frame.organ("spleen", (-96, -40, 1232))
    shape = Without(
        place.ellipsoid((-96, -40, 1232), (27, 44, 54), turn(x=-28, z=-30)),
        place.ellipsoid((-62, -16, 1228), (24, 36, 60), turn(x=-28, z=-30)),
    )
    inside = Within(shape, Grown(wall, -4))
    return [
        Structure("spleen", rippled(frame.patient, "spleen", inside, 2, 40), "spleen", texture=0.05)
    ]


def _pancreas(frame: Frame) -> list[Structure]:
    place = frame.organ("pancreas", (-20, 12, 1190))
    line = [
        (34, 14, 1166),
        (28, 20, 1180),
        (4, 24, 1192),
        (-24, 14, 1202),
        (-52, -8, 1212),
        (-72, -24, 1222),
    ]
    shape = rippled(
        frame.patient, "pancreas", place.tube(line, [20, 19, 15, 15, 15, 12]), 1.8, 20
    )
    found = [Structure("pancreas", shape, "pancreas", texture=0.1)]
    for side, word, z in ((1, "right", 1216), (-1, "left", 1218)):
        gland = frame.organ(f"adrenal_{word}", (side * 38, -32, z))
        wings = Union(
            [
                gland.tube([(side * 36, -26, z + 10), (side * 34, -40, z - 8)], [5.0, 3.6]),
                gland.tube([(side * 36, -26, z + 10), (side * 46, -42, z - 8)], [5.0, 3.6]),
            ],
            2,
        )
        found.append(Structure(f"adrenal_gland_{word}", wings, "adrenal"))
    return found


def _kidneys(frame: Frame) -> list[Structure]:
    found = []
    for side, word, z in ((1, "right", 1152), (-1, "left", 1166)):
        name = f"kidney_{word}"
        place = frame.organ(name, (side * 60, -42, z))
        t = turn(x=-12, y=side * -12, z=side * 35)
        centre = np.array([side * 60.0, -42, z])
        inward = t @ np.array([-side, 0, 0.0])
        whole = place.ellipsoid(centre, (30, 25, 57), t)
        hilum = place.ellipsoid(centre + 28 * inward, (17, 11, 20), t)
        outer = rippled(frame.patient, name, Without(whole, hilum), 1.2, 30)
        medulla = Union(
            [place.ellipsoid(centre + 4 * inward + t @ np.array([side * 9 * np.cos(a), 0, 34 * np.sin(a)]),
                             (8.5, 11, 8.5), t) for a in np.linspace(-1.25, 1.25, 6)], 2)  # fmt: skip
        pelvis = Union(
            [
                place.ellipsoid(centre + 12 * inward, (12, 6, 20), t),
                place.tube([centre + 12 * inward, centre + 30 * inward + (0, 2, -12)], [7, 4.5]),
            ],
            5,
        )
        path = [place.point(centre + 30 * inward + (0, 2, -12))]
        path += list(frame.point(np.array([(side * 38, -20, z - 70), (side * 34, -14, 1050), (side * 42, -22, 1000),
                                           (side * 56, -46, 950), (side * 36, -34, 925), (side * 16, -14, 915)])))  # fmt: skip
        found += [
            Structure(name, outer, "kidney_cortex", texture=0.06),
            Structure(f"{name}_medulla", medulla, "kidney_medulla", texture=0.06),
            Structure(f"{name}_pelvis", pelvis, "kidney_pelvis", texture=0.1),
            Structure(
                f"ureter_{word}",
                Tube(np.array(path), 2.0),
                "ureter",
                texture=1.2,
                grain_mm=(40, 120),
            ),
        ]
    return found


def _stomach(frame: Frame, wall: Shape) -> list[Structure]:
    place = frame.organ("stomach", (-52, 22, 1225))
    line = [(-58, -8, 1254), (-62, 6, 1236), (-58, 30, 1210), (-40, 48, 1184), (-14, 52, 1172), (14, 42, 1176),
            (26, 32, 1180)]  # fmt: skip
    radii = np.array([30, 36, 33, 26, 21, 15, 11.0])
    shape = Within(Union([place.tube(line, radii)], 0), Grown(wall, -4))
    outer = rippled(frame.patient, "stomach", shape, 2, 40)
    return [
        Structure("stomach", outer, "stomach", texture=0.15),
        Structure("stomach_contents", Grown(outer, -4.5), "stomach_contents", texture=0.1),
    ]


def _bowel(frame: Frame, wall: Shape) -> list[Structure]:
    duodenum = frame.organ("duodenum", (30, 20, 1160)).tube(
        [(26, 32, 1180), (46, 22, 1178), (52, 10, 1160), (48, 6, 1130), (28, 6, 1122), (-4, 12, 1128),
         (-26, 22, 1144)], [11, 12, 12, 12, 11.5, 11, 11])  # fmt: skip
    return [
        *_small_bowel(frame, wall),
        Structure(
            "duodenum",
            rippled(frame.patient, "duodenum", duodenum, 1.2, 20),
            "duodenum",
            texture=0.2,
        ),
        *_colon(frame, wall),
    ]


def winding(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """A loop that wanders through the unit ball without leaving it, [count, 3]."""
    steps = np.empty((count, 3))
    position, heading = np.array([-0.3, 0.2, 0.8]), np.array([0.0, 0.3, -1.0])
    for n in range(count):
        heading = (
            heading
            + rng.normal(0, 0.75, 3)
            - 1.1 * position * np.maximum(position @ position - 0.35, 0) * 3
        )
        heading /= np.linalg.norm(heading)
        position = position + heading * 0.19
        position /= max(1.0, float(np.linalg.norm(position)))
        steps[n] = position
    return steps


def _small_bowel(frame: Frame, wall: Shape) -> list[Structure]:
    rng = frame.patient.stream("small bowel")
    count = 250
    ball = winding(rng, count)
    line = frame.point(ball * (90, 48, 88) + (-4, 26, 1052))
    radius = 12.0 + 2.0 * np.sin(np.arange(count) * 0.9) + rng.normal(0, 0.6, count)
    tube = Within(Tube(line, radius), Grown(wall, -3))
    found = [
        Structure("small_bowel", tube, "small_bowel", texture=0.3, grain_mm=(30, 120)),
        Structure("small_bowel_contents", Grown(tube, -5), "bowel_contents", texture=0.2),
    ]
    return found


def _colon(frame: Frame, wall: Shape) -> list[Structure]:
    rng = frame.patient.stream("colon")
    line = np.array(
        [
            (92, 18, 1010), (98, 12, 1040), (102, 4, 1080), (102, 2, 1120), (92, 18, 1142), (70, 46, 1130),
            (40, 60, 1112), (6, 64, 1104), (-30, 62, 1116), (-62, 52, 1144), (-88, 22, 1186), (-100, -8, 1196),
            (-106, -20, 1160), (-107, -20, 1120), (-106, -14, 1070), (-102, -2, 1030), (-92, 10, 1000),
            (-70, 14, 980), (-44, 4, 985), (-24, -10, 1005), (-2, -24, 996), (4, -44, 975), (0, -54, 950),
        ],
        float,
    )  # fmt: skip
    line = line + rng.normal(0, 5, line.shape)
    dense = _resample(frame.point(line), 9.0)
    s = np.linspace(0, 1, len(dense))
    calibre = np.interp(s, [0, 0.15, 0.5, 0.62, 1], [24, 23, 18, 14.5, 14.5])
    radius = calibre * (
        1 + 0.11 * np.sin(np.arange(len(dense)) * 2.1) + rng.normal(0, 0.03, len(dense))
    )
    tube = Within(Tube(dense, radius), Grown(wall, -2))
    rectum = frame.organ("rectum", (0, -52, 920)).tube(
        [(0, -54, 950), (0, -62, 925), (0, -54, 895), (0, -46, 865)], [16, 18, 16, 10]
    )
    return [
        Structure("colon", tube, "colon", texture=0.4, grain_mm=(40, 150)),
        Structure(
            "colon_contents", Grown(tube, -4), "bowel_contents", texture=0.3, grain_mm=(30, 90)
        ),
        Structure("rectum", rectum, "rectum", texture=0.15),
    ]


def _resample(points: NDArray[np.float64], step_mm: float) -> NDArray[np.float64]:
    """A smooth line through the points, a point every step."""
    from scipy.interpolate import CubicSpline

    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    spline = CubicSpline(length, points, axis=0)
    return spline(np.linspace(0, length[-1], int(length[-1] / step_mm) + 1))
