"""Bladder; prostate, seminal vesicles and testes, or uterus and ovaries."""

from __future__ import annotations

from petdiff.simulation.anatomy.frame import Frame, rotation
from petdiff.simulation.anatomy.structure import Structure, rippled
from petdiff.simulation.shapes.combined import Offset, Union
from petdiff.simulation.shapes.signed_distance import Shape


def pelvis(frame: Frame) -> list[Structure]:
    """Return the pelvic organs; the bladder is drawn last, because it displaces the others."""
    inner = _male(frame) if frame.patient.sex == "male" else _female(frame)
    # The bladder neck is fixed, so that a fuller bladder reaches higher.
    organ = frame.organ("bladder", (0, 16, 898))
    urine = rippled(frame.patient, "bladder", organ.ellipsoid((0, 24, 928), (43, 35, 33)), 3, 70)
    return [
        *inner,
        Structure("urinary_bladder_wall", Offset(urine, 3), "muscle"),
        Structure("urinary_bladder", urine, "bladder", texture=0.02),
    ]


def _male(frame: Frame) -> list[Structure]:
    organ = frame.organ("prostate", (0, 4, 884))
    gland = rippled(frame.patient, "prostate", organ.ellipsoid((0, 4, 882), (19.5, 14, 16)), 1, 25)
    vesicles: list[Shape] = []
    testes: list[Shape] = []
    for side in (1, -1):
        vesicles.append(organ.tube([(side * 4, -14, 900), (side * 26, -22, 908)], [5, 4]))
        testes.append(frame.ellipsoid((17, 62, 812), (13, 15, 22), side))
    return [
        Structure("prostate", gland, "prostate", texture=0.12),
        Structure("seminal_vesicles", Union(vesicles), "seminal_vesicle"),
        Structure("testes", Union(testes), "testis"),
    ]


def _female(frame: Frame) -> list[Structure]:
    organ = frame.organ("uterus", (0, -10, 940))
    womb = Union(
        [
            organ.ellipsoid((0, 0, 966), (29, 24, 32), rotation(x=35)),
            organ.tube([(0, -6, 945), (0, -18, 912)], [15, 14]),
        ],
        blend_mm=10,
    )
    ovaries = Union([frame.ellipsoid((44, -10, 958), (8.5, 12, 15), side) for side in (1, -1)])
    return [
        Structure("uterus", rippled(frame.patient, "uterus", womb, 2, 35), "uterus", texture=0.12),
        Structure("ovaries", ovaries, "ovary"),
    ]
