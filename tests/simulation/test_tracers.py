"""Every tissue has an uptake, which varies around its median between patients."""

from __future__ import annotations

import numpy as np
import pytest

from petdiff.errors import UsageError
from petdiff.simulation.anatomy import structures
from petdiff.simulation.anatomy.structure import MU_PER_CM
from petdiff.simulation.patient.draw import Patient, draw_patient
from petdiff.simulation.patient.physiology import draw_physiology
from petdiff.simulation.patient.tracers import TRACERS, draw_uptake, get_tracer, median_uptake


@pytest.fixture(scope="module")
def patient() -> Patient:
    return draw_patient(5, lesions=False)


@pytest.mark.parametrize("name", TRACERS)
def test_every_tissue_of_the_anatomy_has_an_uptake(patient: Patient, name: str) -> None:
    uptake = draw_uptake(get_tracer(name), np.random.default_rng(0))
    for structure in structures(patient):
        assert 0 < uptake[structure.tissue] < 300
        assert structure.material in MU_PER_CM


def test_uptake_is_log_normal_about_the_median() -> None:
    rng = np.random.default_rng(0)
    tracer = get_tracer("fdg")
    drawn = np.log([draw_uptake(tracer, rng)["liver"] for _ in range(400)])
    median, log_sd = median_uptake(tracer, "liver")
    assert np.median(drawn) == pytest.approx(np.log(median), abs=0.04)
    assert drawn.std() == pytest.approx(log_sd, rel=0.15)


def test_tissue_without_its_own_uptake_has_that_of_another() -> None:
    assert median_uptake(get_tracer("psma"), "ureter") != median_uptake(
        get_tracer("psma"), "muscle"
    )
    assert median_uptake(get_tracer("fapi"), "ovary") == median_uptake(get_tracer("fapi"), "uterus")


def test_organs_of_highest_uptake_differ_between_tracers() -> None:
    organs = ("grey_matter", "kidney_cortex", "spleen", "parotid")
    hottest = {
        organ: max(TRACERS, key=lambda t: median_uptake(TRACERS[t], organ)[0]) for organ in organs
    }
    assert hottest == {
        "grey_matter": "fdg", "kidney_cortex": "psma", "spleen": "dotatate", "parotid": "psma"
    }  # fmt: skip


def test_physiological_variants_occur_and_change_the_uptake() -> None:
    fdg = [draw_physiology(get_tracer("fdg"), np.random.default_rng(seed)) for seed in range(150)]
    assert {variant for study in fdg for variant in study.variants} == {
        "fasting-myocardium", "brown-fat", "hot-bowel", "stimulated-marrow", "full-bladder"
    }  # fmt: skip
    fasting = [study for study in fdg if "fasting-myocardium" in study.variants]
    assert 0.25 < len(fasting) / len(fdg) < 0.55
    assert max(study.uptake["myocardium"] for study in fasting) < 2
    assert min(s.uptake["brown_fat"] for s in fdg if "brown-fat" in s.variants) >= 2
    assert min(s.bladder for s in fdg if "full-bladder" in s.variants) >= 1.8


def test_variants_of_glucose_uptake_occur_with_fdg_only() -> None:
    psma = [draw_physiology(get_tracer("psma"), np.random.default_rng(seed)) for seed in range(60)]
    assert {variant for study in psma for variant in study.variants} == {"full-bladder"}


def test_message_for_an_unknown_tracer_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean dotatate"):
        get_tracer("dotate")
