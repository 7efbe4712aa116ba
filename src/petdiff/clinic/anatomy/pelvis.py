"""Bladder, prostate and testes or uterus and ovaries."""

from __future__ import annotations

from petdiff.clinic.anatomy.frame import Frame, turn
from petdiff.clinic.anatomy.structure import Structure, rippled
from petdiff.clinic.implicit import Union


def pelvis(frame: Frame) -> list[Structure]:
    """The pelvic organs; the bladder is painted last, for it pushes the others aside."""
    inner = _male(frame) if frame.patient.sex == "male" else _female(frame)
    bladder = frame.organ("bladder", (0, 22, 915))
    wall = rippled(frame.patient, "bladder", bladder.ellipsoid((0, 24, 928), (40, 33, 33)), 2, 60)
    from petdiff.clinic.implicit import Grown

    return [
        *inner,
        Structure("urinary_bladder_wall", Grown(wall, 3), "muscle"),
        Structure("urinary_bladder", wall, "bladder", texture=0.02),
    ]


def _male(frame: Frame) -> list[Structure]:
    prostate = frame.organ("prostate", (0, 4, 884))
    scrotum = frame.organ("testes", (0, 60, 815))
    found = [
        Structure("prostate", rippled(frame.patient, "prostate",
                  prostate.ellipsoid((0, 4, 884), (22, 16, 18)), 1, 25), "prostate", texture=0.12),
        Structure("seminal_vesicles", Union([prostate.tube([(s * 4, -14, 900), (s * 26, -22, 908)], [5, 4])
                  for s in (1, -1)]), "seminal_vesicle"),
    ]  # fmt: skip
    for side in (1, -1):
        found.append(
            Structure("testes", scrotum.ellipsoid((side * 17, 62, 812), (13, 15, 22)), "testis")
        )
    return found


def _female(frame: Frame) -> list[Structure]:
    uterus = frame.organ("uterus", (0, -10, 940))
    shape = Union(
        [
            uterus.ellipsoid((0, 0, 966), (27, 22, 30), turn(x=35)),
            uterus.tube([(0, -6, 945), (0, -18, 912)], [14, 13]),
        ],
        10,
    )
    found = [
        Structure("uterus", rippled(frame.patient, "uterus", shape, 2, 35), "uterus", texture=0.12)
    ]
    for side in (1, -1):
        ovary = frame.organ(f"ovary_{side}", (side * 44, -10, 958))
        found.append(
            Structure("ovaries", ovary.ellipsoid((side * 44, -10, 958), (9, 13, 16)), "ovary")
        )
    return found
