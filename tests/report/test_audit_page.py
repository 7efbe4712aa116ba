"""The page of an audit: slices lie at the places of its findings, and it is safe and silent."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import petdiff
from petdiff.image import PETImage
from petdiff.report import volume_viewer
from petdiff.report.audit_page import write_audit_page
from petdiff.report.png import grey_png, signed_png
from petdiff.report.slices import PLANES, Plane, slice_through
from support.audited import body, image, lesion, measured

# i to the patient's back, j to the left, k to the feet; three voxel sizes.
AFFINE = np.array([[0, -3.0, 0, 40], [-2.0, 0, 0, 30], [0, 0, -5.0, 90], [0, 0, 0, 1]])
EVIL = "</title><script>alert(1)</script>.nii"


def hot_places(svg: str) -> NDArray[np.float64]:
    """Where the middles of the black pixels of a slice lie, in mm right of and below its middle."""
    found = ET.fromstring(svg).find("image")
    assert found is not None
    x, y, width, height = (float(found.get(key) or 0) for key in ("x", "y", "width", "height"))
    data = (found.get("href") or "").removeprefix("data:image/png;base64,")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    rows, columns = np.nonzero(pixels < 10)
    down = y + (rows + 0.5) * height / pixels.shape[0]
    across = x + (columns + 0.5) * width / pixels.shape[1]
    return np.stack([across, down], axis=1)


@pytest.mark.parametrize("plane", PLANES)
def test_a_slice_shows_what_lies_around_its_place(plane: Plane) -> None:
    values = np.zeros((30, 28, 36), np.float32)
    i, j, k = 10, 12, 9
    # 6 mm to the patient's left, and 10 mm to the front or to the head.
    other = (i - 5, j + 2, k) if plane.name == "axial" else (i, j + 2, k - 2)
    values[i, j, k] = values[other] = 5
    scan = PETImage(values, AFFINE)
    x, y, z = (float(mm) for mm in (AFFINE @ [i, j, k, 1])[:3])
    svg = slice_through(scan, (x, y, z), plane, 8.0, partial(grey_png, top=5.0), "a slice")
    np.testing.assert_allclose(sorted(map(tuple, hot_places(svg))), [(0, 0), (6, -10)], atol=0.02)


def test_colours_say_which_scan_shows_more() -> None:
    picture = np.array([[-20.0, 0.0, 20.0]], np.float32)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(signed_png(picture, 10.0)))))
    less, none, more = pixels[0].astype(int)
    assert less[2] > less[0]
    assert (none == 255).all()
    assert more[0] > more[2]


@pytest.fixture(scope="module")
def pair() -> tuple[PETImage, PETImage]:
    return image(measured(body())), image(body() + lesion(5.0))


@pytest.mark.parametrize("viewer", [False, True])
def test_each_finding_has_a_row_that_leads_to_its_slices(
    pair: tuple[PETImage, PETImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, viewer: bool
) -> None:
    if viewer and not volume_viewer.has_viewer():
        pytest.skip("no NiiVue here: run `make viewer`")
    monkeypatch.setattr(volume_viewer, "has_viewer", lambda: viewer)
    found = petdiff.audit(*pair)
    (one,) = found.record.findings
    write_audit_page(tmp_path / "audit.html", *pair, found, names=("low & co", EVIL))
    text = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "The denoised scan contradicts the measured scan: 1 fabrication." in text
    assert '<a href="#focus-1">1</a>' in text
    assert text.count('id="focus-1"') == 1
    assert len(re.findall(r'aria-label="(?:measured|denoised|residual)[^"]*, axial"', text)) == 3
    assert ('data-file-voxel="' + ",".join(map(str, one.voxel)) in text) is viewer
    assert ("<script" in text) is viewer
    assert EVIL not in text
    assert "low &amp; co" in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text.split("<script>")[0])


def test_a_scan_without_a_body_has_a_page_without_pictures(tmp_path: Path) -> None:
    nothing = image(np.zeros_like(body()))
    found = petdiff.audit(nothing, nothing)
    write_audit_page(tmp_path / "audit.html", nothing, nothing, found, names=("a", "b"))
    text = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "There is nothing to audit: the measured scan shows no body." in text
    assert "<svg" not in text
