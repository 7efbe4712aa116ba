"""The page of a run: small, safe, silent on the network, and its read-out is the file's voxel."""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from petdiff.image import PETImage
from petdiff.report import page as page_module
from petdiff.report import volume_viewer as viewer_module
from petdiff.report.notices import notices
from petdiff.report.packed import Packed, finest_step, pack
from petdiff.report.page import record_rows, write_page
from petdiff.report.trained_on import trained_on
from petdiff.report.volume_viewer import WITHOUT_VIEWER, has_viewer
from petdiff.uncertainty.alarm.record import AlarmRecord, FeatureDeviation
from petdiff.uncertainty.audit.record import AuditRecord, Finding
from petdiff.volume.orientation import reoriented
from support.chromium import SOFTWARE_GL, WITHOUT_GL, Chromium, find_chromium
from support.run_records import denoising_record, run_record

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
EVIL = '</script><img src=x onerror="document.title=1">$title&amp;.nii'
# Stored as many scanners store: i to the left, k to the feet, with an offset; axes swapped.
AFFINE = np.array([[0, -4.0, 0, 60], [3.0, 0, 0, -30], [0, 0, -5.0, 90], [0, 0, 0, 1]])

AUDITED = AuditRecord(
    verdict="contradicts the measured scan: 1 fabrication",
    alpha=0.05,
    z_needed=5.3,
    unit="SUV",
    scales=(),
    found={"fabrication": 1, "omission": 0, "shift": 0},
    findings=(
        Finding(
            kind="fabrication", position_mm=(-20.0, -15.0, 55.0), voxel=(5, 20, 7),
            diameter_mm=16, measured=1.5, denoised=4.5, z=-7.1, p=2e-8,
        ),
    ),
)  # fmt: skip

Opened = tuple[Chromium, PETImage, PETImage]

needs_viewer = pytest.mark.skipif(not has_viewer(), reason="no NiiVue here: run `make viewer`")
needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="no Chromium here")


def scan(seed: int = 0, shape: tuple[int, int, int] = (22, 26, 30)) -> PETImage:
    """A warm body in cold air, all of it noisy."""
    suv = np.random.default_rng(seed).normal(0, 0.02, shape).astype(np.float32)
    body = suv[4:-4, 4:-4, 2:-2]
    body += np.random.default_rng(seed + 1).gamma(4, 0.8, body.shape).astype(np.float32)
    return PETImage(suv, AFFINE)


def written(folder: Path, name: str = "scan.nii") -> tuple[Path, PETImage, PETImage]:
    measured, spread = scan(), np.abs(scan(5).suv)
    denoised = measured.with_values(measured.suv * 0.9 + 0.03)
    (folder / "picture.png").write_bytes(PNG)
    write_page(
        folder / "report.html",
        measured,
        denoised,
        spread,
        name=name,
        title="a model",
        record=run_record(measured, denoised).model_copy(update={"audit": AUDITED}),
        picture=folder / "picture.png",
    )
    return folder / "report.html", measured, denoised


def unpacked(packed: Packed, name: str) -> NDArray[np.float64]:
    stored = zlib.decompress(base64.b64decode(packed.volumes[name]))
    low, high = np.frombuffer(stored, dtype=np.uint8).reshape(2, -1)
    steps = (low + high.astype(np.int8).astype(int) * 256).reshape(packed.shape, order="F")
    return np.asarray(steps * packed.step)


def test_packed_voxels_are_the_files_and_lie_where_they_lay() -> None:
    image = scan()
    packed = pack({"measured": image.suv}, image, budget_bytes=10**7)
    assert (packed.block, packed.step) == (1, 0.01)
    values = unpacked(packed, "measured")
    assert values.size < image.suv.size  # the air around the body is left out
    for voxel in np.ndindex(*packed.shape):
        i, j, k = np.rint(packed.to_file @ [*voxel, 1]).astype(int)
        assert abs(values[voxel] - image.suv[i, j, k]) <= 0.0051
    # The page's axes run right, front and up in true millimetres.
    steps_mm = packed.to_mm[:3, :3] @ packed.to_file[:, :3]
    np.testing.assert_allclose(steps_mm, np.diag(packed.spacing_mm))
    assert packed.spacing_mm == (4.0, 3.0, 5.0)


def test_a_small_budget_makes_coarser_steps_then_coarser_voxels() -> None:
    image = scan(shape=(40, 40, 40))
    full = pack({"a": image.suv}, image, budget_bytes=10**7)
    some = pack({"a": image.suv}, image, budget_bytes=int(0.85 * len(full.volumes["a"])))
    assert some.block == 1
    assert some.step > full.step
    less = pack({"a": image.suv}, image, budget_bytes=len(full.volumes["a"]) // 6)
    assert less.block == 2
    assert less.spacing_mm == (8.0, 6.0, 10.0)
    fine = unpacked(full, "a")
    n = less.shape
    means = fine[: 2 * n[0], : 2 * n[1], : 2 * n[2]]
    means = means.reshape(n[0], 2, n[1], 2, n[2], 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(unpacked(less, "a"), means, atol=less.step / 2 + 0.0051)
    # A block's place is the middle of its voxels.
    first = [packed.to_mm @ [*(packed.to_file @ [0, 0, 0, 1]), 1] for packed in (full, less)]
    np.testing.assert_allclose((first[1] - first[0])[:3], [2.0, 1.5, 2.5])


@pytest.mark.parametrize(
    ("largest", "step"),
    [(20, 0.01), (327, 0.01), (328, 0.02), (7000, 0.5), (1, 0.001), (0.013, 2e-5), (0, 0.01)],
)
def test_step_follows_the_scan(largest: float, step: float) -> None:
    assert finest_step(largest) == step
    assert largest / step <= 32767


def test_any_scan_packs() -> None:
    for shape in ((1, 1, 1), (3, 1, 50)):
        for level in (0.0, -1.0, 4.0):
            image = PETImage(np.full(shape, level, dtype=np.float32), np.eye(4))
            for budget in (10, 10**6):
                packed = pack({"a": image.suv}, image, budget)
                np.testing.assert_allclose(unpacked(packed, "a"), level, atol=packed.step / 2)


def test_notices_name_what_is_off() -> None:
    before = scan()
    for simulated in ("clinic", {"kind": "clinic"}):
        said = notices(run_record(before, before, model={"training": {"data": simulated}}))
        assert len(said) == 1
        assert "simulated" in said[0]
    limited = run_record(before, before, model={"limits": "Not for cats."})
    assert notices(limited) == ["Not for cats."]
    untrained = {"training": {}, "licence": "CC-BY-NC-SA-4.0"}
    hotter = before.with_values(before.suv * 1.03)
    changed = run_record(before, hotter, model=untrained, warnings=["no clock"])
    elsewhere = changed.denoising.model_copy(update={"working_voxel_mm": (1.65, 1.65, 1.65)})
    said = notices(changed.model_copy(update={"denoising": elsewhere}))
    for part in ("whole scan changed by +3.0%", "regions of SUV", "no clock", "1.65 ×", "does not"):
        assert any(part in sentence for sentence in said), part
    assert "CC-BY-NC-SA-4.0, forbids commercial use" in said[-1]


@needs_viewer
@pytest.mark.parametrize(("scale", "lit"), [(1.0, True), (0.4, True), (1000.0, False)])
def test_page_opens_with_a_window_that_it_offers(scale: float, lit: bool, tmp_path: Path) -> None:
    """SUV 5, 10 or 20; values far from a body's open with `auto`. Some button is always lit."""
    measured = scan()
    measured = measured.with_values(measured.values * np.float32(scale))
    (tmp_path / "p.png").write_bytes(PNG)
    write_page(
        tmp_path / "r.html", measured, measured, name="n", title="t",
        record=run_record(measured, measured), picture=tmp_path / "p.png",
    )  # fmt: skip
    windows = windows_of(tmp_path / "r.html")
    assert (windows["shown"] in (5, 10, 20)) is lit
    assert lit or windows["shown"] == windows["suv"]


def windows_of(page: Path) -> dict[str, float]:
    """Return the windows that a page opens with, by name."""
    text = page.read_text(encoding="utf-8")
    geometry = json.loads(text.split('id="geometry">')[1].split("</script>")[0])
    return dict(geometry["auto"])


@needs_viewer
@pytest.mark.parametrize("axes", ["LPS", "PIR", "RSA"])
def test_windows_do_not_depend_on_the_direction_of_the_stored_slices(
    axes: str, tmp_path: Path
) -> None:
    (tmp_path / "p.png").write_bytes(PNG)
    measured, spread = scan(), scan(5)
    measured.suv[9, 6:-6, 6:-6] += 30  # a coronal sheet: few rays from side to side meet it
    opened = []
    for images in ((measured, spread), [reoriented(image, axes) for image in (measured, spread)]):
        before, after = images[0], images[0].with_values(0.9 * images[0].suv)
        write_page(
            tmp_path / "r.html", before, after, np.abs(images[1].suv), name="n", title="t",
            record=run_record(before, after), picture=tmp_path / "p.png",
        )  # fmt: skip
        opened.append(windows_of(tmp_path / "r.html"))
    assert opened[0] == opened[1]


TRAININGS: list[dict[str, object]] = [
    {"data": "clinic"},
    {"data": {"kind": "clinic"}},
    {"data": {"kind": "pairs", "folder": "/home/jane/pairs"}},
    {"data": ["/home/jane"], "steps": "many"},
    {"data": None, "recipe": {"steps": 400}},
    {"data": {"kind": {"a": 1}}, "patients": ["ab" * 32]},
    {},
]


@pytest.mark.parametrize("training", TRAININGS)
def test_cards_of_any_version_are_shown_in_words(training: dict[str, object]) -> None:
    """No table cell or notice holds a Python repr, a fingerprint or a path."""
    image = scan()
    kept = run_record(image, image, model={"training": training})
    for text in [*(value for _, value in record_rows(kept)), *notices(kept)]:
        assert not re.search(r"[{}\[\]]|'kind'|None|/home", text), text
    trained = dict(record_rows(kept))["trained on"]
    assert trained.startswith(("simulated scans", "pairs of scans", "not stated"))


@pytest.mark.parametrize("training", [None, "/home/jane", ["clinic"]])
def test_training_that_is_no_table_is_not_stated(training: object) -> None:
    assert trained_on(training).sentence == "not stated"


def test_the_audit_is_a_notice_and_a_table(tmp_path: Path) -> None:
    page, measured, denoised = written(tmp_path)
    text = page.read_text(encoding="utf-8")
    record = run_record(measured, denoised).model_copy(update={"audit": AUDITED})
    assert notices(record)[0].startswith("Audit: the result contradicts the measured scan: 1 fab")
    assert "<th scope=row>fabrication</th>" in text
    assert ">−20, −15, 55 mm<" in text
    assert ('data-file-voxel="5,20,7">−20, −15, 55 mm<' in text) is has_viewer()
    assert dict(record_rows(record))["audit"] == AUDITED.verdict


def test_an_unknown_kind_of_scan_is_the_first_notice() -> None:
    alarm = AlarmRecord(
        score=3.2,
        threshold=2.0,
        alarm=True,
        unlike=(FeatureDeviation(feature="noise spectrum", deviations=-9.04),),
    )
    record = run_record(scan(), scan()).model_copy(update={"alarm": alarm, "audit": AUDITED})
    first, second, *_ = notices(record)
    assert first == (
        "This scan is unlike the scans that the model knows (score 3.2, usual are up to 2.0): "
        "noise spectrum (-9.0 SD)."
    )
    assert second.startswith("Audit: ")
    usual = record.model_copy(update={"alarm": alarm.model_copy(update={"alarm": False})})
    assert notices(usual)[0].startswith("Audit: ")


def test_page_names_no_patient_and_loads_nothing(tmp_path: Path) -> None:
    text = written(tmp_path, EVIL)[0].read_text(encoding="utf-8")
    for secret in ("DOE JOHN", "1.2.345678", "19990909", "77.125", "/home/jane", str(tmp_path)):
        assert secret not in text
    assert "default-src 'none'" in text
    assert EVIL not in text
    assert "<b>administered" not in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text.split("<script>")[0])


def test_without_the_viewer_the_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer_module, "has_viewer", lambda: False)
    text = written(tmp_path)[0].read_text(encoding="utf-8")
    assert WITHOUT_VIEWER in text
    assert "script-src 'none'" in text
    assert "<script" not in text
    assert base64.b64encode(PNG).decode() in text


@pytest.mark.parametrize("viewer", [False, True])
def test_a_run_without_the_viewer_says_so(
    viewer: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from petdiff.denoising.pictures import make_page
    from petdiff.denoising.request import Request
    from petdiff.progress import Progress

    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(viewer_module, "has_viewer", lambda: viewer)
    monkeypatch.setattr(page_module, "write_page", lambda *_, **names: shown.append(names))
    result = SimpleNamespace(
        image=scan(),
        uncertainty=None,
        record=denoising_record(scan()),
    )
    request = Request(Path("/data/DOE JOHN/scan.nii"))
    make_page(request, scan(), result, run_record(scan(), scan()), Path("/out"), Progress())
    assert ("make viewer" in capsys.readouterr().err) is not viewer
    assert shown[0]["name"] == "scan.nii"


@pytest.fixture(scope="module")
def opened(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Opened]:
    """A page in a browser that draws in software."""
    if find_chromium() is None:
        pytest.skip("no Chromium here")
    folder = tmp_path_factory.mktemp("page")
    path, measured, denoised = written(folder, EVIL)
    with Chromium(folder / "profile", *SOFTWARE_GL, size=(1000, 700)) as browser:
        browser.open(path)
        browser.wait("document.body.dataset.state === 'drawn'")
        yield browser, measured, denoised


def read_out(browser: Chromium) -> tuple[tuple[int, ...], dict[str, float]]:
    """The voxel under the crosshair, and what each image says it holds."""
    voxel = json.loads(browser.value("document.getElementById('place').dataset.voxel"))
    lines = browser.value(
        "JSON.stringify([...document.querySelectorAll('.image')]"
        ".map(e => [e.dataset.name, e.querySelector('output').firstChild.textContent]))"
    )
    values = {name: float(text.replace("−", "-")) for name, text in json.loads(lines)}
    return tuple(voxel), values


@needs_viewer
def test_crosshair_moves_and_reads_the_files_voxel(
    opened: Opened,
) -> None:
    browser, measured, denoised = opened
    seen = set()
    box = json.loads(
        browser.value("JSON.stringify(document.querySelector('.slices').getBoundingClientRect())")
    )
    moves = [
        lambda: None,
        lambda: browser.press("ArrowLeft"),
        lambda: browser.press("PageUp"),
        lambda: browser.press("ArrowUp"),
        lambda: browser.click(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"]),
    ]
    for move in moves:
        move()
        browser.value("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
        voxel, values = read_out(browser)
        seen.add(voxel)
        before, after = float(measured.suv[voxel]), float(denoised.suv[voxel])
        assert values["measured"] == pytest.approx(before, abs=0.0051)
        assert values["denoised"] == pytest.approx(after, abs=0.0051)
        assert values["difference"] == pytest.approx(after - before, abs=0.0102)
        assert values["uncertainty"] == pytest.approx(abs(scan(5).suv[voxel]), abs=0.0051)
    assert len(seen) == len(moves)


@needs_viewer
def test_a_finding_of_the_audit_moves_the_crosshair_to_its_voxel(opened: Opened) -> None:
    browser, measured, _ = opened
    browser.value("document.querySelector('button.to-place').click()")
    browser.wait("document.getElementById('place').dataset.voxel === '[5,20,7]'")
    _, values = read_out(browser)
    assert values["measured"] == pytest.approx(float(measured.suv[5, 20, 7]), abs=0.02)


@needs_viewer
def test_every_view_draws_every_image(opened: Opened) -> None:
    browser, _, _ = opened
    for key in "51":
        browser.press(key)
        pictures = []
        for index in range(4):
            where = browser.value(
                f"JSON.stringify(document.querySelectorAll('.stage')[{index}]"
                ".getBoundingClientRect())"
            )
            pictures.append(pixels(browser, json.loads(where)))
        for picture in pictures:
            assert np.ptp(picture) > 100
        grey, hot = pictures[0].astype(int), pictures[3].astype(int)
        assert np.ptp(grey, axis=2)[8:-8, 8:-8].mean() < np.ptp(hot, axis=2).mean()


def pixels(browser: Chromium, box: dict[str, float]) -> NDArray[np.uint8]:
    import io

    from matplotlib.image import imread

    shot = np.asarray(imread(io.BytesIO(browser.screenshot())))[..., :3]
    x, y = int(box["x"]), int(box["y"])
    cut = shot[y : y + int(box["height"]), x : x + int(box["width"])]
    return (cut * 255).astype(np.uint8)


@needs_viewer
def test_windows_follow_buttons_and_keys(opened: Opened) -> None:
    browser, _, _ = opened
    top = "Number(document.getElementById('top-suv').value)"
    for text, expected in (("0–5", 5), ("0–20", 20), ("0–10", 10)):
        browser.value(
            "[...document.querySelectorAll('#windows button')]"
            f".find(b => b.textContent === '{text}').click()"
        )
        assert browser.value(top) == expected
    browser.press("]")
    assert browser.value(top) == 12.5


@needs_viewer
def test_page_is_silent_and_its_name_harmless(opened: Opened) -> None:
    browser, _, _ = opened
    asked = {
        event["params"]["request"]["url"].split(":")[0]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert asked <= {"file", "data", "blob"}
    complaints = [
        event
        for event in browser.events
        if event["method"] == "Runtime.exceptionThrown"
        or (event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] == "error")
        or (event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error")
    ]
    assert complaints == []
    assert browser.value("document.querySelector('h1').textContent") == EVIL
    assert browser.value("document.title") == f"{EVIL} · petdiff"
    assert browser.value("document.querySelectorAll('img').length") == 1


@needs_viewer
@needs_chromium
def test_without_webgl_the_page_shows_its_pictures(tmp_path: Path) -> None:
    path, _, _ = written(tmp_path)
    with Chromium(tmp_path / "profile", *WITHOUT_GL) as browser:
        browser.open(path)
        shown = "document.getElementById('trouble').textContent.includes('WebGL 2')"
        browser.wait(shown, seconds=20)
        assert browser.value("document.getElementById('picture').offsetHeight") > 0
        assert browser.value("document.getElementById('viewer').offsetHeight") == 0


@needs_viewer
def test_page_stays_small(tmp_path: Path) -> None:
    """A scan whose noise is too much for the budget is made coarser, and the page says so."""
    measured = scan(shape=(120, 120, 120))
    hot = measured.with_values(measured.values * 20)
    (tmp_path / "p.png").write_bytes(PNG)
    budget = 2_000_000
    packed = pack({"measured": hot.suv}, hot, budget)
    assert len(packed.volumes["measured"]) < 1.1 * budget
    assert packed.block > 1
    assert math.isclose(packed.spacing_mm[0], 4.0 * packed.block)
