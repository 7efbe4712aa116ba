"""Stomach, duodenum, small bowel and colon: winding tubes with a wall and contents."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from petdiff.simulation.anatomy.frame import Frame
from petdiff.simulation.anatomy.structure import Structure, rippled
from petdiff.simulation.shapes.combined import Intersection, Offset
from petdiff.simulation.shapes.random_fields import FloatArray
from petdiff.simulation.shapes.signed_distance import Shape
from petdiff.simulation.shapes.solids import Tube


def bowel(frame: Frame, wall: Shape) -> list[Structure]:
    """Return all parts of the bowel and the stomach, limited to the inside of the trunk, `wall`."""
    return [
        *_small_bowel(frame, wall),
        *_duodenum(frame),
        *_colon(frame, wall),
        *_stomach(frame, wall),
    ]


def _stomach(frame: Frame, wall: Shape) -> list[Structure]:
    organ = frame.organ("stomach", (-52, 22, 1225))
    line = [(-58, -8, 1254), (-62, 6, 1236), (-58, 30, 1210), (-40, 48, 1184), (-14, 52, 1172),
            (14, 42, 1176), (26, 32, 1180)]  # fmt: skip
    shape = Intersection(organ.tube(line, [30, 36, 33, 26, 21, 15, 11]), Offset(wall, -4))
    outer = rippled(frame.patient, "stomach", shape, 2, 40)
    return [
        Structure("stomach", outer, "stomach", texture=0.15),
        Structure("stomach_contents", Offset(outer, -4.5), "stomach_contents", texture=0.1),
    ]


def _duodenum(frame: Frame) -> list[Structure]:
    line = [(26, 32, 1180), (46, 22, 1178), (52, 10, 1160), (48, 6, 1130), (28, 6, 1122),
            (-4, 12, 1128), (-26, 22, 1144)]  # fmt: skip
    tube = frame.organ("duodenum", (30, 20, 1160)).tube(line, [11, 12, 12, 12, 11.5, 11, 11])
    shape = rippled(frame.patient, "duodenum", tube, 1.2, 20)
    return [Structure("duodenum", shape, "duodenum", texture=0.2)]


def _small_bowel(frame: Frame, wall: Shape) -> list[Structure]:
    rng = frame.patient.stream("small bowel")
    count = 270
    winding = rng.uniform(0.5, 0.95)
    centre = np.array((-4, 26, 1052)) + rng.normal(0, (6, 3, 8))
    extent = np.array((90, 48, 88)) * np.exp(rng.normal(0, 0.06, 3))
    line = frame.point(wandering(rng, count, winding) * extent + centre)
    size = np.cbrt(frame.patient.volume.get("small_bowel", 1.0))
    phase = rng.uniform(0.5, 1.3)
    # Filling varies along the bowel.
    filling = np.interp(np.arange(count), np.linspace(0, count, 12), rng.normal(0, 1.4, 12))
    radius = 12.8 + 1.6 * np.sin(np.arange(count) * phase) + filling + rng.normal(0, 0.6, count)
    structures: list[Structure] = []
    # Jejunum, then ileum. The ratio of their uptakes differs between patients.
    for part in (slice(0, count // 2 + 1), slice(count // 2, count)):
        tube = Intersection(Tube(line[part], np.maximum(radius[part], 8) * size), Offset(wall, -3))
        factor = float(np.exp(rng.normal(-0.02, 0.22)))
        structures += [
            Structure("small_bowel", tube, "small_bowel", "soft", 0.3, (30, 120), factor),
            Structure("small_bowel_contents", Offset(tube, -5), "bowel_contents", texture=0.2),
        ]
    return structures


def wandering(rng: np.random.Generator, count: int, winding: float = 0.75) -> FloatArray:
    """Return a random walk with inertia that stays inside the unit ball, [count, 3].

    `winding` is the standard deviation of the random change of direction at each step, relative to
    the unit vector of the direction.
    """
    line = np.empty((count, 3))
    position, direction = np.array([-0.3, 0.2, 0.8]), np.array([0.0, 0.3, -1.0])
    for n in range(count):
        inward = position * max(float(position @ position) - 0.35, 0.0)
        direction = direction + rng.normal(0, winding, 3) - 3.3 * inward
        direction /= np.linalg.norm(direction)
        position = position + direction * 0.19
        position /= max(1.0, float(np.linalg.norm(position)))
        line[n] = position
    return line


# Caecum, ascending, transverse and descending colon, sigmoid.
COLON_MM = (
    (92, 18, 1010), (98, 12, 1040), (102, 4, 1080), (102, 2, 1120), (92, 18, 1142), (70, 46, 1130),
    (40, 60, 1112), (6, 64, 1104), (-30, 62, 1116), (-62, 52, 1144), (-88, 22, 1186),
    (-100, -8, 1196), (-106, -20, 1160), (-107, -20, 1120), (-106, -14, 1070), (-102, -2, 1030),
    (-92, 10, 1000), (-70, 14, 980), (-44, 4, 985), (-24, -10, 1005), (-2, -24, 996),
    (4, -44, 975), (0, -54, 950),
)  # fmt: skip


def _colon(frame: Frame, wall: Shape) -> list[Structure]:
    rng = frame.patient.stream("colon")
    path = np.array(COLON_MM, float)
    path[3:-2] += rng.normal(0, 6, (len(path) - 5, 3))
    path[5:9, 2] -= abs(rng.normal(0, 28))  # the height of the transverse colon varies
    line = _resampled(frame.point(path), step_mm=9.0)
    fraction, phase = np.linspace(0, 1, len(line)), np.arange(len(line)) * 2.1
    size = np.cbrt(frame.patient.volume.get("colon", 1.0))
    calibre = np.interp(fraction, [0, 0.15, 0.5, 0.62, 1], [21, 20, 15.5, 13, 13]) * size
    haustra = 1 + 0.11 * np.sin(phase) + rng.normal(0, 0.03, len(line))
    tube = Intersection(Tube(line, calibre * haustra), Offset(wall, -2))
    end = [(0, -54, 950), (0, -62, 925), (0, -54, 895), (0, -46, 865)]
    rectum = frame.organ("rectum", (0, -52, 920)).tube(end, [16, 18, 16, 10])
    return [
        Structure("colon", tube, "colon", "soft", 0.4, (40, 150)),
        Structure("colon_contents", Offset(tube, -4), "bowel_contents", "soft", 0.3, (30, 90)),
        Structure("rectum", rectum, "rectum", texture=0.15),
    ]


def _resampled(points_mm: ArrayLike, step_mm: float) -> FloatArray:
    """Return a smooth line through the points, sampled at steps of `step_mm`."""
    points = np.asarray(points_mm, float)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0, length[-1], int(length[-1] / step_mm) + 1)
    line: FloatArray = CubicSpline(length, points, axis=0)(at)
    return line
