"""Lost, gained, missed and invented, counted by hand; and intervals that draw patients."""

from __future__ import annotations

import numpy as np
import pytest

from petdiff.evaluation import statistics
from petdiff.evaluation.detection.lesion_study import Reading
from petdiff.evaluation.detection.lesion_summary import LesionRow, summarise_lesions
from support.observer_theory import auc_of_snr

SMALL, LARGE = "10 to 15 mm", "25 mm and above"


def reading(
    method: str,
    lesions: list[float],
    false: list[float],
    patient: str = "a",
    sizes: tuple[str, ...] = (),
    scan: str = "",
) -> Reading:
    strata = sizes or (SMALL,) * len(lesions), ("2 to 4 :1",) * len(lesions)
    dose = 1.0 if method == "full" else 20.0
    found = (tuple(lesions), *strata, tuple(false), tuple(false[:1]))
    return Reading(scan or patient, patient, method, dose, *found)


def summary(readings: list[Reading]) -> dict[tuple[str, str, str], LesionRow]:
    rows = summarise_lesions(readings, generator=np.random.default_rng(0))
    return {(row.method, row.metric, row.stratum): row for row in rows}


def test_lesions_count_as_lost_at_an_equal_rate_of_false_foci() -> None:
    """Scores ten times lower lose nothing, as long as their order is kept; more false foci do."""
    rows = summary(
        [
            reading("full", [50.0, 30.0, 9.0], [20.0, 5.0]),
            reading("scaled", [5.0, 3.0, 0.9], [2.0, 0.5]),
            reading("noisy", [50.0, 30.0, 9.0], [40.0, 35.0, 5.0]),
        ]
    )
    # One false focus a scan: each threshold lies just above its second.
    lost = {method: rows[method, "lost_rate", "all"].value for method in ("scaled", "noisy")}
    assert lost == {"scaled": 0, "noisy": pytest.approx(2 / 3)}
    assert rows["noisy", "miss_rate", "all"].value == pytest.approx(2 / 3)
    assert rows["full", "miss_rate", "all"] == LesionRow(
        "full", 1, "miss_rate", "all", 3, 0, None, None
    )
    foci = [rows[m, "false_foci", "all"].value for m in ("full", "noisy")]
    assert foci == [1, 2]
    assert rows["noisy", "invented_foci", "all"].value == 1
    assert ("noisy", "gained_rate", "all") not in rows  # full dose missed none


def test_a_lesion_that_full_dose_missed_is_gained() -> None:
    rows = summary([reading("full", [9.0, 3.0], [4.0, 3.5]), reading("other", [9.0, 8.0], [4.0])])
    row = rows["other", "gained_rate", "all"]
    assert (row.n, row.value) == (1, 1)


def test_no_false_focus_leaves_the_detector_s_own_threshold() -> None:
    """Lesions must not set it: a faint focus of another method counts as it would beside any."""
    rows = summary([reading("full", [50.0], []), reading("other", [50.0], [5.0, 4.5])])
    assert rows["other", "false_foci", "all"].value == 2


def test_miss_rates_are_of_the_lesions_of_all_patients_by_size() -> None:
    rows = summary(
        [
            reading("full", [9.0, 8.0], [1.0, 20.0], sizes=(SMALL, LARGE)),
            reading("full", [7.0], [2.0, 7.5, 30.0], patient="b"),
        ]
    )
    small, large = (rows["full", "miss_rate", f"{size}, 2 to 4 :1"] for size in (SMALL, LARGE))
    assert (small.n, small.value) == (2, 0.5)
    assert (large.n, large.value) == (1, 0)
    assert rows["full", "miss_rate", "all"].value == pytest.approx(1 / 3)


def test_area_and_intervals_draw_patients_not_lesions_nor_scans() -> None:
    """Three patients whose lesions are found, each scanned twice, and three whose are not.

    Of a draw of six patients, k are of the first kind with the chance of k heads in six tosses:
    none with 1.6 %, one at most with 10.9 %.
    """
    readings = []
    for name in "abc":
        readings += [
            reading("full", [9.0] * 15, [1.0], name, scan=f"{name} on {scanner}")
            for scanner in ("the one scanner", "the other")
        ]
    readings += [reading("full", [-np.inf] * 30, [1.0], name) for name in "def"]
    row = summary(readings)["full", "froc_area", "all"]
    assert (row.n, row.value) == (9, 0.5)
    assert (row.low, row.high) == pytest.approx((1 / 6, 5 / 6))
    few = summary(readings[:-1])["full", "froc_area", "all"]
    assert (few.low, few.high) == (None, None)


def test_without_a_lesion_there_is_nothing_to_say() -> None:
    assert summary([reading("full", [], [5.0])]) == {}


def test_observer_learns_from_other_patients_and_is_as_good_as_theory_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statistics, "_GROUP_RESAMPLES", 200)
    rng = np.random.default_rng(3)
    readings = []
    for patient in range(200):
        absent = rng.normal(size=(10, 2))
        present = rng.normal(size=(10, 2)) + np.array([1.2, 0.5])
        readings.append(
            Reading(
                str(patient), str(patient), "full", 1.0, (9.0,) * 10, (SMALL,) * 10,
                ("2 to 4 :1",) * 10, (), (), tuple(map(tuple, present)), tuple(map(tuple, absent)),
            )
        )  # fmt: skip
    row = summary(readings)["full", "hotelling_auc", "all"]
    assert row.low is not None
    assert row.high is not None
    assert row.low < auc_of_snr(1.3) < row.high
    assert row.high - row.low < 0.04
    assert ("full", "hotelling_auc", "all") not in summary(readings[:1])
