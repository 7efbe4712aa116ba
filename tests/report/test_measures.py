"""measures.html: every figure and region is on it, safely, and rings lie where the regions are."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

import petdiff
from petdiff.measurement.record import Measurement
from petdiff.measurement.region import ball_region
from petdiff.report.measures import write_measures_page
from support.measured_run import easy_calibration, noisy_scan

SCAN = noisy_scan()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Measurement]:
    balls = [
        ball_region((-10, 10, 540), 12, SCAN, name="<b>node</b>", kind="lesion"),
        ball_region((0, 0, 550), 10, SCAN, kind="sphere"),
    ]
    denoised = SCAN.with_values(0.95 * SCAN.values)
    found = petdiff.measure(SCAN, denoised, balls, calibration=easy_calibration())
    path = tmp_path_factory.mktemp("page") / "measures.html"
    write_measures_page(path, found, SCAN, denoised, name="scan & co", title="flow3d")
    return path.read_text(encoding="utf-8"), found


def test_every_figure_and_interval_is_shown(page: tuple[str, Measurement]) -> None:
    text, found = page
    for figure in found.regions[0].figures:
        for value in (figure.measured, figure.denoised, figure.lower, figure.upper):
            assert value is not None
            assert f"{value:.4g}" in text
    assert "90 % interval" in text


def test_names_are_escaped_and_nothing_is_fetched_or_run(page: tuple[str, Measurement]) -> None:
    text, _ = page
    assert "&lt;b&gt;node&lt;/b&gt;" in text
    assert "<b>" not in text
    assert "scan &amp; co" in text
    assert not re.search(r"<script|https?://", text)


def test_rings_lie_about_the_hot_ball(page: tuple[str, Measurement]) -> None:
    text, _ = page
    drawing = re.search(
        r'<svg viewBox="[^"]+" role="img" aria-label="measured, [^"]*">.*?</svg>', text
    )
    assert drawing is not None
    ring = ET.fromstring(drawing.group()).find("circle")
    assert ring is not None
    # The patient's right is on the left: the first voxel, at x = 30 mm, ends at 32 mm.
    right_edge_mm = 30 + 2
    top_edge_mm = 500 + 19.5 * 4.5
    assert float(ring.get("cx") or 0) == pytest.approx(right_edge_mm + 10, abs=0.2)
    assert float(ring.get("cy") or 0) == pytest.approx(top_edge_mm - 540, abs=0.2)
    assert float(ring.get("r") or 0) == pytest.approx(12, abs=0.2)
