"""The abdominal cavity and its solid organs: liver, spleen, pancreas, adrenals, kidneys."""

from __future__ import annotations

import numpy as np

from petdiff.simulation.anatomy.frame import Frame, rotation
from petdiff.simulation.anatomy.structure import Structure, rippled
from petdiff.simulation.anatomy.thorax import SIDES, dome
from petdiff.simulation.shapes.combined import Difference, Intersection, Offset, Union
from petdiff.simulation.shapes.random_fields import FloatArray
from petdiff.simulation.shapes.signed_distance import Shape
from petdiff.simulation.shapes.solids import Loft, Tube


def cavity(frame: Frame) -> Loft:
    """Return the abdominal and pelvic cavity below the ribs; fat fills it between organs."""
    knots = np.array(
        [
            (856, 0, -12, 5, 5, 5, 5, 2.0),
            (864, 0, -12, 24, 24, 24, 24, 2.0),
            (880, 0, -10, 40, 40, 40, 40, 2.1),
            (904, 0, -10, 54, 54, 50, 54, 2.2),
            (930, 0, -10, 66, 66, 56, 62, 2.3),
            (980, 0, -6, 84, 84, 56, 82, 2.4),
            (1040, 0, 0, 108, 108, 50, 80, 2.4),
            (1090, 0, 0, 117, 117, 52, 80, 2.4),
            (1150, 0, 0, 122, 122, 66, 84, 2.4),
            (1200, 0, 0, 124, 124, 74, 86, 2.4),
        ]
    )
    width, depth = frame.width_and_depth(knots[:, 0])
    knots[:, 0] = frame.z(knots[:, 0])
    knots[:, 2] *= depth
    knots[:, 3:5] *= width[:, None]
    knots[:, 5:7] *= depth[:, None]
    return Loft(2, knots)


def abdominal_fat(frame: Frame, cage: Shape) -> list[Structure]:
    """Return the fat between abdominal organs, including the space under the diaphragm."""
    domes = Union([Intersection(dome(frame, side), Offset(cage, -3)) for side in (1, -1)])
    shape = rippled(frame.patient, "visceral_fat", Union([cavity(frame), domes]), 3, 40)
    return [Structure("visceral_fat", shape, "fat", "fat", 0.08)]


def abdomen(frame: Frame, wall: Shape) -> list[Structure]:
    """Return the solid organs, limited to the inside of the trunk, `wall`."""
    return [*_spleen(frame, wall), *_liver(frame, wall), *_pancreas(frame)]


def _liver(frame: Frame, wall: Shape) -> list[Structure]:
    organ = frame.organ("liver", (45, 10, 1225))
    # Sections across x, from the left tip to the right flank: x, then centre and radii in (y, z).
    lobes = organ.loft(
        0,
        [
            (-76, 40, 1256, 6, 6, 6, 8, 2),
            (-54, 40, 1250, 24, 24, 17, 21, 2),
            (-20, 32, 1244, 38, 41, 32, 31, 2),
            (10, 20, 1238, 54, 57, 46, 43, 2.1),
            (45, 4, 1228, 68, 71, 64, 60, 2.2),
            (80, -4, 1218, 74, 75, 86, 70, 2.2),
            (107, -6, 1208, 68, 69, 91, 68, 2.2),
            (126, -8, 1200, 48, 49, 64, 50, 2.1),
            (133, -8, 1196, 20, 20, 26, 22, 2),
        ],
    )
    shape = rippled(frame.patient, "liver", Intersection(lobes, Offset(wall, -4)), 2.5, 60)
    vein = organ.tube([(14, 2, 1190), (34, 6, 1212), (62, 2, 1226)], [7, 6.5, 5])
    bladder = frame.organ("gallbladder", (48, 50, 1160))
    bile = bladder.tube([(38, 32, 1174), (50, 52, 1158), (56, 64, 1144)], [10, 20, 22])
    return [
        Structure(
            "liver", shape, "liver", texture=0.05, wavelength_mm=(12, 80), moves_with_breathing=True
        ),
        Structure("portal_vein_and_splenic_vein", vein, "blood", texture=0.03),
        Structure("gallbladder", bile, "gallbladder"),
    ]


def _spleen(frame: Frame, wall: Shape) -> list[Structure]:
    organ = frame.organ("spleen", (-96, -40, 1232))
    tilt = rotation(x=-28, z=-30)
    bean = Difference(
        organ.ellipsoid((-96, -40, 1232), (27.5, 44.5, 54.5), tilt),
        organ.ellipsoid((-60, -16, 1228), (24, 36, 60), tilt),
    )
    shape = rippled(frame.patient, "spleen", Intersection(bean, Offset(wall, -3)), 2, 40)
    return [Structure("spleen", shape, "spleen", texture=0.05, moves_with_breathing=True)]


def _pancreas(frame: Frame) -> list[Structure]:
    organ = frame.organ("pancreas", (-20, 12, 1190))
    line = [(36, 14, 1160), (28, 20, 1178), (4, 24, 1192), (-24, 14, 1202), (-54, -8, 1212),
            (-76, -24, 1222)]  # fmt: skip
    smooth = organ.tube(line, [20.5, 19.5, 15.5, 15.5, 15.5, 12.5])
    gland = rippled(frame.patient, "pancreas", smooth, 2.2, 20)
    return [Structure("pancreas", gland, "pancreas", texture=0.1), *_adrenals(frame)]


def _adrenals(frame: Frame) -> list[Structure]:
    structures = []
    for side, side_name in SIDES:
        z = 1216 if side > 0 else 1218
        gland = frame.organ(f"adrenal_{side_name}", (side * 38, -32, z))
        ridge = (side * 36, -24, z + 12)
        wings = Union(
            [
                gland.tube([ridge, (side * 33, -42, z - 12)], [6.3, 5.0]),
                gland.tube([ridge, (side * 48, -44, z - 12)], [6.3, 5.0]),
            ],
            blend_mm=2,
        )
        structures.append(Structure(f"adrenal_gland_{side_name}", wings, "adrenal"))
    return structures


def kidneys(frame: Frame) -> list[Structure]:
    """Return kidneys with cortex, medullary pyramids and pelvis, and the ureters."""
    structures = []
    for side, side_name in SIDES:
        name = f"kidney_{side_name}"
        centre = np.array([side * 60.0, -42, 1152 if side > 0 else 1166])
        organ = frame.organ(name, centre)
        axes = rotation(x=-12, y=side * -12, z=side * 35)
        inward = axes @ np.array([-side, 0, 0.0])
        whole = Difference(
            organ.ellipsoid(centre, (31, 26, 59), axes),
            organ.ellipsoid(centre + 28 * inward, (17, 11, 20), axes),
        )
        pyramids = []
        for angle in np.linspace(-1.25, 1.25, 6):
            offset = axes @ np.array([side * 9 * np.cos(angle), 0, 34 * np.sin(angle)])
            pyramids.append(organ.ellipsoid(centre + 4 * inward + offset, (8.5, 11, 8.5), axes))
        outlet = centre + 30 * inward + (0, 2, -12)
        pelvis = Union(
            [
                organ.ellipsoid(centre + 12 * inward, (12, 6, 20), axes),
                organ.tube([centre + 12 * inward, outlet], [7, 4.5]),
            ],
            blend_mm=5,
        )
        structures += [
            Structure(name, rippled(frame.patient, name, whole, 1.2, 30), "kidney_cortex"),
            Structure(f"{name}_medulla", Union(pyramids, 2), "kidney_medulla"),
            Structure(f"{name}_pelvis", pelvis, "kidney_pelvis", texture=0.1),
            _ureter(frame, side, side_name, organ.point(outlet)),
        ]
    return structures


def _ureter(frame: Frame, side: int, side_name: str, start_mm: FloatArray) -> Structure:
    path = [(side * 38, -16, 1085), (side * 34, -10, 1050), (side * 42, -20, 1000),
           (side * 56, -46, 950), (side * 36, -34, 925), (side * 16, -14, 915)]  # fmt: skip
    line = np.concatenate([start_mm[None], frame.point(np.array(path, float))])
    # Urine passes in boluses, so most of the ureter is empty at any time.
    return Structure(
        f"ureter_{side_name}", Tube(line, 2.0), "ureter", texture=1.2, wavelength_mm=(30, 90)
    )
