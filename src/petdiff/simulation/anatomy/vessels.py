"""The great vessels, as tubes of blood."""

from __future__ import annotations

import numpy as np

from petdiff.simulation.anatomy.frame import Frame
from petdiff.simulation.anatomy.spine import spine_y
from petdiff.simulation.anatomy.structure import Structure
from petdiff.simulation.shapes.combined import Union
from petdiff.simulation.shapes.signed_distance import Shape


def vessels(frame: Frame) -> list[Structure]:
    """Return aorta, venae cavae, pulmonary artery, and vessels of neck, arms, pelvis and thighs."""
    return [
        _blood("aorta", _aorta(frame)),
        _blood("inferior_vena_cava", _lower_cava(frame)),
        _blood(
            "superior_vena_cava",
            frame.tube([(34, 12, 1340), (30, 8, 1390), (26, 14, 1420)], [11, 10, 9]),
        ),
        _blood("pulmonary_artery", _pulmonary_artery(frame)),
        _blood("brachiocephalic_vessels", _upper(frame)),
        *_lower(frame),
    ]


def _blood(name: str, shape: Shape) -> Structure:
    return Structure(name, shape, "blood", texture=0.03)


def _aorta(frame: Frame) -> Shape:
    chest, belly = np.linspace(1385, 1225, 8), np.linspace(1205, 1062, 8)
    arch = [(4, 4, 1335), (14, 16, 1365), (14, 20, 1395), (2, 8, 1415), (-12, -14, 1418),
            (-22, -34, 1405)]  # fmt: skip
    down = np.stack([0 * chest - 22, spine_y(chest) + 26, chest], axis=1)
    lower = np.stack([np.linspace(-18, -4, 8), spine_y(belly) + 31, belly], axis=1)
    radius = [15.5, 15.5, 15.5, 14, 14, 14, *np.linspace(13, 11.5, 8), *np.linspace(10.5, 8.5, 8)]
    return frame.tube(np.concatenate([arch, down, lower]), radius)


def _lower_cava(frame: Frame) -> Shape:
    z = np.linspace(1056, 1200, 6)
    line = np.stack([0 * z + 20, spine_y(z) + 30, z], axis=1)
    line = np.concatenate([line, [(30, 0, 1250), (34, 8, 1290)]])
    return frame.tube(line, [10, 10, 10.5, 11, 11, 11.5, 12, 13])


def _pulmonary_artery(frame: Frame) -> Shape:
    return Union(
        [
            frame.tube([(-20, 34, 1345), (-16, 16, 1375), (-12, 0, 1385)], [15, 14, 13]),
            frame.tube([(-12, 0, 1385), (20, -14, 1380), (52, -20, 1370)], [12, 11, 8]),
            frame.tube([(-12, 0, 1385), (-34, -18, 1385), (-56, -26, 1372)], [12, 10, 8]),
        ],
        blend_mm=4,
    )


def _upper(frame: Frame) -> Shape:
    right = [(10, 14, 1412), (22, 6, 1440), (44, -4, 1452), (110, -10, 1440)]
    left = [(-10, 0, 1420), (-26, -8, 1445), (-50, -8, 1454), (-110, -10, 1440)]
    return Union(
        [
            frame.tube(right, [7, 6.5, 6, 5]),
            frame.tube(left, [6, 6, 6, 5]),
            frame.tube([(22, 6, 1440), (26, 8, 1500), (30, 10, 1570)], [5.5, 5, 4.5]),
            frame.tube([(-6, 2, 1420), (-24, 6, 1500), (-30, 10, 1570)], [5.5, 5, 4.5]),
        ]
    )


def _lower(frame: Frame) -> list[Structure]:
    structures = []
    line = np.array([(2, -2, 1064), (26, -18, 1030), (48, -16, 990), (70, 26, 945), (82, 34, 900),
                     (88, 26, 820), (84, 4, 680), (84, -26, 540)], float)  # fmt: skip
    for side, side_name in ((1, "right"), (-1, "left")):
        artery = frame.tube(line, [8, 7.5, 7, 6, 5, 4.2, 3.6, 3.2], side)
        vein = frame.tube(line + np.array((-4, -13, 0)), [8, 8, 7.5, 7, 6, 5, 4.5, 4], side)
        structures.append(_blood(f"iliac_artery_{side_name}", artery))
        structures.append(_blood(f"iliac_vena_{side_name}", vein))
    return structures
