"""A cohort's page: one file, silent on the network, with the worst cases first."""

from __future__ import annotations

from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from petdiff.evaluation.cohort.compared_metrics import INTERVAL_LEVELS, METRICS, Metric
from petdiff.evaluation.cohort.definition import Claim, Cohort, Exam
from petdiff.evaluation.cohort.exam import CohortRow, _inside, _worst, measure_scans
from petdiff.evaluation.cohort.snapshots import PictureGeometry
from petdiff.evaluation.cohort.stored import FinishedExam, read_exam, store_exam
from petdiff.evaluation.cohort.summary import PairTest, summarise
from petdiff.evaluation.cohort.table import tabulate
from petdiff.evaluation.detection.lesion_summary import summarise_lesions
from petdiff.report import comparison_plots as plots
from petdiff.report.comparison import (
    _worse,
    worst_cases,
    write_comparison,
)
from support.little_cohort import made_up_scans, table_of

LARGEST_PAGE_BYTES = 15_000_000
EVIL = "<script>alert(1)</script>.toml"


class Page(HTMLParser):
    """Collects what a page refers to, and the words and tags it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return Cohort(
        doses=(4, 20),
        lesions=True,
        methods=["measured", "gaussian"],  # type: ignore[arg-type]
        claims=(Claim(method="gaussian", beats=("measured",)),),
    )


@pytest.fixture(scope="module")
def done(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> list[FinishedExam]:
    """Two patients, measured for real on made-up images."""
    rows = tmp_path_factory.mktemp("rows")
    found = []
    for seed in (0, 1):
        exam = Exam(f"unit-{seed}", f"{seed:04d}", "quadra", "fdg", seed)
        file = rows / f"{exam.name}.json"
        store_exam(file, exam, measure_scans(made_up_scans(exam.seed), cohort.methods, exam))
        found.append(read_exam(file, exam, cohort.methods))
    return found


@pytest.fixture(scope="module")
def page(cohort: Cohort, done: list[FinishedExam], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    table = tabulate(done, list(cohort.methods))
    summary = summarise(table, cohort.claims, generator=np.random.default_rng(0))
    readings = [reading for one in done for reading in one.readings]
    lesions = summarise_lesions(readings, generator=np.random.default_rng(0))
    write_comparison(path, cohort, table, summary, lesions, done, name=EVIL)
    assert path.stat().st_size < LARGEST_PAGE_BYTES
    return path.read_text(encoding="utf-8")


def test_page_asks_for_nothing_outside_itself(page: str) -> None:
    read = Page(page)
    assert read.links
    assert all(link.startswith(("data:", "#")) for link in read.links)
    assert "url(http" not in page
    assert "@import" not in page
    assert "script" not in read.tags
    assert "default-src 'none'" in page
    assert EVIL in read.words


def test_plots_on_one_page_share_no_id(page: str) -> None:
    ids = Page(page).ids
    assert ids
    assert len(set(ids)) == len(ids)


def test_page_shows_every_method_with_its_numbers(page: str, done: list[FinishedExam]) -> None:
    words = Page(page).words
    psnr = [
        row.value
        for one in done
        for row in one.rows
        if (row.method, row.metric, row.dose) == ("gaussian", "psnr_db", 20)
    ]
    assert f"{np.mean([value or 0 for value in psnr]):.2f}" in words
    for said in (
        "gaussian",
        "1/20",
        "false foci per scan",
        "SUVpeak",
        "gaussian against measured",
        "Liver COV",
    ):
        assert said in words


def test_projection_and_slice_of_every_method_are_shown(
    page: str, done: list[FinishedExam]
) -> None:
    assert page.count('alt="gaussian, projection"') == page.count('alt="full, slice"') > 0
    grey = done[0].picture("4/full/projection")
    assert grey.min() == 0  # a lesion of SUV 10 is black
    assert grey.max() > 240  # air is white


def test_lesion_is_where_the_ring_says(done: list[FinishedExam]) -> None:
    place = done[0].places["20"]
    grey = done[0].picture("20/full/slice")
    down, across = (int(share * n) for share, n in zip(place.at or (), grey.shape, strict=True))
    assert grey[down, across] < 60


def test_worse_is_what_mean_and_ranks_both_say() -> None:
    metric = next(m for m in METRICS if m.name == "psnr_db")
    bias = next(m for m in METRICS if m.name == "lesion_suv_peak_bias")

    def worse(metric: Metric, difference: float, ranks: float) -> bool:
        test = PairTest(
            method="b", against="a", n=9, difference=difference, low=0, high=0,
            wilcoxon_p=0.01, holm_p=0.01, rank_biserial=ranks,
        )  # fmt: skip
        return _worse(metric, [test], "b", "a")

    assert worse(metric, -1, -0.8)
    assert not worse(metric, -1, 0.7)  # one outlier makes the mean
    assert not worse(metric, 1, 0.8)
    assert worse(bias, 0.1, 0.8)
    assert not worse(bias, -0.1, -0.8)


def made_up_unit(name: str, gaussian: float, model: float, bias: float, ringed: str) -> Any:
    values: list[tuple[Any, ...]] = [
        (4.0, "gaussian", "psnr_db", "body", gaussian, "dB"),
        (4.0, "flow3d", "psnr_db", "body", model, "dB"),
        (4.0, "flow3d", "suv_peak_bias", "lesion 1 (node)", bias, "1"),
        (4.0, "flow3d", "suv_peak_bias", "lesion 2 (liver)", bias / 2, "1"),
        (4.0, "gaussian", "suv_peak_bias", "lesion 2 (liver)", -0.9, "1"),
    ]
    rows = [CohortRow(*row) for row in values]
    places = {"4": PictureGeometry(pixel_mm=(1, 1), lesion=ringed, at=(0.5, 0.5))}
    return SimpleNamespace(exam=Exam(name, name, "quadra", "fdg", 0), rows=rows, places=places)


def test_worst_cases_come_first_in_turn() -> None:
    exams = [
        made_up_unit("good", 30, 33, 0.01, "lesion 1 (node)"),
        made_up_unit("lossy", 30, 29.5, 0.0, "lesion 1 (node)"),
        made_up_unit("cold", 30, 31, -0.4, "lesion 1 (node)"),
    ]
    cases = worst_cases(exams, ["flow3d"])
    assert [case.done.exam.name for case in cases] == ["lossy", "cold", "good"]
    assert cases[0].why == "flow3d −0.50 dB against the best Gaussian"
    assert cases[1].why == "flow3d changes SUVpeak of lesion 1 (node) by −40%"


def test_the_lesion_that_is_named_is_the_one_that_is_ringed() -> None:
    """Only the lesion that the picture goes through may be named."""
    cases = worst_cases([made_up_unit("cold", 30, 29, -0.4, "lesion 2 (liver)")], ["flow3d"])
    named = [case.why for case in cases if "SUVpeak" in case.why]
    assert all("lesion 2 (liver)" in why for why in named)


def test_pictures_ring_the_lesion_that_a_model_gets_most_wrong() -> None:
    """Filters have worse lesions, but beside a model they are not what is judged."""
    scans = made_up_scans()
    lesions = list(_inside(scans.lesions, scans.full))
    first, second = (lesion.mask.name for lesion in lesions)
    rows = [
        CohortRow(4.0, "gaussian", "suv_peak_bias", first, -0.9, "1"),
        CohortRow(4.0, "flow3d", "suv_peak_bias", first, 0.1, "1"),
        CohortRow(4.0, "flow3d", "suv_peak_bias", second, -0.2, "1"),
    ]
    shown = _worst(rows, lesions, ["flow3d"])
    assert shown is not None
    assert shown.name == second
    assert tuple(shown.centre_mm) == tuple(scans.lesions[1].centre_mm)


def test_claims_are_green_only_when_significant(page: str) -> None:
    """Two patients cannot confirm anything, however large the difference."""
    assert 'class="open"' in page
    assert 'class="confirmed"' not in page


def test_every_picture_enlarges_on_a_click(page: str) -> None:
    read = Page(page)
    assert read.tags.count("img") == read.tags.count("label") == page.count('type="checkbox"') > 0
    assert "input:checked + .frame" in page


def test_reliability_shows_methods_with_intervals_and_says_where_there_are_none() -> None:
    table = table_of(np.full((2, 3, 2), 40.0), ("measured", "flow3d"))
    assert "No model of this comparison" in plots.reliability(table)
    for level in INTERVAL_LEVELS:
        table.values[f"within_interval_{level}"][1] = level / 100
    picture = plots.reliability(table)
    assert "flow3d" in picture
    assert "measured" not in picture


def test_trends_of_findings_and_alarms_are_drawn_where_there_are_any() -> None:
    table = table_of(np.full((2, 3, 2), 40.0), ("measured", "flow3d"))
    for metric in ("audit_false_alarms", "alarms"):
        table.values[metric][1] = 0.0
    assert "False findings" not in plots.trends(table)
    table.values["audit_false_alarms"][1, 0] = 0.5
    picture = plots.trends(table)
    assert "False findings" in picture
    assert "Scans with an alarm" not in picture
