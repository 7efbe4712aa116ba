"""The page of an acceptance test."""

from __future__ import annotations

from pathlib import Path

from petdiff.acceptance.measure import FILTER, MODEL, Figure, ScanFigures
from petdiff.acceptance.plan import Plan
from petdiff.acceptance.run import Acceptance
from petdiff.acceptance.verdict import conclude
from petdiff.report.acceptance import write_acceptance


def test_interval_of_a_share_stays_within_possible_values(tmp_path: Path) -> None:
    scans = [
        ScanFigures(
            name=f"scan {n}",
            figures=(
                Figure(4.0, FILTER, "psnr_db", "body", 40.0),
                Figure(4.0, MODEL, "psnr_db", "body", 41.0 + n),
                Figure(4.0, MODEL, "within_interval", "body", share),
            ),
        )
        for n, share in enumerate([0.8, 1.0, 1.0, 1.0, 1.0, 1.0])
    ]
    plan = Plan(tmp_path, (4.0,))
    found = Acceptance(plan, "flow3d", "0" * 64, scans, [conclude(scans, 4.0)])
    write_acceptance(tmp_path / "report.html", found)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    row = page.split("Voxels within their 90% interval</th>")[1].split("</tr>")[0]
    assert "96.7%<small>88.1% to 100.0%</small>" in row
