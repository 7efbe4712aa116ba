"""Twins with lesions lost and foci invented on purpose: the study must say so, and nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from petdiff.clinic.description import Lesion
from petdiff.evaluation.foci import Affine, Volume
from petdiff.evaluation.lesion_study import (
    Case,
    Reading,
    Row,
    Twins,
    lesion_study,
    read_case,
    readable_part,
    summarise,
)

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


def case(patient: str = "a", **scans: Twins) -> Case:
    """A hot organ that is no lesion, and two lesions, at full dose without noise."""
    clean = Twins(balls(ORGAN, *PAINTED), balls(ORGAN))
    by_dose = {(method, 20.0): twins for method, twins in scans.items()}
    return Case(patient, affine(), LESIONS, clean, clean, by_dose)


def by_metric(rows: list[Row], method: str, patient: str = "a") -> dict[str, float]:
    return {r.metric: r.value for r in rows if (r.patient, r.method) == (patient, method)}


def study(*cases: Case) -> list[Row]:
    return lesion_study(cases, generator=np.random.default_rng(0), resamples=20)


def test_nothing_is_lost_or_invented_by_an_image_that_is_the_truth() -> None:
    rows = by_metric(study(case()), "full")
    assert (rows["lesions"], rows["found"], rows["lost"]) == (2, 2, 0)
    assert (rows["false_foci"], rows["invented_foci"]) == (0, 0)  # the organ is no false focus


def test_a_lesion_wiped_out_is_lost_and_a_focus_put_in_is_invented() -> None:
    wiped = Twins(balls(ORGAN, PAINTED[1]), balls(ORGAN))
    inventing = Twins(balls(ORGAN, *PAINTED, FAKE), balls(ORGAN, FAKE))
    rows = study(case(wiped=wiped, inventing=inventing))
    assert by_metric(rows, "wiped")["lost"] == 1
    assert by_metric(rows, "wiped")["invented_foci"] == 0
    readings = {reading.method: reading for reading in read_case(case(inventing=inventing))}
    assert len(readings["inventing"].invented) == 1
    assert readings["full"].false == ()
    assert np.isfinite(readings["inventing"].lesions).all()


def test_what_full_dose_shows_too_is_false_but_not_invented() -> None:
    """A focus of the full-dose scan's noise belongs to the scan, not to the method."""
    noisy = Twins(balls(ORGAN, *PAINTED, FAKE), balls(ORGAN, FAKE))
    clean = Twins(balls(ORGAN, *PAINTED), balls(ORGAN))
    shown = Case("a", affine(), LESIONS, clean, noisy, {("kept", 20.0): noisy})
    for reading in read_case(shown):
        assert len(reading.false) == 1
        assert reading.invented == ()


def test_a_focus_that_is_there_without_the_lesion_finds_none() -> None:
    """A hot organ on the lesion's place must not pass for the lesion."""
    hidden = Lesion(centre_mm=ORGAN_MM, radius_mm=6.0, suv=6.0, organ="kidney_left")
    image = balls(ORGAN)
    same = Twins(image, image)
    reading = read_case(Case("a", affine(), [hidden], same, same, {}))[0]
    assert reading.lesions == (-np.inf,)


def test_strata_are_by_size_and_by_what_was_there_before() -> None:
    reading = read_case(case())[0]
    assert reading.sizes == ("10 to 15 mm", "15 to 25 mm")
    assert reading.contrasts == ("4 to 8 :1", "2 to 4 :1")
    json.dumps(asdict(reading))


def reading(method: str, lesions: list[float], false: list[float], patient: str = "a") -> Reading:
    strata = ("10 to 15 mm",) * len(lesions), ("2 to 4 :1",) * len(lesions)
    dose = 1.0 if method == "full" else 20.0
    return Reading(patient, method, dose, tuple(lesions), *strata, tuple(false), tuple(false[:1]))


def test_lesions_count_as_lost_at_an_equal_rate_of_false_foci() -> None:
    """Scores ten times lower lose nothing, as long as their order is kept; more false foci do."""
    readings = [
        reading("full", [50.0, 30.0, 9.0], [20.0, 5.0]),
        reading("scaled", [5.0, 3.0, 0.9], [2.0, 0.5]),
        reading("noisy", [50.0, 30.0, 9.0], [40.0, 35.0, 5.0]),
    ]
    rows = summarise(readings, generator=np.random.default_rng(0), resamples=10)
    full, scaled, noisy = (by_metric(rows, method) for method in ("full", "scaled", "noisy"))
    # One false focus a scan: each threshold lies just above its second.
    assert (full["found"], scaled["found"], noisy["found"]) == (3, 3, 1)
    assert (scaled["lost"], noisy["lost"], noisy["gained"]) == (0, 2, 0)
    assert (full["false_foci"], noisy["false_foci"], noisy["invented_foci"]) == (1, 2, 1)


def test_no_false_focus_leaves_the_detector_s_own_threshold() -> None:
    """Lesions must not set it: a faint focus of another method counts as it would beside any."""
    readings = [reading("full", [50.0], []), reading("other", [50.0], [5.0, 4.5])]
    rows = summarise(readings, generator=np.random.default_rng(0), resamples=10)
    assert by_metric(rows, "other")["false_foci"] == 2


def test_miss_rates_count_the_lesions_of_all_patients() -> None:
    readings = [
        reading("full", [9.0, 8.0], [1.0]),
        reading("full", [7.0], [2.0, 7.5], patient="b"),
    ]
    rows = summarise(readings, generator=np.random.default_rng(0), resamples=10)
    found = {(r.metric, r.stratum): r.value for r in rows if r.patient == "all"}
    assert found["lesions", "10 to 15 mm, 2 to 4 :1"] == 3
    assert found["sensitivity", "all"] == pytest.approx(1)
    strict = summarise(
        readings, generator=np.random.default_rng(0), resamples=10, false_per_scan=0.0001
    )
    missed = [r.value for r in strict if r.metric == "miss_rate"]
    assert missed == [pytest.approx(1 / 3)]


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
        found = read_case(Case("a", place, [lesion], Twins(truth, truth), twins, {}))[0]
        assert (found.lesions, found.false) == ((), ())
        assert readable_part(truth, place).sum() == readable_part(air, affine()).sum() > 0
