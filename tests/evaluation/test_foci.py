"""The detector of foci against closed forms: where, how large and strong, how many in noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import erf

from petdiff.evaluation.detection import foci as detector
from petdiff.evaluation.detection.foci import RADII_MM, Foci, find_foci, shell_mm, unexplained
from petdiff.volume.regions import Affine, Volume

MM = (2.0, 2.0, 3.0)
CENTRE = np.array([61.3, 58.9, 70.4])
BALL_RESPONSE = 4 * np.pi * 3**1.5 * (2 * np.pi * np.e) ** -1.5


def affine_of(spacing: tuple[float, float, float] = MM) -> Affine:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-60.0, -50.0, 10.0)
    return affine


def beside(x: float, y: float, z: float) -> np.ndarray:
    return CENTRE + np.array([x, y, z])


def distance_mm(centre: np.ndarray = CENTRE, shape: tuple[int, int, int] = (64, 60, 50)) -> Volume:
    """Return the distance of each voxel from a point, in mm of the grid."""
    at = np.stack(np.meshgrid(*(s * np.arange(n) for s, n in zip(MM, shape, strict=True)),
                              indexing="ij"))  # fmt: skip
    return np.asarray(np.sqrt(((at - centre[:, None, None, None]) ** 2).sum(0)), dtype=np.float32)


@pytest.mark.parametrize("s_mm", [4.0, 5.657, 8.0])
def test_gaussian_is_found_where_and_as_large_as_it_is(s_mm: float) -> None:
    """σ²∇² of a Gaussian of s peaks at σ = s·√(2/3), that is R = √2·s, with 2 (3/5)^2.5 of it."""
    image = np.asarray(1 + 4 * np.exp(-(distance_mm() ** 2) / (2 * s_mm**2)), dtype=np.float32)
    foci = find_foci(image, affine_of())
    assert len(foci) == 1
    assert np.all(np.abs(foci.position_mm[0] - (CENTRE + affine_of()[:3, 3])) < np.array(MM) / 2)
    assert foci.radius_mm[0] == pytest.approx(np.sqrt(2) * s_mm, rel=1e-3)
    expected = 4 * 2 * 0.6**2.5 / BALL_RESPONSE
    assert foci.contrast_suv[0] == pytest.approx(expected, rel=0.06)
    assert foci.background_suv[0] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("radius_mm", [8.0, 16.0])
def test_ball_is_found_with_its_radius_and_contrast(radius_mm: float) -> None:
    foci = find_foci(np.where(distance_mm() < radius_mm, 5, 1).astype(np.float32), affine_of())
    assert np.linalg.norm(foci.position_mm[0] - (CENTRE + affine_of()[:3, 3])) < 1.0
    assert foci.radius_mm[0] == pytest.approx(radius_mm)
    assert foci.contrast_suv[0] == pytest.approx(4, rel=0.06)


def test_turned_and_flipped_grids_show_the_same_foci() -> None:
    image = np.where(distance_mm() < 8, 5, 1).astype(np.float32)
    image += np.where(distance_mm(beside(30, -20, 25)) < 6, 3, 0).astype(np.float32)
    upright = find_foci(image, affine_of())
    turn = np.array([[0, -1, 0, 5], [1, 0, 0, -7], [0, 0, -1, 90], [0, 0, 0, 1.0]])
    turned = find_foci(image, turn @ affine_of())
    np.testing.assert_allclose(turned.score, upright.score)
    expected = upright.position_mm @ turn[:3, :3].T + turn[:3, 3]
    np.testing.assert_allclose(turned.position_mm, expected, atol=1e-9)


def test_scale_of_the_uptake_means_nothing() -> None:
    rng = np.random.default_rng(0)
    image = (1 + 0.2 * rng.standard_normal((64, 60, 50)) + (distance_mm() < 8)).astype(np.float32)
    one, hundred = find_foci(image, affine_of()), find_foci(100 * image, affine_of())
    assert len(one) > 0
    np.testing.assert_allclose(hundred.score, one.score, rtol=1e-3)


@pytest.mark.parametrize("radius_mm", [4.0, 6.0])
def test_white_noise_gives_as_many_foci_as_theory(
    radius_mm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peaks of a smooth Gaussian field above u standard deviations: as many, for a high u, as its
    Euler characteristic, V·λ^1.5·(2π)^-2·(u² - 1)·exp(-u²/2) (Adler 1981), where the response to
    white noise has the gradient variance λ = 7/(6σ²). The noise is known here, not estimated."""
    image = np.random.default_rng(1).standard_normal((130, 130, 130)).astype(np.float32)
    monkeypatch.setattr(detector, "RADII_MM", (radius_mm,))
    monkeypatch.setattr(detector, "BACKGROUND_WEIGHT", 0.0)
    monkeypatch.setattr(detector, "MIN_SCORE", 1.5)
    foci = find_foci(image, np.eye(4))
    sigma = radius_mm / np.sqrt(3)
    # variance of σ²∇²G ∗ white noise: σ⁴ ∫k⁴ exp(-σ²k²) d³k/(2π)³ = 15/(32 π^1.5 σ³)
    noise = np.sqrt(15 / (32 * np.pi**1.5)) * sigma**-1.5 / BALL_RESPONSE
    inside = np.all((foci.position_mm > 24.5) & (foci.position_mm < 104.5), axis=1)
    assert np.median(foci.noise_suv[inside]) == pytest.approx(noise, rel=0.06)
    for u in (3.0, 3.5):
        found = int((foci.contrast_suv[inside] > u * noise).sum())
        peaks = (7 / 6) ** 1.5 / sigma**3 / (2 * np.pi) ** 2 * (u**2 - 1) * np.exp(-(u**2) / 2)
        assert found == pytest.approx(80**3 * peaks, abs=4 * np.sqrt(80**3 * peaks))


def test_two_lesions_stay_two_and_one_in_a_hot_organ_stays() -> None:
    apart = np.where(distance_mm() < 6, 5, 1) + 3 * (distance_mm(beside(18, 0, 0)) < 6)
    assert (find_foci(apart.astype(np.float32), affine_of()).radius_mm > 4).sum() == 2
    organ = 1 + 3 * (distance_mm() < 30) + 4 * (distance_mm(beside(8, 6, 0)) < 5)
    foci = find_foci(organ.astype(np.float32), affine_of())
    at = np.linalg.norm(foci.position_mm - (beside(8, 6, 0) + affine_of()[:3, 3]), axis=1)
    assert at.min() < 2


def test_what_has_no_focus_gives_none() -> None:
    for flat in (np.zeros((30, 30, 30)), np.ones((30, 30, 30)), np.ones((5, 40, 1))):
        assert len(find_foci(flat.astype(np.float32), affine_of())) == 0
    cold = np.where(distance_mm() < 12, 0, 1).astype(np.float32)
    centre = CENTRE + affine_of()[:3, 3]
    at = np.linalg.norm(find_foci(cold, affine_of()).position_mm - centre, axis=1)
    assert not np.any(at < 6)


@pytest.mark.parametrize("radius", [RADII_MM[0], 10.0, RADII_MM[-1]])
def test_the_focus_itself_hardly_reaches_its_shell(radius: float) -> None:
    """Response to a matched ball, beyond 2 R + 4 mm, is below a twentieth of that at its centre."""
    sigma = radius / np.sqrt(3)
    r = np.linspace(0.1, 4 * radius + 12, 400)

    def blurred(r: np.ndarray) -> np.ndarray:
        a, b = (r + radius) / (np.sqrt(2) * sigma), (r - radius) / (np.sqrt(2) * sigma)
        bell = sigma / (r * np.sqrt(2 * np.pi)) * (np.exp(-(a**2)) - np.exp(-(b**2)))
        # G ∗ ball, a closed form; its Laplacian is (r·G∗ball)″/r
        return np.asarray((erf(a) - erf(b)) / 2 + bell)

    h = 1e-2
    curved = ((r + h) * blurred(r + h) - 2 * r * blurred(r) + (r - h) * blurred(r - h)) / h**2 / r
    response = -(sigma**2) * curved
    shell = np.linalg.norm(shell_mm(radius), axis=1)
    assert shell.min() == pytest.approx(2 * radius + 4)
    assert shell.max() == pytest.approx(3 * radius + 12)
    assert np.abs(response[r >= shell.min()]).max() < response[0] / 20


def test_unexplained_are_foci_that_the_reference_lacks_or_shows_weakly() -> None:
    place = affine_of()
    here, there = (distance_mm(at) < 7 for at in (CENTRE, beside(30, -20, 25)))
    both, one, faint, half = (
        (1 + 4 * here + contrast * there).astype(np.float32) for contrast in (4, 0, 1.8, 2.2)
    )
    foci = find_foci(both, place)
    real = np.linalg.norm(foci.position_mm - (CENTRE + place[:3, 3]), axis=1) < 10
    assert real.any()
    assert not real.all()
    np.testing.assert_array_equal(unexplained(foci, one, place), ~real)
    np.testing.assert_array_equal(unexplained(foci, faint, place), ~real)
    assert not unexplained(foci, half, place).any()
    assert not unexplained(foci, both, place).any()
    assert unexplained(foci, np.ones_like(both), place).all()


def test_a_focus_anywhere_along_a_vessel_is_explained_and_one_beside_it_is_not() -> None:
    """The vessel has no focus of its own but at its ends, which lie outside of the scan."""
    place, at = affine_of(), beside(0, 0, 20)
    across = distance_mm(CENTRE)[:, :, [round(CENTRE[2] / MM[2])]]
    vessel = np.repeat(1 + 3 * (across < 5), 50, axis=2).astype(np.float32)
    spot = 2 * (distance_mm(at) < 5)
    for beside_mm, expected in ((0, False), (5, False), (16, True)):
        foci = find_foci(vessel + np.roll(spot, beside_mm // 2, axis=0).astype(np.float32), place)
        wanted = at + place[:3, 3] + [beside_mm, 0, 0]
        nearest = np.linalg.norm(foci.position_mm - wanted, axis=1).argmin()
        assert np.linalg.norm(foci.position_mm[nearest] - wanted) < 6
        assert unexplained(foci, vessel, place)[nearest] == expected


def test_near_is_within_the_radius_or_6_mm_and_scales_must_be_alike() -> None:
    def focus(off_mm: float, radius_mm: float, contrast: float = 1.0) -> Foci:
        position = (CENTRE + place[:3, 3] + [off_mm, 0, 0])[None]
        return Foci(position, np.array([radius_mm]), *np.full((4, 1), contrast))

    place = affine_of()
    ball = np.where(distance_mm() < 4, 5, 1).astype(np.float32)
    assert not unexplained(focus(0, 4), ball, place)[0]
    assert not unexplained(focus(6, 4), ball, place)[0]
    assert unexplained(focus(14, 4), ball, place)[0]
    assert not unexplained(focus(14, 12), ball, place)[0]
    assert unexplained(focus(6, 4), ball, place, same_place_mm=0)[0]
    # At R = 11.3 mm, the smallest within a factor 3 of 32, a ball of r = 4 mm and contrast 4 has
    # 4 (r/R)³ exp(3(1 - r²/R²)/2) = 0.66, less than half of 2.
    assert unexplained(focus(0, 32, contrast=2), ball, place)[0]
    assert not unexplained(focus(0, 4, contrast=2), ball, place)[0]


def test_score_is_contrast_over_noise_and_a_tenth_of_the_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One ball: noise of 2 a voxel is 0.22 at its scale (the formula above, a voxel being 12 mm³),
    so the score falls to 0.1 / √(0.1² + 0.22²) = 0.41 of what it is in quiet, give or take."""
    quiet = np.where(distance_mm() < 8, 3, 1).astype(np.float32)
    grain = 2.0 * np.random.default_rng(3).standard_normal(quiet.shape)
    monkeypatch.setattr(detector, "RADII_MM", (8.0,))
    monkeypatch.setattr(detector, "MIN_SCORE", 1.0)
    scores = []
    for image in (quiet, (quiet + grain).astype(np.float32)):
        foci = find_foci(image, affine_of())
        hidden = np.sqrt(foci.noise_suv**2 + (0.1 * foci.background_suv) ** 2)
        np.testing.assert_allclose(foci.score, foci.contrast_suv / hidden)
        scores.append(foci.score[0])
    assert scores[1] == pytest.approx(0.41 * scores[0], rel=0.35)
