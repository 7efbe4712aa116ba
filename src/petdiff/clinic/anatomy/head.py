"""Skull, brain with folded cortex, eyes, glands, mouth and throat, thyroid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petdiff.clinic.anatomy.frame import Frame, turn
from petdiff.clinic.anatomy.structure import Structure, rippled
from petdiff.clinic.implicit import Bounds, Ellipsoid, Grown, Samples, Shape, Tube, Union, Within
from petdiff.clinic.waves import Waves

BRAIN_MM = (0.0, 2.0, 1665.0)


@dataclass(frozen=True)
class WhiteMatter:
    """What the cortex leaves of a hemisphere: grey matter is 3–4 mm thick and follows furrows that
    reach deep where a random field of one wavelength crosses zero."""

    brain: Shape
    folds: Waves
    cortex_mm: float = 4.2
    furrow_mm: float = 24.0

    @property
    def bounds(self) -> Bounds:
        return self.brain.bounds

    def distance(self, at: Samples) -> NDArray[Any]:
        furrow = np.exp(-((self.folds.on(at.axes_mm) / np.float32(0.36)) ** 2))
        return self.brain.distance(at) + self.cortex_mm + np.float32(self.furrow_mm) * furrow


def head(frame: Frame) -> list[Structure]:
    """Everything above the shoulders that is not spine."""
    return _skull(frame) + _face(frame) + _brain(frame) + _glands(frame)


def _cranium(frame: Frame) -> Shape:
    place = frame.organ("brain", BRAIN_MM)
    upper = place.ellipsoid((0, 2, 1668), (67, 85, 66))
    back = place.ellipsoid((0, -34, 1625), (52, 44, 34))
    front = place.ellipsoid((0, 20, 1640), (58, 58, 36))
    return Union([upper, back, front], 14)


def _skull(frame: Frame) -> list[Structure]:
    vault = Grown(_cranium(frame), 6.5)
    place = frame.organ("face", (0, 60, 1590))
    face = Union(
        [
            place.ellipsoid((0, 62, 1598), (42, 26, 38)),
            place.tube([(58, 0, 1600), (52, 30, 1562), (26, 76, 1548), (0, 86, 1546),
                        (-26, 76, 1548), (-52, 30, 1562), (-58, 0, 1600)], [7, 8, 8, 9, 8, 8, 7]),
        ],
        6,
    )  # fmt: skip
    return [
        Structure("skull", Union([vault, face], 6), "cortical_bone", "cortical", 0.05),
        Structure("skull", Grown(face, -3), "marrow", "marrow", factor=0.5),
        Structure("cerebrospinal_fluid", Grown(_cranium(frame), 1.0), "cerebrospinal_fluid"),
    ]


def _face(frame: Frame) -> list[Structure]:
    place = frame.organ("face", (0, 60, 1590))
    found = [
        Structure("airway", place.ellipsoid((0, 62, 1606), (9, 26, 15)), "gas", "gas"),
        Structure("airway", place.tube([(0, 26, 1604), (0, 14, 1570), (0, 18, 1520)], [9, 8, 8]),
                  "gas", "gas"),
        Structure("pharynx", place.tube([(0, 8, 1610), (0, 2, 1570), (0, 4, 1530)], [8, 7, 7]),
                  "pharynx"),
        Structure("tongue", place.ellipsoid((0, 48, 1565), (25, 34, 23)), "tongue", texture=0.12),
    ]  # fmt: skip
    for side in (1, -1):
        found += [
            Structure("airway", place.ellipsoid((side * 27, 62, 1598), (11, 14, 14)), "gas", "gas"),
            Structure("tonsils", place.ellipsoid((side * 15, 14, 1568), (6, 7, 11)), "tonsil"),
            Structure("eyes", place.ellipsoid((side * 31, 82, 1634), (12, 12, 12)), "eye"),
            Structure(
                "lacrimal_glands", place.ellipsoid((side * 43, 78, 1645), (5, 6, 4)), "lacrimal"
            ),
        ]
    return found


def _brain(frame: Frame) -> list[Structure]:
    place = frame.organ("brain", BRAIN_MM)
    whole = _cranium(frame)
    upper = place.ellipsoid((0, 2, 1676), (66, 83, 58))
    cerebrum = Union([Within(whole, upper), place.ellipsoid((0, 24, 1638), (54, 50, 30))], 8)
    rng = frame.patient.stream("cortex")
    folds = Waves.random(rng, 60, (19, 27), 0.7)
    found = [
        Structure("cerebrum_grey", Grown(cerebrum, -1), "grey_matter", texture=0.07),
        Structure("cerebrum_white", WhiteMatter(cerebrum, folds), "white_matter", texture=0.05),
        Structure("cerebellum", place.ellipsoid((0, -44, 1622), (48, 32, 25)), "cerebellum", texture=0.08),
        Structure("brainstem", place.tube([(0, -2, 1648), (0, -12, 1625), (0, -16, 1602)], [14, 13, 7]),
                  "brainstem"),
        Structure("pituitary", place.ellipsoid((0, 16, 1628), (6, 5, 4)), "pituitary"),
    ]  # fmt: skip
    for side in (1, -1):
        found += [
            Structure("deep_nuclei", place.ellipsoid((side * 24, 16, 1670), (8, 19, 11), turn(z=side * -12)),
                      "deep_grey"),
            Structure("deep_nuclei", place.ellipsoid((side * 12, -8, 1672), (9, 15, 10)), "deep_grey"),
            Structure("deep_nuclei", place.tube([(side * 12, 30, 1676), (side * 16, 12, 1690),
                                                 (side * 18, -10, 1690)], [6, 5, 4]), "deep_grey"),
            Structure("ventricles", place.tube([(side * 7, 30, 1684), (side * 8, 4, 1694),
                                                (side * 16, -24, 1684), (side * 20, -44, 1674)],
                                               [5, 5, 6, 4]), "cerebrospinal_fluid"),
        ]  # fmt: skip
    return found


def _glands(frame: Frame) -> list[Structure]:
    found = []
    for side, word in ((1, "right"), (-1, "left")):
        parotid = frame.organ(f"parotid_{word}", (side * 58, 4, 1580))
        under = frame.organ(f"submandibular_{word}", (side * 30, 40, 1542))
        shape = Union(
            [
                parotid.ellipsoid((side * 60, 10, 1582), (10, 19, 25)),
                parotid.ellipsoid((side * 51, -6, 1576), (11, 11, 19)),
            ],
            8,
        )
        found += [
            Structure(f"parotid_gland_{word}", rippled(frame.patient, f"parotid_{word}", shape, 1.2, 25),
                      "parotid", texture=0.08),
            Structure(f"submandibular_gland_{word}",
                      under.ellipsoid((side * 30, 40, 1542), (11, 19, 15)), "submandibular", texture=0.08),
            Structure("sublingual_glands",
                      frame.organ("face", (0, 60, 1590)).ellipsoid((side * 12, 62, 1552), (5, 13, 5)),
                      "sublingual"),
        ]  # fmt: skip
    thyroid = frame.organ("thyroid", (0, 24, 1486))
    lobes: list[Shape] = [thyroid.tube([(-14, 30, 1480), (14, 30, 1480)], 5)]
    lobes += [thyroid.ellipsoid((side * 19, 20, 1490), (8.5, 10, 24)) for side in (1, -1)]
    found.append(Structure("thyroid_gland", Union(lobes, 4), "thyroid", texture=0.12))
    return found


def throat(frame: Frame) -> Tube:
    return Tube(frame.point(np.array([(0, 18, 1530), (0, 16, 1480)])), 8.5)
