"""Muscle groups of the limbs and the buttocks, and the fat between them."""

from __future__ import annotations

import numpy as np

from petdiff.simulation.anatomy.body import LEG, arm_line
from petdiff.simulation.anatomy.frame import Frame
from petdiff.simulation.anatomy.structure import Structure
from petdiff.simulation.shapes.combined import Intersection, Offset, Union
from petdiff.simulation.shapes.signed_distance import Shape

# Right side, in mm of the reference body: points (x, y, z) along each muscle, and its radius at
# each point.
Belly = tuple[tuple[tuple[float, float, float], ...], tuple[float, ...]]
LEG_MUSCLES: dict[str, Belly] = {
    "gluteus maximus, above": (((58, -86, 1000), (100, -74, 940), (134, -44, 890)), (18, 28, 18)),
    "gluteus maximus, below": (((50, -88, 950), (92, -80, 890), (126, -50, 840)), (18, 30, 18)),
    "gluteus medius": (((122, -6, 1035), (140, -14, 960), (142, -16, 915)), (20, 24, 14)),
    "rectus femoris": (((92, 42, 905), (94, 50, 760), (90, 46, 560)), (17, 23, 10)),
    "vastus lateralis": (((132, 8, 860), (136, 16, 720), (116, 24, 560)), (22, 31, 16)),
    "vastus medialis": (((72, 34, 780), (62, 26, 640), (62, 20, 545)), (16, 25, 18)),
    "vastus intermedius": (((104, 26, 800), (98, 30, 620)), (18, 15)),
    "adductors": (((46, 6, 880), (54, -12, 770), (70, -14, 620)), (27, 35, 14)),
    "sartorius": (((118, 46, 940), (60, 48, 740), (50, 4, 540)), (9, 11, 9)),
    "biceps femoris": (((108, -62, 840), (118, -46, 700), (120, -34, 530)), (18, 27, 13)),
    "semimembranosus": (((76, -66, 840), (74, -54, 700), (64, -34, 530)), (21, 28, 14)),
    "gastrocnemius medialis": (((68, -36, 480), (66, -44, 370), (80, -36, 250)), (16, 26, 11)),
    "gastrocnemius lateralis": (((108, -36, 480), (110, -42, 370), (96, -36, 250)), (14, 24, 10)),
    "soleus": (((90, -28, 400), (88, -34, 270), (84, -36, 130)), (14, 25, 10)),
    "tibialis anterior": (((106, 14, 440), (104, 18, 310), (88, 18, 120)), (11, 15, 6)),
    "peronei": (((122, -8, 430), (118, -8, 280), (106, -26, 110)), (9, 13, 6)),
}  # fmt: skip
# Muscles of the arm: start and end, as fractions of the length from shoulder to elbow or from elbow
# to wrist; lateral and forward offsets from that line in mm; radii in mm.
UPPER_ARM = (((0.1, 0.95), (-4, 19), (17, 23, 12)), ((0.05, 0.95), (4, -20), (19, 24, 13)))
FOREARM = (((0.02, 0.7), (-13, 6), (15, 20, 8)), ((0.02, 0.7), (14, -4), (14, 19, 8)))
OVERLAP_MM = 5.5  # overlap of neighbouring muscles in a body of mean fatness
UPTAKE_SD = 0.1  # standard deviation of the logarithm of a muscle's relative uptake
FAT_GAP_MM = 1.5  # space for fat between two muscles at a fatness of 1


def muscle_groups(frame: Frame, lean: Shape) -> list[Structure]:
    """Return the fat between the muscles of arms and legs, then the muscles, each with its uptake.

    They are drawn over the muscle layer of the body, `lean`, and lie within it. Lean patients have
    hardly any fat between muscles.
    """
    rng = frame.patient.stream("muscle groups")
    scale = frame.patient.build * np.sqrt(frame.patient.width * frame.patient.depth)
    fat_gap_mm = FAT_GAP_MM * (frame.patient.fatness - 1)
    fat: list[Shape] = []
    shapes: list[Shape] = []
    for side in (1, -1):
        fat.append(frame.tube(LEG[:, :3], 0.72 * LEG[:, 3], side, scale))
        for line, radius in LEG_MUSCLES.values():
            shapes.append(Offset(frame.tube(line, radius, side, scale), OVERLAP_MM - fat_gap_mm))
        shapes += _arm_bellies(frame, side, scale)
    muscles = [
        Structure(
            "muscle",
            Intersection(muscle, lean),
            "muscle",
            texture=0.1,
            factor=float(np.exp(rng.normal(0, UPTAKE_SD))),
        )
        for muscle in shapes
    ]
    fat_between = Structure("subcutaneous_fat", Intersection(Union(fat), lean), "fat", "fat", 0.08)
    return [fat_between, *muscles]


def _arm_bellies(frame: Frame, side: int, scale: float) -> list[Shape]:
    line = arm_line(frame)[:, :3]
    shapes: list[Shape] = []
    for (start, stop), groups in (((line[0], line[3]), UPPER_ARM), ((line[3], line[6]), FOREARM)):
        for (first, last), (outward, forward), radius in groups:
            fraction = np.linspace(first, last, 3)[:, None]
            muscle = start + fraction * (stop - start) + (outward, forward, 0)
            shapes.append(frame.tube(muscle, radius, side, scale))
    return shapes
