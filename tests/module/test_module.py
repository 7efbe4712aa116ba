"""`petdiff module`: files, result.json and exit code, whatever the router sends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, generate_uid

from petdiff import cli
from petdiff.denoising.request import Request
from petdiff.denoising.scan import denoise_scan
from petdiff.inference.options import DenoiseOptions
from petdiff.io import read_static
from petdiff.module.inputs import find_pet_series
from petdiff.module.run import run_module
from support.dicom_factory import pet_slices
from support.router import PIXELS, add_series, mercure, result_of, router_folders


def run(into: Path, out: Path) -> int:
    return run_module(mercure(into, out))


def test_pixels_are_those_of_denoise(tmp_path: Path) -> None:
    into, out = router_folders(tmp_path, settings={"dose": "1/4", "seed": 3})
    assert run(into, out) == 0
    options = DenoiseOptions(drf=4, seed=3)
    denoise_scan(Request(into, options=options), tmp_path / "plain")
    expected = read_static(tmp_path / "plain" / "denoised")
    np.testing.assert_array_equal(read_static(out).values, expected.values)


def test_files_have_the_names_that_routers_give(tmp_path: Path) -> None:
    into, out = router_folders(tmp_path, settings={"series_prefix": "AI "})
    assert run(into, out) == 0
    files = list(out.glob("*.dcm"))
    assert len(files) == len(PIXELS)
    for file in files:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        assert file.name == f"{header.SeriesInstanceUID}#{header.SOPInstanceUID}.dcm"
        assert header.SeriesDescription == "AI made for a test"
    others = {entry.name for entry in out.iterdir()} - {file.name for file in files}
    assert others == {"result.json"}


def test_every_pet_series_of_a_study_is_denoised_and_nothing_else(tmp_path: Path) -> None:
    into, out = router_folders(tmp_path)
    add_series(into, pet_slices(PIXELS, SeriesNumber=4))
    ct = {"SOPClassUID": CTImageStorage, "Modality": "CT"}
    add_series(into, pet_slices(PIXELS[:2], **ct))
    add_series(into, pet_slices(PIXELS[:1], SeriesType=["WHOLE BODY", "REPROJECTION"]))
    assert run(into, out) == 0
    result = result_of(out)
    assert [answer["status"] for answer in result["series"]] == ["denoised", "denoised"]
    made = {file.name.partition("#")[0] for file in out.glob("*.dcm")}
    assert made == {answer["made"] for answer in result["series"]}
    assert "2 PET series denoised with flow3d" in result["__mercure_notification"]["text"]


def test_a_series_that_is_refused_does_not_stop_the_others(tmp_path: Path) -> None:
    into, out = router_folders(tmp_path)
    add_series(into, pet_slices(PIXELS, edit=lambda k, ds: setattr(ds, "RescaleIntercept", k)))
    assert run(into, out) == 0
    result = result_of(out)
    assert sorted(answer["status"] for answer in result["series"]) == ["denoised", "refused"]
    assert "RescaleIntercept" in result["__mercure_notification"]["text"]
    assert result["__mercure_notification"]["requested"] is True


def test_a_series_that_petdiff_made_is_not_denoised_again(tmp_path: Path) -> None:
    """Routers send results in circles where a rule is too wide."""
    into, out = router_folders(tmp_path)
    assert run(into, out) == 0
    again = tmp_path / "again"
    again.mkdir()
    assert all(series.is_own for series in find_pet_series(out))
    assert run(out, again) == 3
    assert "petdiff has made this series" in result_of(again)["reason"]
    assert list(again.glob("*.dcm")) == []


@pytest.mark.parametrize(
    ("settings", "code", "status", "named"),
    [
        ({"dosis": 4}, 2, "wrong settings", "did you mean dose"),
        ({"model": "flow4d"}, 2, "wrong settings", "flow4d"),
        ({"device": "cuda:99"}, 2, "wrong settings", "cuda"),
    ],
)
def test_wrong_settings_reach_the_router(
    tmp_path: Path,
    settings: Any,
    code: int,
    status: str,
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    into, out = router_folders(tmp_path, settings=settings)
    assert run(into, out) == code
    result = result_of(out)
    assert (result["status"], result["exit_code"]) == (status, code)
    assert named in result["reason"]
    assert named in result["__mercure_notification"]["text"]
    assert named in capsys.readouterr().err
    assert [entry.name for entry in out.iterdir()] == ["result.json"]


def no_pet(into: Path) -> None:
    for file in into.glob("*.dcm"):
        ds = pydicom.dcmread(file)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.Modality = "CT"
        ds.save_as(file)


def damaged(into: Path) -> None:
    file = next(into.glob("*.dcm"))
    file.write_bytes(file.read_bytes()[:600])


def emptied(into: Path) -> None:
    for file in into.iterdir():
        file.unlink()


def without_task(into: Path) -> None:
    (into / "task.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (no_pet, "no series of PET images"),
        (damaged, "truncated"),
        (emptied, "holds no DICOM file"),
        (without_task, "task.json is not JSON"),
    ],
)
def test_what_cannot_be_denoised_is_refused_with_its_reason(
    tmp_path: Path, spoil: Any, named: str
) -> None:
    into, out = router_folders(tmp_path)
    spoil(into)
    assert run(into, out) == 3
    assert named in result_of(out)["reason"]
    assert result_of(out)["__mercure_notification"]["requested"] is True
    assert [entry.name for entry in out.iterdir()] == ["result.json"]


@pytest.mark.parametrize(("notify", "requested"), [("always", True), ("never", False)])
def test_notifications_are_asked_for_as_set(tmp_path: Path, notify: str, requested: bool) -> None:
    into, out = router_folders(tmp_path, settings={"notify": notify})
    assert run(into, out) == 0
    assert result_of(out)["__mercure_notification"]["requested"] is requested


def test_a_device_that_is_not_there_is_named_as_the_settings_name_it(tmp_path: Path) -> None:
    into, out = router_folders(tmp_path, settings={"device": "cuda:99"})
    assert run(into, out) == 2
    assert result_of(out)["reason"].startswith("device cuda:99 is not available here")


def test_a_second_attempt_replaces_what_a_failed_and_a_killed_one_left(tmp_path: Path) -> None:
    into, out = router_folders(tmp_path)
    (out / "result.json").write_text('{"status": "failed"}')
    (out / ".out.unfinished-12345678").mkdir()
    (out / ".out.unfinished-12345678" / "half.dcm").write_bytes(b"half")
    assert run(into, out) == 0
    assert result_of(out)["status"] == "done"
    assert {entry.suffix for entry in out.iterdir()} == {".dcm", ".json"}


def test_a_second_attempt_removes_the_series_of_the_first_and_nothing_else(tmp_path: Path) -> None:
    into, out = router_folders(tmp_path)
    (out / "1.2#3.dcm").write_bytes(b"of another module")
    assert run(into, out) == 0
    first = {entry.name for entry in out.glob("*.dcm")}
    (into / "task.json").write_text("{")
    assert run(into, out) == 3
    assert {entry.name for entry in out.iterdir()} == {"result.json", "1.2#3.dcm"}
    assert len(first) > 1


def test_without_folders_the_reason_is_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_module({}) == 2
    assert "set one of MERCURE_IN_DIR" in capsys.readouterr().err


def test_an_error_that_nobody_thought_of_reaches_the_router(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("something odd")

    monkeypatch.setattr("petdiff.module.run.find_pet_series", fails)
    into, out = router_folders(tmp_path)
    assert run(into, out) == 1
    assert result_of(out)["reason"] == "RuntimeError: something odd"


def test_a_full_disk_reaches_the_router(tmp_path: Path, small_disk: Path) -> None:
    into, _ = router_folders(tmp_path)
    (small_disk / "filled").write_bytes(bytes(1_000_000))
    assert run(into, small_disk / "out") == 1
    assert [entry.name for entry in (small_disk / "out").iterdir()] == ["result.json"]
    assert "is full" in result_of(small_disk / "out")["reason"]


def test_nothing_of_the_patient_is_in_the_log_or_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private = {
        "PatientName": "Secret^Name",
        "PatientID": "SECRET-ID",
        "PatientBirthDate": "19440404",
        "StudyDate": "20310131",
        "AccessionNumber": "SECRET-ACC",
    }
    into, out = router_folders(tmp_path, slices=pet_slices(PIXELS, **private))
    assert run(into, out) == 0
    shown = capsys.readouterr().err + (out / "result.json").read_text()
    assert not any(value in shown for value in [*private.values(), "Secret", "SECRET"])


def test_a_router_that_stops_the_container_finds_a_result_and_no_half_series(
    tmp_path: Path,
) -> None:
    into, out = router_folders(tmp_path, slices=[], settings={"model": "flow3d", "steps": 5000})
    add_series(into, pet_slices(np.tile(PIXELS, (2, 2, 2)), SeriesInstanceUID=generate_uid()))
    process = subprocess.Popen(
        [sys.executable, "-m", "petdiff", "module"],
        env=os.environ | mercure(into, out),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "mercure module" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    process.stderr.read()
    assert process.wait(60) == 130
    result = json.loads((out / "result.json").read_text())
    assert (result["status"], result["exit_code"]) == ("interrupted", 130)
    assert [entry.name for entry in out.iterdir()] == ["result.json"]


def test_the_command_line_passes_the_exit_code_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into, out = router_folders(tmp_path, slices=[])
    for name, value in mercure(into, out).items():
        monkeypatch.setenv(name, value)
    assert cli.run(["module"]) == 3
