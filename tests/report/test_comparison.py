"""A cohort's page: one file, silent on the network, with the worst cases first."""

from __future__ import annotations

from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from petdiff.evaluation.cohort.definition import Cohort, Unit
from petdiff.evaluation.cohort.run import Done, _do, read_unit
from petdiff.evaluation.cohort.summary import METRICS, Metric, Table, summarise, tabulate
from petdiff.evaluation.cohort.unit import CohortRow, Measured, measure_scans
from petdiff.evaluation.detection.lesion_summary import summarise_lesions
from petdiff.report.comparison import (
    LARGEST_PAGE_BYTES,
    _worse,
    worst_cases,
    write_comparison,
)
from support.little_cohort import made_up_scans

EVIL = "<script>alert(1)</script>.toml"


class Page(HTMLParser):
    """What a page refers to, and the words and tags it has."""

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
    return Cohort(doses=(4, 20), lesions=True, methods=["measured", "gaussian"])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def done(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> list[Done]:
    """Two patients, measured for real on made-up images."""
    rows = tmp_path_factory.mktemp("rows")
    found = []
    for seed in (0, 1):
        unit = Unit(f"unit-{seed}", f"{seed:04d}", "quadra", "fdg", seed)

        def work(asked: Cohort, unit: Unit) -> Measured:
            return measure_scans(made_up_scans(unit.seed), asked.methods, unit)

        _do(cohort, unit, rows, work)
        found.append(read_unit(rows / f"{unit.name}.json", unit))
    return found


@pytest.fixture(scope="module")
def page(cohort: Cohort, done: list[Done], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    table = tabulate(done, list(cohort.methods))
    summary = summarise(table, generator=np.random.default_rng(0))
    readings = [reading for one in done for reading in one.readings]
    lesions = summarise_lesions(readings, generator=np.random.default_rng(0), resamples=20)
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


def test_page_shows_every_method_with_its_numbers(page: str, done: list[Done]) -> None:
    words = Page(page).words
    psnr = [
        row.value
        for one in done
        for row in one.rows
        if (row.method, row.metric, row.dose) == ("gaussian", "psnr_db", 20)
    ]
    assert f"{np.mean([value or 0 for value in psnr]):.2f}" in words
    for said in ("gaussian", "1/20", "false foci per scan", "SUVpeak", "Not judged", "Liver COV"):
        assert said in words


def test_projection_and_slice_of_every_method_are_shown(page: str, done: list[Done]) -> None:
    assert page.count('alt="gaussian, projection"') == page.count('alt="full, slice"') > 0
    grey = done[0].picture("4/full/projection")
    assert grey.min() == 0  # a lesion of SUV 10 is black
    assert grey.max() > 240  # air is white


def test_lesion_is_where_the_ring_says(done: list[Done]) -> None:
    place = done[0].places["20"]
    grey = done[0].picture("20/full/slice")
    down, across = (int(share * n) for share, n in zip(place["at"], grey.shape, strict=True))
    assert grey[down, across] < 60


def test_worse_is_what_mean_and_ranks_both_say() -> None:
    metric = next(m for m in METRICS if m.name == "psnr_db")
    bias = next(m for m in METRICS if m.name == "lesion_suv_peak_bias")

    def worse(metric: Metric, difference: float, ranks: float) -> bool:
        test = {"method": "b", "against": "a", "holm_p": 0.01}
        return _worse(
            metric, [{**test, "difference": difference, "rank_biserial": ranks}], "b", "a"
        )

    assert worse(metric, -1, -0.8)
    assert not worse(metric, -1, 0.7)  # one outlier makes the mean
    assert not worse(metric, 1, 0.8)
    assert worse(bias, 0.1, 0.8)
    assert not worse(bias, -0.1, -0.8)


def test_worst_cases_come_first_in_turn() -> None:
    def unit(name: str, gaussian: float, model: float, bias: float) -> Any:
        values: list[tuple[Any, ...]] = [
            (4.0, "gaussian", "psnr_db", "body", gaussian, "dB"),
            (4.0, "flow3d", "psnr_db", "body", model, "dB"),
            (4.0, "flow3d", "suv_peak_bias", "lesion 1 (node)", bias, "1"),
            (4.0, "gaussian", "suv_peak_bias", "lesion 1 (node)", -0.9, "1"),
        ]
        rows = [CohortRow(*row) for row in values]
        return SimpleNamespace(unit=Unit(name, name, "quadra", "fdg", 0), rows=rows)

    units = [unit("good", 30, 33, 0.01), unit("lossy", 30, 29.5, 0.0), unit("cold", 30, 31, -0.4)]
    table = Table(("gaussian", "flow3d"), (), (), {})
    cases = worst_cases(units, table)
    assert [case.done.unit.name for case in cases] == ["lossy", "cold", "good"]
    assert cases[0].why == "flow3d −0.50 dB against the best Gaussian"
    assert cases[1].why == "flow3d changes SUVpeak of lesion 1 (node) by −40%"
