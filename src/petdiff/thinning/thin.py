"""Simulate a scan at a share of its dose from the scan alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict

from petdiff.errors import UsageError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.thinning.colour import NoiseColour
from petdiff.thinning.draw import draw, is_signed
from petdiff.thinning.noise_map import noise_map
from petdiff.thinning.replicates import mean_of_some
from petdiff.thinning.spectrum import Widths, share_left
from petdiff.volume.orientation import reoriented, reoriented_back

# Larger values mean that the scan was filtered strongly after its reconstruction. Simulated scans,
# unfiltered and clinically filtered, have an excess of 0.7 to 2.8 and widths of 5 to 7 mm.
_FILTERED_FWHM_MM, _FILTERED_EXCESS = 9.5, 3.0


class ThinningRecord(BaseModel):
    """The record of a thinning.

    drf             dose reduction factor
    how             "noise" was added, or "frames" were left out
    relative_noise  of the scan, median over the body; None for frames
    noise_fwhm_mm   width of its noise along i, j, k of an axial scan (`spectrum`); None for frames
    signed          the reconstruction has negative values, and Gaussian noise was added to it;
                    otherwise the noise is skewed, and no value becomes negative
    frames          numbers of the selected frames, from 1
    warnings        reasons why the result may be wrong, as sentences
    """

    model_config = ConfigDict(frozen=True)
    drf: float
    seed: int
    how: str
    relative_noise: float | None = None
    noise_fwhm_mm: Widths | None = None
    signed: bool = False
    frames: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Thinned:
    """A scan at a lower dose, the full-dose scan, and the record."""

    image: PETImage
    full: PETImage
    record: ThinningRecord


def thin(image: PETImage | PETFrames, drf: float, *, seed: int = 0) -> Thinned:
    """Return a simulation of a scan at 1/drf of its dose.

    image  a full-dose scan in any unit. Of two or more frames that repeat one measurement, a share
           is averaged. Noise is added to any other scan
    drf    dose reduction factor, above 1
    seed   the same seed gives the same scan

    Raises UsageError for a factor that is no reduction, InputRefused for a scan without activity or
    noise, for one too small to measure its noise, and for frames that are no repetitions.
    """
    if not isinstance(image, PETImage | PETFrames):
        raise UsageError(f"`image` is a {type(image).__name__}: read it first, petdiff.read(path)")
    if not 1 < drf < math.inf:
        raise UsageError(f"`drf` {drf}: give a dose reduction factor above 1, 4 for 1/4")
    if seed < 0:
        raise UsageError(f"`seed` {seed}: give a whole number from 0 up")
    if isinstance(image, PETFrames):
        thinned, numbers = mean_of_some(image, drf, seed)
        record = ThinningRecord(drf=drf, seed=seed, how="frames", frames=numbers)
        return Thinned(thinned, image.mean(), record)
    return MeasuredScan(image).thinned(drf, seed)


class MeasuredScan:
    """A scan with its measured noise, which can be thinned repeatedly.

    axial  the scan with its axis along k
    noise  on the grid of `axial`
    """

    def __init__(self, image: PETImage) -> None:
        """Measure the noise. Raises InputRefused as `thin` does."""
        self.image = image
        self.axial = reoriented(image, "LPS")
        self.noise = noise_map(self.axial.values, self.axial.spacing_mm)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons why the measured noise may be wrong, as sentences."""
        return _warnings(self.noise.colour)

    @property
    def noise_at_10_mm(self) -> float:
        """Median relative noise of the body after a Gaussian filter with a FWHM of 10 mm.

        It hardly depends on the voxel size.
        """
        left = share_left(self.noise.colour.fwhm_mm, self.axial.spacing_mm, 10.0)
        return self.noise.median * math.sqrt(left)

    def thinned(self, drf: float, seed: int) -> Thinned:
        """Return the scan at 1/drf of its dose."""
        axial = self.axial
        drawn = draw(axial.values, self.noise, 1 / drf, axial.spacing_mm, seed)
        record = ThinningRecord(
            drf=drf,
            seed=seed,
            how="noise",
            relative_noise=self.noise.median,
            noise_fwhm_mm=self.noise.colour.fwhm_mm,
            signed=is_signed(axial.values, self.noise),
            warnings=self.warnings,
        )
        image = reoriented_back(replace(axial, values=drawn), self.image)
        return Thinned(image, self.image, record)


def _warnings(colour: NoiseColour) -> tuple[str, ...]:
    """Return reasons why the measured noise may be wrong."""
    if colour.excess > _FILTERED_EXCESS:
        return (
            "the scan shows hardly any noise of its own: it seems to be filtered, and thinning "
            "adds too little",
        )
    if max(colour.fwhm_mm) > _FILTERED_FWHM_MM:
        return (
            f"the scan's noise is correlated over {max(colour.fwhm_mm):.0f} mm: it seems to be "
            "filtered, and its noise is then hard to tell from anatomy",
        )
    return ()
