"""The scanners: geometry, sensitivity, timing, resolution and clinical protocol of each.

Sensitivity along the axis follows from geometry. A point on the axis is measured along the lines
through it that end on detectors at both sides. With the axial reach h = min(distance to the
nearer end, half the largest ring difference) and the ring radius R, these lines are the
fraction g = h / hypot(h, R) = sin(largest obliquity) of all directions. The profile is scaled to
the NEMA sensitivity, which is measured with a line source of 700 mm.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petdiff.errors import UsageError
from petdiff.simulation.scanner.resolution import Resolution

NEMA_LINE_MM = 700.0
LIGHT_MM_PER_PS = 0.299792458


@dataclass(frozen=True)
class Scanner:
    """A scanner and its clinical whole-body protocol.

    axial_field_mm, ring_radius_mm  detectors' extent along the axis, and their distance from it
    max_ring_difference_mm          largest axial distance between two detectors in coincidence
    nema_cps_per_bq                 NEMA NU 2 sensitivity on the axis
    tof_ps                          coincidence timing resolution, FWHM
    fwhm_mm, axial_fwhm_mm          NEMA NU 2 resolution with 18F near the axis
    scatter_fraction                scatter / (trues + scatter)
    randoms_fraction                randoms / prompts in a clinical scan
    voxel_mm                        image grid (i, j, k)
    iterations, subsets             of OSEM with the point spread of the scanner
    filter_fwhm_mm                  Gaussian filter of the images: transaxial, axial
    motion                          "single": one bed; "beds": several beds; "continuous":
                                    continuous bed motion
    bed_seconds                     time of each bed; in continuous motion, the time a slice spends
                                    in the field
    overlap                         of neighbouring beds, as a fraction of the axial field
    held_out                        True: for tests only; not used for training by default
    """

    label: str
    axial_field_mm: float
    ring_radius_mm: float
    max_ring_difference_mm: float
    nema_cps_per_bq: float
    tof_ps: float
    fwhm_mm: float
    axial_fwhm_mm: float
    scatter_fraction: float
    randoms_fraction: float
    voxel_mm: tuple[float, float, float]
    iterations: int
    subsets: int
    filter_fwhm_mm: tuple[float, float]
    motion: Literal["single", "beds", "continuous"]
    bed_seconds: float
    overlap: float
    held_out: bool = False

    @property
    def tof_fwhm_mm(self) -> float:
        """Return the position uncertainty along the line in mm: c/2 times the timing resolution."""
        return self.tof_ps * LIGHT_MM_PER_PS / 2

    @property
    def resolution(self) -> Resolution:
        return Resolution(self.fwhm_mm, self.axial_fwhm_mm, self.ring_radius_mm)

    @property
    def transaxial_field_mm(self) -> float:
        """Return the diameter in mm of the widest object that fits: 0.9 of the detector ring's."""
        return 2 * self.ring_radius_mm * 0.9

    def acceptance(self, z_mm: ArrayLike) -> NDArray[np.float64]:
        """Return the fraction g of directions detected from an axial point z_mm from the centre."""
        to_end_mm = np.maximum(self.axial_field_mm / 2 - np.abs(np.asarray(z_mm, float)), 0)
        reach_mm = np.minimum(to_end_mm, self.max_ring_difference_mm / 2)
        fraction: NDArray[np.float64] = reach_mm / np.hypot(reach_mm, self.ring_radius_mm)
        return fraction

    def cps_per_bq(self, z_mm: ArrayLike) -> NDArray[np.float64]:
        """Return coincidences per second and Bq in air, for a point on the axis at z_mm.

        z_mm is the distance from the field's centre.
        """
        line_mm = np.linspace(-NEMA_LINE_MM / 2, NEMA_LINE_MM / 2, 7001)
        mean = float(self.acceptance(line_mm).mean())
        return self.nema_cps_per_bq / mean * self.acceptance(z_mm)


SCANNERS: dict[str, Scanner] = {
    # Prenosil et al., J Nucl Med 2022, doi 10.2967/jnumed.121.261972, at ring difference 85.
    "quadra": Scanner(
        label="Siemens Biograph Vision Quadra",
        axial_field_mm=1060,
        ring_radius_mm=410,
        max_ring_difference_mm=85 * 3.3,
        nema_cps_per_bq=0.083,
        tof_ps=228,
        fwhm_mm=3.4,
        axial_fwhm_mm=3.8,
        scatter_fraction=0.36,
        randoms_fraction=0.30,
        voxel_mm=(1.65, 1.65, 1.65),
        iterations=4,
        subsets=5,
        filter_fwhm_mm=(0.0, 0.0),
        motion="single",
        bed_seconds=600,
        overlap=0.3,
    ),
    # Spencer et al., J Nucl Med 2021, doi 10.2967/jnumed.120.250597.
    "uexplorer": Scanner(
        label="United Imaging uEXPLORER",
        axial_field_mm=1940,
        ring_radius_mm=393,
        max_ring_difference_mm=1940,
        nema_cps_per_bq=0.174,
        tof_ps=505,
        fwhm_mm=3.0,
        axial_fwhm_mm=2.8,
        scatter_fraction=0.36,
        randoms_fraction=0.35,
        voxel_mm=(1.667, 1.667, 2.886),
        iterations=3,
        subsets=10,
        filter_fwhm_mm=(0.0, 0.0),
        motion="single",
        bed_seconds=540,  # not published; chosen to match the noise of real scans
        overlap=0.3,
    ),
    # van Sluis et al., J Nucl Med 2019, doi 10.2967/jnumed.118.215418.
    "vision600": Scanner(
        label="Siemens Biograph Vision 600",
        axial_field_mm=263,
        ring_radius_mm=410,
        max_ring_difference_mm=263,
        nema_cps_per_bq=0.0164,
        tof_ps=210,
        fwhm_mm=3.6,
        axial_fwhm_mm=3.5,
        scatter_fraction=0.38,
        randoms_fraction=0.30,
        voxel_mm=(1.65, 1.65, 2.0),
        iterations=4,
        subsets=5,
        filter_fwhm_mm=(3.0, 3.0),
        motion="continuous",
        bed_seconds=190,
        overlap=0.0,
    ),
    # Hsu et al., J Nucl Med 2017, doi 10.2967/jnumed.116.184739.
    "discovery-mi": Scanner(
        label="GE Discovery MI",
        axial_field_mm=200,
        ring_radius_mm=372,
        max_ring_difference_mm=200,
        nema_cps_per_bq=0.0137,
        tof_ps=375,
        fwhm_mm=4.1,
        axial_fwhm_mm=4.5,
        scatter_fraction=0.406,
        randoms_fraction=0.35,
        voxel_mm=(2.73, 2.73, 2.79),
        iterations=3,
        subsets=16,
        # GE applies two filters: a Gaussian within slices, and weights 1-4-1 ("standard") over
        # three slices. The variance of the latter is a third of the slice thickness squared,
        # which gives this FWHM.
        filter_fwhm_mm=(5.0, 3.8),
        motion="beds",
        bed_seconds=120,
        overlap=0.25,
    ),
    # Rausch et al., EJNMMI Phys 2015, doi 10.1186/s40658-015-0132-1; timing: Jakoby et al., Phys
    # Med Biol 2011, doi 10.1088/0031-9155/56/8/004. Ring difference 49, table at 1 mm/s.
    "mct-flow": Scanner(
        label="Siemens Biograph mCT Flow",
        axial_field_mm=221,
        ring_radius_mm=421,
        max_ring_difference_mm=49 * 4.05,
        nema_cps_per_bq=0.0096,
        tof_ps=527,
        fwhm_mm=4.3,
        axial_fwhm_mm=4.3,
        scatter_fraction=0.335,
        randoms_fraction=0.35,
        voxel_mm=(4.07, 4.07, 3.0),
        iterations=2,
        subsets=21,
        filter_fwhm_mm=(5.0, 5.0),
        motion="continuous",
        bed_seconds=221,
        overlap=0.0,
        held_out=True,
    ),
}


def get_scanner(name: str | Scanner) -> Scanner:
    """Return the scanner of that name; a Scanner is returned unchanged.

    Raises UsageError, with the nearest known name, if there is none.
    """
    if isinstance(name, Scanner):
        return name
    if name in SCANNERS:
        return SCANNERS[name]
    near = difflib.get_close_matches(name.lower(), SCANNERS, n=1, cutoff=0.0)[0]
    raise UsageError(
        f"unknown scanner {name!r}: did you mean {near!r}? choose one of {', '.join(SCANNERS)}"
    )
