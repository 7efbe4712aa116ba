"""Twins with lesions lost and foci invented on purpose: they must be read so, and nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from petdiff.evaluation.detection.lesion_study import (
    CHANNELS,
    Reading,
    TwinCase,
    Twins,
    channel_outputs,
    read_case,
    readable_part,
)
from petdiff.simulation.anatomy.description import Lesion
from petdiff.volume.regions import Affine, Volume

SHAPE, MM = (48, 40, 70), 3.0  # 3.5 cm longer at either end than what is read of it
LESIONS = (
    Lesion(centre_mm=(-30.0, -20.0, -20.0), radius_mm=6.0, suv=5.0, organ="liver"),
    Lesion(centre_mm=(30.0, 20.0, 20.0), radius_mm=9.0, suv=3.0, organ="liver"),
)
INVENTED_MM, ORGAN_MM = (-30.0, 25.0, 25.0), (35.0, -25.0, -30.0)


def affine() -> Affine:
    place = np.diag([MM, MM, MM, 1.0])
    place[:3, 3] = -MM * (np.array(SHAPE) - 1) / 2
    return place


def balls(*drawn: tuple[tuple[float, float, float], float, float], floor: float = 1.0) -> Volume:
    """Balls of centre, radius and SUV on a flat background."""
    axes = [MM * (np.arange(n) - (n - 1) / 2) for n in SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    suv = np.full(SHAPE, floor, dtype=np.float32)
    for (cx, cy, cz), radius, height in drawn:
        suv[(x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 < radius**2] = height
    return suv


ORGAN = (ORGAN_MM, 10.0, 6.0)
FAKE = (INVENTED_MM, 7.0, 4.0)
PAINTED = tuple((one.centre_mm, one.radius_mm, one.suv) for one in LESIONS)


def case(patient: str = "a", **scans: Twins) -> TwinCase:
    """A hot organ that is no lesion, and two lesions, at full dose without noise."""
    clean = Twins(balls(ORGAN, *PAINTED), balls(ORGAN))
    by_dose = {(method, 20.0): twins for method, twins in scans.items()}
    return TwinCase("scan", patient, affine(), LESIONS, clean, clean, by_dose)


def readings_of(shown: TwinCase) -> dict[str, Reading]:
    return {reading.method: reading for reading in read_case(shown)}


def test_nothing_is_lost_or_invented_by_an_image_that_is_the_truth() -> None:
    full = readings_of(case())["full"]
    assert len(full.lesions) == 2
    assert np.isfinite(full.lesions).all()
    assert full.false == full.invented == ()  # the organ is no false focus


def test_a_lesion_wiped_out_is_lost_and_a_focus_put_in_is_invented() -> None:
    wiped = Twins(balls(ORGAN, PAINTED[1]), balls(ORGAN))
    inventing = Twins(balls(ORGAN, *PAINTED, FAKE), balls(ORGAN, FAKE))
    found = readings_of(case(wiped=wiped, inventing=inventing))
    assert found["wiped"].lesions[0] == -np.inf
    assert found["wiped"].lesions[1] == found["full"].lesions[1]
    assert found["wiped"].invented == ()
    assert len(found["inventing"].invented) == 1
    assert np.isfinite(found["inventing"].lesions).all()


def test_what_full_dose_shows_too_is_false_but_not_invented() -> None:
    """A focus of the full-dose scan's noise belongs to the scan, not to the method."""
    noisy = Twins(balls(ORGAN, *PAINTED, FAKE), balls(ORGAN, FAKE))
    clean = Twins(balls(ORGAN, *PAINTED), balls(ORGAN))
    shown = TwinCase("scan", "a", affine(), LESIONS, clean, noisy, {("kept", 20.0): noisy})
    for reading in read_case(shown):
        assert len(reading.false) == 1
        assert reading.invented == ()


def test_a_focus_that_is_there_without_the_lesion_finds_none() -> None:
    """A hot organ on the lesion's place must not pass for the lesion."""
    hidden = Lesion(centre_mm=ORGAN_MM, radius_mm=6.0, suv=6.0, organ="kidney_left")
    image = balls(ORGAN)
    same = Twins(image, image)
    reading = read_case(TwinCase("scan", "a", affine(), [hidden], same, same, {}))[0]
    assert reading.lesions == (-np.inf,)


def test_strata_are_by_size_and_by_what_was_there_before() -> None:
    reading = read_case(case())[0]
    assert reading.sizes == ("10 to 15 mm", "15 to 25 mm")
    assert reading.contrasts == ("4 to 8 :1", "2 to 4 :1")
    json.dumps(asdict(reading))


def test_channels_show_a_lesion_and_not_what_is_all_around_it() -> None:
    clean = Twins(balls(ORGAN, *PAINTED), balls(ORGAN))
    brighter = Twins(clean.with_lesions + 5, clean.without + 5)
    found = readings_of(case(brighter=brighter))
    absent, present = np.array(found["full"].absent), np.array(found["full"].present)
    assert present.shape == absent.shape == (2, CHANNELS)
    np.testing.assert_allclose(found["brighter"].present, present, atol=1e-5)
    np.testing.assert_allclose(absent, 0, atol=1e-5)
    # Each channel has unit norm; the first is a Gaussian: a matched filter of what is there.
    assert (present[:, 0] > 10).all()


def test_channels_of_a_lesion_between_voxels_are_those_of_one_on_a_voxel() -> None:
    at_voxel = (affine() @ [20, 20, 35, 1])[:3]
    for shift in (0.0, 0.5 * MM):
        centre = tuple(float(c) for c in at_voxel + shift)
        lesion = Lesion(centre_mm=centre, radius_mm=8.0, suv=5.0, organ="liver")
        i, j, k = np.indices(SHAPE)
        mm = MM * np.stack([i, j, k], axis=-1) + affine()[:3, 3]
        blob = np.exp(-((mm - centre) ** 2).sum(-1) / (2 * 5.0**2))
        outputs = channel_outputs(blob.astype(np.float32), affine(), lesion)
        width = 2 * 8.0 + 6.0
        r = np.linspace(0, 60, 60001)
        channel = np.exp(-np.pi * r**2 / width**2)
        shell = 4 * np.pi * r**2 / MM**3 * (r[1] - r[0])
        norm = np.sqrt((shell * channel**2).sum())
        expected = (shell * channel * np.exp(-(r**2) / 50)).sum() / norm
        assert outputs[0] == pytest.approx(expected, rel=0.01)


def test_air_and_the_ends_of_the_scan_are_not_read() -> None:
    """Neither foci nor lesions there count, whichever way the scan lies in memory."""
    end_mm = (0.0, 0.0, 80.0)
    lesion = Lesion(centre_mm=end_mm, radius_mm=6.0, suv=5.0, organ="liver")
    air = balls(ORGAN)
    air[:10] = 0
    fake = balls(ORGAN, (end_mm, 6.0, 5.0), ((-63.0, 0.0, 0.0), 5.0, 4.0))
    spikes = np.where(air > 0, fake, np.where(fake > 1, fake, 0)).astype(np.float32)
    turned = affine()[:, [2, 0, 1, 3]]
    for axes, place in (((0, 1, 2), affine()), ((2, 0, 1), turned)):
        truth, shown = (np.ascontiguousarray(v.transpose(axes)) for v in (air, spikes))
        twins = Twins(shown, shown)
        found = read_case(TwinCase("scan", "a", place, [lesion], Twins(truth, truth), twins, {}))[0]
        assert (found.lesions, found.false) == ((), ())
        assert readable_part(truth, place).sum() == readable_part(air, affine()).sum() > 0
