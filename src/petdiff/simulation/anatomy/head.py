"""The head: skull, face, eyes, salivary and lacrimal glands, mouth and throat; and the thyroid."""

from __future__ import annotations

from petdiff.simulation.anatomy.brain import cranium
from petdiff.simulation.anatomy.frame import Frame
from petdiff.simulation.anatomy.structure import Structure, rippled
from petdiff.simulation.shapes.combined import Offset, Union
from petdiff.simulation.shapes.signed_distance import Shape

SIDES = ((1, "right"), (-1, "left"))
FACE_MM = (0.0, 60.0, 1590.0)
JAW_MM = ((58, 0, 1600), (52, 30, 1562), (26, 76, 1548), (0, 86, 1546), (-26, 76, 1548),
          (-52, 30, 1562), (-58, 0, 1600))  # fmt: skip


def head(frame: Frame) -> list[Structure]:
    """Return all structures of head and neck except brain and spine."""
    return [*_skull(frame), *_mouth(frame), *_eyes(frame), *_glands(frame)]


def _skull(frame: Frame) -> list[Structure]:
    organ = frame.organ("face", FACE_MM)
    face = Union(
        [organ.ellipsoid((0, 62, 1598), (42, 26, 38)), organ.tube(JAW_MM, [7, 8, 8, 9, 8, 8, 7])],
        blend_mm=6,
    )
    vault = Offset(cranium(frame), 7)
    return [
        Structure("skull", Union([vault, face], 6), "cortical_bone", "cortical", 0.05),
        Structure("skull", Offset(face, -3), "marrow", "marrow", factor=0.5),
        Structure("cerebrospinal_fluid", Offset(cranium(frame), 1.0), "cerebrospinal_fluid"),
    ]


def _mouth(frame: Frame) -> list[Structure]:
    organ = frame.organ("face", FACE_MM)
    air: list[Shape] = [
        organ.ellipsoid((0, 62, 1606), (9, 26, 15)),
        organ.tube([(0, 26, 1604), (0, 14, 1570), (0, 18, 1520)], [9, 8, 8]),
        *(organ.ellipsoid((side * 27, 62, 1598), (11, 14, 14)) for side in (1, -1)),
    ]
    throat = organ.tube([(0, 8, 1610), (0, 2, 1570), (0, 4, 1530)], [8, 7, 7])
    tonsils = [organ.ellipsoid((side * 15, 14, 1568), (6, 7, 11)) for side in (1, -1)]
    tongue = organ.ellipsoid((0, 48, 1565), (24, 33, 22))
    return [
        Structure("airway", Union(air), "gas", "gas"),
        Structure("pharynx", throat, "pharynx"),
        Structure("tongue", tongue, "tongue", texture=0.12),
        Structure("tonsils", Union(tonsils), "tonsil"),
    ]


def _eyes(frame: Frame) -> list[Structure]:
    organ = frame.organ("face", FACE_MM)
    eyes = [organ.ellipsoid((side * 31, 82, 1634), (12, 12, 12)) for side in (1, -1)]
    glands = [organ.ellipsoid((side * 43, 78, 1645), (5, 6, 4)) for side in (1, -1)]
    return [
        Structure("eyes", Union(eyes), "eye"),
        Structure("lacrimal_glands", Union(glands), "lacrimal"),
    ]


def _glands(frame: Frame) -> list[Structure]:
    organ = frame.organ("face", FACE_MM)
    sublingual = [organ.ellipsoid((side * 12, 62, 1552), (5, 13, 5)) for side in (1, -1)]
    structures = [Structure("sublingual_glands", Union(sublingual), "sublingual")]
    for side, side_name in SIDES:
        parotid = frame.organ(f"parotid_{side_name}", (side * 58, 4, 1580))
        lobes: list[Shape] = [
            parotid.ellipsoid((side * 60, 10, 1582), (9.6, 18.2, 24)),
            parotid.ellipsoid((side * 51, -6, 1576), (10.5, 10.5, 18)),
        ]
        parotid_shape = rippled(frame.patient, f"parotid_{side_name}", Union(lobes, 8), 1.2, 25)
        jaw = frame.organ(f"submandibular_{side_name}", (side * 30, 40, 1542))
        submandibular = jaw.ellipsoid((side * 30, 40, 1542), (11, 19, 15))
        structures += [
            Structure(f"parotid_gland_{side_name}", parotid_shape, "parotid", texture=0.08),
            Structure(
                f"submandibular_gland_{side_name}", submandibular, "submandibular", texture=0.08
            ),
        ]
    organ = frame.organ("thyroid", (0, 24, 1486))
    lobes = [organ.ellipsoid((side * 19, 20, 1490), (8.7, 10, 24)) for side in (1, -1)]
    lobes.append(organ.tube([(-14, 30, 1480), (14, 30, 1480)], 5))
    return [*structures, Structure("thyroid_gland", Union(lobes, 4), "thyroid", texture=0.12)]
