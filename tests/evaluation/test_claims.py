"""Claims come from the cohort's file; each verdict is what scipy's tests of all conditions say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import stats

from petdiff.evaluation.cohort.claims import check_claims
from petdiff.evaluation.cohort.definition import OWN, Claim
from petdiff.evaluation.cohort.table import Condition
from support.little_cohort import table_of

METHODS = ("ours", "first", "second", "third")
CLAIM = Claim(method="ours", beats=METHODS[1:])


def psnr_of(patients: int = 14, gain_db: float = 2.0) -> np.ndarray:
    """Four methods, five conditions; `ours` is better by `gain_db`."""
    psnr = np.random.default_rng(1).normal(30, 0.1, (4, patients, 5))
    psnr[0] += gain_db
    return psnr


def test_claim_is_confirmed_where_every_condition_is_significantly_better() -> None:
    psnr = psnr_of()
    (found,) = check_claims(table_of(psnr, METHODS), [CLAIM])
    assert found.verdict == "confirmed"
    assert [rival.better_significantly for rival in found.rivals] == [5, 5, 5]
    by_hand = [
        stats.wilcoxon(psnr[0, :, n] - psnr[k, :, n]).pvalue for k in (1, 2, 3) for n in range(5)
    ]
    assert max(by_hand) * 15 < 0.05


def test_claim_is_refuted_where_one_condition_is_significantly_worse() -> None:
    psnr = psnr_of()
    psnr[2, :, 3] = psnr[0, :, 3] + 1
    (found,) = check_claims(table_of(psnr, METHODS), [CLAIM])
    assert found.verdict == "refuted"
    assert [rival.better for rival in found.rivals] == [5, 4, 5]
    assert found.rivals[1].worse_significantly == 1
    assert "least −1.00 dB (quadra, fdg, 1/8)" in found.sentence


def test_claim_that_chance_may_explain_stays_open() -> None:
    psnr = psnr_of(gain_db=0.0)
    (found,) = check_claims(table_of(psnr, METHODS), [CLAIM])
    assert found.verdict == "open"


def test_one_outlier_does_not_confirm_a_method_that_is_worse_in_all_other_patients() -> None:
    rng = np.random.default_rng(2)
    psnr = np.full((2, 20, 1), 30.0)
    psnr[0] -= rng.uniform(0.1, 0.2, (20, 1))
    psnr[0, 0] += 10
    gains = psnr[0, :, 0] - psnr[1, :, 0]
    assert gains.mean() > 0 > np.median(gains)
    assert stats.wilcoxon(gains).pvalue < 0.001
    claims = [Claim(method="ours", beats=("first",)), Claim(method="first", beats=("ours",))]
    for found in check_claims(table_of(psnr, ("ours", "first")), claims):
        assert found.verdict == "open"
        (rival,) = found.rivals
        assert (rival.better_significantly, rival.worse_significantly) == (0, 0)


def test_few_patients_neither_confirm_nor_refute() -> None:
    for gain_db in (2.0, -2.0):
        (found,) = check_claims(table_of(psnr_of(5, gain_db), METHODS), [CLAIM])
        assert found.verdict == "open"
        assert "tested from 6 patients on; here are 5" in found.sentence
    (found,) = check_claims(table_of(psnr_of(6), METHODS), [CLAIM])
    assert found.verdict == "open"
    assert "With 6 patients no difference can be significant" in found.sentence
    one = Claim(method="ours", beats=("first",))
    (found,) = check_claims(table_of(psnr_of(6)[:, :, :1], METHODS), [one])
    assert found.verdict == "confirmed"  # one test of six patients: p = 0.031


def test_claim_without_common_scans_stays_open() -> None:
    psnr = psnr_of()
    psnr[1] = np.nan
    (found,) = check_claims(table_of(psnr, METHODS), [CLAIM])
    assert found.verdict == "open"
    assert "No scan has a PSNR of both ours and first" in found.sentence
    found.model_dump_json()


def test_claim_on_own_pairs_of_unknown_dose() -> None:
    psnr = psnr_of()[:2, :, :1]
    own = replace(table_of(psnr, METHODS[:2]), conditions=(Condition(OWN, OWN, None),))
    (found,) = check_claims(own, [Claim(method="ours", beats=("first",))])
    assert found.verdict == "confirmed"
    (rival,) = found.rivals
    assert rival.worst is not None
    assert rival.worst.dose is None
    assert "(own, own, not stated)" in found.sentence


def test_condition_without_values_does_not_count_in_the_correction() -> None:
    """Such a condition is the error of lesions where the field of view shows none."""
    psnr = psnr_of(6)[:2]
    psnr[:, :, 1:] = np.nan
    (found,) = check_claims(table_of(psnr, METHODS[:2]), [Claim(method="ours", beats=("first",))])
    (rival,) = found.rivals
    assert rival.conditions == 1
    assert rival.worst is not None
    assert rival.worst.p == stats.wilcoxon(psnr[0, :, 0] - psnr[1, :, 0]).pvalue
    assert found.verdict == "confirmed"


def test_of_an_error_the_lower_is_better() -> None:
    table = table_of(psnr_of(), METHODS)
    table.values["nrmse"][:] = -psnr_of()  # the first is lower by 2
    (found,) = check_claims(table, [Claim(method="ours", beats=("first",), metric="nrmse")])
    assert found.verdict == "confirmed"
    assert found.rivals[0].mean_gain is not None
    assert found.rivals[0].mean_gain > 1.5


def test_nothing_is_claimed_unless_the_file_asks() -> None:
    assert check_claims(table_of(psnr_of(), METHODS), ()) == []
