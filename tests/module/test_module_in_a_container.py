"""The module as routers run it: an arbitrary user, read-only, no network, no HOME, no /tmp."""

from __future__ import annotations

from pathlib import Path

import pytest

from petdiff.io import read_static
from support.jail import USER, run_in_jail
from support.router import mercure, result_of, router_folders


def world_readable(folder: Path) -> None:
    """Open the temporary folders of the test to the jailed user."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def test_a_series_is_denoised_with_nothing_but_the_contract(tmp_path: Path) -> None:
    into, out = router_folders(tmp_path)
    world_readable(into)
    done = run_in_jail(
        ["module"], mercure(into, out), readable=[into], writable=[out], root=tmp_path / "root"
    )
    assert done.returncode == 0, done.stderr
    files = sorted(out.glob("*.dcm"))
    assert len(files) == 16
    assert {file.stat().st_uid for file in files} == {USER}
    result = result_of(out)
    assert result["status"] == "done"
    assert result["series"][0]["made"] == files[0].name.partition("#")[0]
    assert {entry.name for entry in out.iterdir()} == {*(f.name for f in files), "result.json"}
    measured, denoised = read_static(into), read_static(out)
    assert denoised.shape == measured.shape
    assert denoised.suv.sum() == pytest.approx(measured.suv.sum(), rel=0.05)


def test_a_refusal_reaches_the_router(tmp_path: Path) -> None:
    into, out = router_folders(tmp_path, slices=[])
    world_readable(into)
    done = run_in_jail(
        ["module"], mercure(into, out), readable=[into], writable=[out], root=tmp_path / "root"
    )
    assert done.returncode == 3, done.stderr
    assert "holds no DICOM file" in result_of(out)["reason"]
    assert "holds no DICOM file" in done.stderr
    assert [entry.name for entry in out.iterdir()] == ["result.json"]


def test_an_output_folder_that_cannot_be_written_is_named_in_the_log(tmp_path: Path) -> None:
    into, out = router_folders(tmp_path)
    world_readable(into)
    out.chmod(0o755)
    done = run_in_jail(
        ["module"], mercure(into, out), readable=[into], writable=[out], root=tmp_path / "root"
    )
    assert done.returncode == 1
    assert "cannot write in" in done.stderr
    assert "Permission denied" in done.stderr


def test_denoise_writes_pictures_without_a_folder_for_temporary_files(tmp_path: Path) -> None:
    """XNAT calls `denoise`, which draws pictures."""
    into, out = router_folders(tmp_path)
    world_readable(into)
    done = run_in_jail(
        ["denoise", str(into), "-o", str(out / "result")],
        {},
        readable=[into],
        writable=[out],
        root=tmp_path / "root",
    )
    assert done.returncode == 0, done.stderr
    expected = {"denoised", "preview.png", "report.html", "run.json"}
    assert {entry.name for entry in (out / "result").iterdir()} == expected
    assert {entry.name for entry in out.iterdir()} == {"result"}
