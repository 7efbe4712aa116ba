"""Detect foci of uptake with one fixed detector, the same for all methods.

A Laplacian of Gaussian at each scale (Lindeberg 1998) gives the contrast of a ball to its
surroundings. The score is the contrast divided by the root of the sum of two squares: the standard
deviation of the same response in a shell around the ball (as for a constant false alarm rate in
radar), and a fraction of the background, because readers ignore faint foci even without noise. Hot
organs give foci too; lesion_study finds false foci with a scan of the same patient without lesions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, gaussian_filter, maximum_filter
from scipy.spatial import cKDTree

from petdiff.image import spacing_of
from petdiff.volume.regions import Affine, Spacing, Volume, body_box, typical_uptake

Values = NDArray[np.float64]

RADII_MM = tuple(2 * 2 ** (n / 2) for n in range(9))  # 2 … 32, a factor √2 apart
MIN_SCORE = 4.0
BACKGROUND_WEIGHT = 0.1  # this fraction of the background counts as one standard deviation
_LEAST_BACKGROUND = 0.25  # of typical uptake; a lower background counts as this in scores
SAME_PLACE_MM = 6.0  # about a scanner's resolution

# Response of a ball of uptake 1 at its centre, at its own scale σ = R/√3: 4πR³ G_σ(R).
_BALL_RESPONSE = 4 * np.pi * 3**1.5 * (2 * np.pi * np.e) ** -1.5
_SECOND_DERIVATIVE = np.array([-1, 16, -30, 16, -1]) / 12  # central, of fourth order
_COARSE = 4.0  # from this σ in voxels on, every second plane is left out
_SHELL_DIRECTIONS, _SHELL_RADII = 48, 3
_POINTS_OF_FIRST_PASS = slice(None, None, 7)
_SD_10_TO_90 = 2.563  # normal distribution: 10th to 90th percentile in standard deviations
_CHUNK = 10_000


@dataclass(frozen=True, eq=False)
class Foci:
    """Foci of one image, the highest score first; every array has one entry per focus.

    position_mm    [n, 3], RAS+
    radius_mm      of the ball of the scale with the highest response
    contrast_suv   for a ball: its SUV minus that of its surroundings
    background_suv median of the shell around it
    noise_suv      standard deviation of the contrast in that shell
    score          contrast / √(noise² + (0.1 · background)²)
    """

    position_mm: Values
    radius_mm: Values
    contrast_suv: Values
    background_suv: Values
    noise_suv: Values
    score: Values

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Foci:
        return Foci(*(getattr(self, field.name)[chosen] for field in fields(self)))


def find_foci(suv: Volume, affine: Affine) -> Foci:
    """Find the foci of an image [i, j, k] in SUV, on any grid, with a score of 4 or more.

    Scales below the largest voxel side are left out.
    """
    spacing = spacing_of(affine)
    box = body_box(suv, spacing)
    inside = suv[box]
    floor = _LEAST_BACKGROUND * typical_uptake(inside)
    found = []
    for radius, level in _scales(inside, spacing):
        at_scale = level.foci(radius, floor)
        at_scale.position_mm[:] += [span.start for span in box]  # still in voxels of the scan
        found.append(at_scale)
    joined = Foci(*(np.concatenate([getattr(one, f.name) for one in found]) for f in fields(Foci)))
    joined.position_mm[:] = joined.position_mm @ affine[:3, :3].T + affine[:3, 3]
    return _suppress_neighbours(joined)


def unexplained(
    foci: Foci, reference: Volume, affine: Affine, *, same_place_mm: float = SAME_PLACE_MM
) -> NDArray[np.bool_]:
    """Return a mask [focus]: the foci that a reference image [i, j, k] does not have.

    The reference has a focus if its contrast reaches half that of the focus, at a radius within a
    factor 3 and a distance of at most the focus's radius or `same_place_mm`, whichever is more (0:
    only the same voxel). The reference's contrast need not be a focus itself: along a vessel or a
    rib, noise determines where the detector finds foci.
    """
    spacing = spacing_of(affine)
    box = body_box(reference, spacing)
    index = (foci.position_mm - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    voxel = index - [span.start for span in box]
    reach = np.maximum(foci.radius_mm, same_place_mm) if same_place_mm else np.zeros(len(foci))
    shown = np.zeros(len(foci))
    for radius, level in _scales(reference[box], spacing):
        similar = np.abs(np.log(foci.radius_mm / radius)) < np.log(3)
        for distance in np.unique(reach[similar]):
            here = similar & (reach == distance)
            highest = level.highest_near(voxel[here] / level.every, float(distance))
            shown[here] = np.maximum(shown[here], highest)
    return np.asarray(shown < foci.contrast_suv / 2)


@dataclass(frozen=True, eq=False)
class _Level:
    """A scan blurred to one scale, and the contrast of each voxel at this scale in SUV.

    every  subsampling: planes of the scan per plane of these volumes, by axis
    """

    blurred: Volume
    contrast: Volume
    spacing_mm: Values
    every: NDArray[np.intp]

    def foci(self, radius: float, floor: float) -> Foci:
        """Return local maxima of the contrast; positions in voxels of the scan."""
        # No score exceeds contrast / (BACKGROUND_WEIGHT · floor): lower contrasts are left out.
        peak = self.contrast > MIN_SCORE * BACKGROUND_WEIGHT * floor
        peak &= self.contrast == maximum_filter(self.contrast, 3, mode="nearest")
        where = np.argwhere(peak)
        # A first pass with few points of the shell removes most of the noise.
        for points, threshold in ((_POINTS_OF_FIRST_PASS, MIN_SCORE / 2), (slice(None), MIN_SCORE)):
            background, noise = self._surroundings(where, shell_mm(radius)[points])
            off_centre, contrast = self._interpolated_peaks(where)
            masking = np.hypot(noise, BACKGROUND_WEIGHT * np.maximum(background, floor))
            # Without noise and background, any contrast is a focus.
            score = contrast / np.maximum(masking, 1e-9 * contrast.max(initial=1.0))
            kept = score >= threshold
            where = where[kept]
        position = (where + off_centre[kept]) * self.every
        radii = np.full(len(where), radius)
        return Foci(position, radii, contrast[kept], background[kept], noise[kept], score[kept])

    def highest_near(self, where: Values, reach_mm: float) -> Values:
        """Return the highest contrast within a distance of points [n, 3] in these voxels.

        The nearest voxel always counts; points outside the image have contrast 0.
        """
        steps = [np.arange(-n, n + 1) for n in (reach_mm / self.spacing_mm).astype(int)]
        ball = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
        ball = ball[np.linalg.norm(ball * self.spacing_mm, axis=1) <= reach_mm]
        last = np.array(self.contrast.shape) - 1
        middle = np.rint(where).astype(np.intp)
        highest = np.zeros(len(where))
        for step in ball:
            at = middle + step
            inside = np.all((at >= 0) & (at <= last), axis=1)
            found = self.contrast[tuple(at[inside].T)]
            highest[inside] = np.maximum(highest[inside], found)
        return highest

    def _surroundings(self, where: NDArray[np.intp], shell: Values) -> tuple[Values, Values]:
        """Return median uptake, and robust standard deviation of contrast, in shells of voxels."""
        steps = np.rint(shell / self.spacing_mm).astype(np.intp)
        ranks = [round(q * (len(steps) - 1)) for q in (0.1, 0.5, 0.9)]
        shape = self.contrast.shape
        values = np.empty((2, 3, len(where)))
        for start in range(0, len(where), _CHUNK):
            part = slice(start, start + _CHUNK)
            index = np.zeros((len(where[part]), len(steps)), dtype=np.intp)
            for axis, n in enumerate(shape):
                at = np.clip(where[part, None, axis] + steps[:, axis], 0, n - 1)
                index = index * n + at
            for which, image in enumerate((self.blurred, self.contrast)):
                ranked = np.partition(image.ravel()[index], ranks, axis=1)
                values[which, :, part] = ranked[:, ranks].T
        return values[0, 1], (values[1, 2] - values[1, 0]) / _SD_10_TO_90

    def _interpolated_peaks(self, where: NDArray[np.intp]) -> tuple[Values, Values]:
        """Fit parabolas through voxels and their neighbours.

        Returns the distance of each peak from its voxel along each axis, in voxels, and its
        height.
        """
        off = np.zeros(where.shape)
        here = self.contrast[tuple(where.T)].astype(float)
        height = here.copy()
        for axis, n in enumerate(self.contrast.shape):
            sides = []
            for step in (-1, 1):
                near = where.copy()
                near[:, axis] = np.clip(near[:, axis] + step, 0, n - 1)
                sides.append(self.contrast[tuple(near.T)].astype(float))
            slope, bend = (sides[1] - sides[0]) / 2, sides[0] + sides[1] - 2 * here
            bent = bend < 0
            off[bent, axis] = np.clip(-slope[bent] / bend[bent], -0.5, 0.5)
            height += off[:, axis] * slope / 2
        return off, height


def _scales(suv: Volume, spacing_mm: Spacing) -> Iterator[tuple[float, _Level]]:
    """Yield the scan at each radius, from small to large; large radii on coarser grids."""
    spacing = np.array(spacing_mm)
    every = np.ones(3, dtype=np.intp)
    image, reached = suv, 0.0
    for radius in RADII_MM:
        if radius < max(spacing_mm):
            continue
        sigma = radius / np.sqrt(3)
        skip = np.where(sigma >= _COARSE * spacing, 2, 1)
        if reached == 0:
            skip[:] = 1  # not blurred yet: subsampling would cause aliasing
        image = image[tuple(slice(None, None, int(s)) for s in skip)]
        spacing, every = spacing * skip, every * skip
        step = np.sqrt(sigma**2 - reached**2)
        image = gaussian_filter(image, step / spacing, mode="nearest")
        reached = sigma
        yield radius, _Level(image, _ball_contrast(image, spacing, sigma), spacing, every)


def _ball_contrast(blurred: Volume, spacing_mm: Values, sigma_mm: float) -> Volume:
    """Return -σ²∇² of an image blurred by σ, scaled to the uptake of a ball of R = √3·σ."""
    total = np.zeros_like(blurred)
    for axis, size in enumerate(spacing_mm):
        weights = -_SECOND_DERIVATIVE * (sigma_mm / size) ** 2 / _BALL_RESPONSE
        total += convolve1d(blurred, weights, axis=axis, mode="nearest")
    return total


def shell_mm(radius_mm: float) -> Values:
    """Return points [144, 3] of the shell around a focus: 2 R + 4 mm to 3 R + 12 mm away.

    There the response to a ball of radius R is less than 1/20 of that at its centre.
    """
    n = np.arange(_SHELL_DIRECTIONS)
    height = 1 - (2 * n + 1) / _SHELL_DIRECTIONS
    turn = np.pi * (3 - np.sqrt(5)) * n  # the golden angle spreads points evenly on a sphere
    flat = np.sqrt(1 - height**2)
    directions = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=-1)
    radii = np.linspace(2 * radius_mm + 4, 3 * radius_mm + 12, _SHELL_RADII)
    points: Values = (radii[:, None, None] * directions).reshape(-1, 3)
    return points


def _suppress_neighbours(foci: Foci) -> Foci:
    """Remove foci near a focus of higher score (non-maximum suppression).

    Near is within the larger of the two radii or twice the smaller one, whichever is less, so that
    a lesion in a hot organ is not removed.
    """
    foci = foci[np.argsort(-foci.score, kind="stable")]
    if not len(foci):
        return foci
    remaining = np.ones(len(foci), dtype=bool)
    nearby = cKDTree(foci.position_mm)
    for n, (position, radius) in enumerate(zip(foci.position_mm, foci.radius_mm, strict=True)):
        if not remaining[n]:
            continue
        near = np.array(nearby.query_ball_point(position, 2 * radius))
        near = near[(near > n) & remaining[near]]
        other = foci.radius_mm[near]
        reach = np.minimum(np.maximum(other, radius), 2 * np.minimum(other, radius))
        apart = np.linalg.norm(foci.position_mm[near] - position, axis=1)
        remaining[near[apart < reach]] = False
    return foci[remaining]
