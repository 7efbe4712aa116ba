"""A finished run is not lost: odd names, closed or full streams, no home, no UTF-8."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from petdiff import cli

NAMES = ["denoised.nii.gz", "preview.png", "report.html", "run.json"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    noisy = np.random.default_rng(0).gamma(4, 0.25, (16, 16, 16)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(noisy, np.diag([4.0, 4.0, 4.0, 1.0])), path)
    return path


def denoise(
    scan: Path, out: Path, shell: str = "", **environment: str | None
) -> subprocess.CompletedProcess[bytes]:
    """Run `petdiff denoise SCAN -o OUT` by a shell; `shell` follows the command."""
    env = {**os.environ, "SCAN": str(scan), "OUT": str(out), "PYTHON": sys.executable}
    for name, value in environment.items():
        env.pop(name, None)
        if value is not None:
            env[name] = value
    command = f'"$PYTHON" -m petdiff denoise "$SCAN" -o "$OUT" {shell}'
    return subprocess.run(["bash", "-o", "pipefail", "-c", command], env=env, capture_output=True)


def assert_whole(out: Path) -> None:
    assert sorted(entry.name for entry in out.iterdir()) == NAMES
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["missing"] == {}
    assert (out / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert nibabel.load(out / "denoised.nii.gz").get_fdata().std() > 0


ODD_NAMES = [
    b"a$^$b", b"$\\frac{$", b"caf\xe9", b"line\nfeed", b"\x1b]0;owned\x07\x1b[31m", b"-o", b"a b",
    "日本語 σ → \u202e".encode(), b"x" * 240, b"<script>", b"%s{0}", b"[red]",
]  # fmt: skip


def test_odd_names_of_files_cost_nothing(scan: Path, tmp_path: Path) -> None:
    pairs = []
    for name in map(os.fsdecode, ODD_NAMES):
        shutil.copy(scan, tmp_path / f"{name}.nii.gz")
        pairs.append((tmp_path / f"{name}.nii.gz", tmp_path / name))
    program = (
        "import sys; from petdiff import cli, terminal; terminal.prepare_streams(); "
        "runs = zip(sys.argv[1::2], sys.argv[2::2]); "
        "sys.exit(max(cli.run(['denoise', scan, '-o', out]) for scan, out in runs))"
    )
    arguments = [str(path) for pair in pairs for path in pair]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True)
    assert done.returncode == 0, done.stderr
    for _, out in pairs:
        assert_whole(out)
    assert b"\x1b" not in done.stderr
    assert "\u202e".encode() not in done.stderr
    printed = b"".join(os.fsencode(out / file) + b"\n" for _, out in pairs for file in NAMES)
    assert done.stdout == printed, "a script gets each path as it is"


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ("2>&-", 0), ("2>/dev/full", 0), ("2>&1 | head -c1", 0), ("<&- >&- 2>&-", 0),
        ("| true", 0), (">/dev/full", 1), (">/dev/full 2>&1", 1),
    ],
)  # fmt: skip
def test_streams_that_are_closed_full_or_not_read_cost_nothing(
    scan: Path, tmp_path: Path, shell: str, code: int
) -> None:
    done = denoise(scan, tmp_path / "out", shell)
    assert done.returncode == code, done.stderr
    assert_whole(tmp_path / "out")
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    if shell == ">/dev/full":
        assert b"cannot print the result (No space left on device)" in done.stderr


def assert_quiet_about_the_environment(said: bytes) -> None:
    warnings = [line for line in said.lower().splitlines() if b"warning" in line]
    # Noise in a cube is no patient, which is all that may be warned of.
    assert [line for line in warnings if b"unlike the scans" not in line] == []
    assert b"Matplotlib" not in said
    assert b"16 x 16 x 16 voxels of 4 x 4 x 4 mm" in said


def test_a_home_that_cannot_be_written_and_locale_c_cost_nothing(
    scan: Path, tmp_path: Path
) -> None:
    done = denoise(
        scan,
        tmp_path / "out",
        HOME="/proc/nowhere",
        MPLCONFIGDIR="/proc/nowhere",
        PYTHONUTF8="0",
        XDG_CACHE_HOME="/proc/none",
        PYTHONCOERCECLOCALE="0",
        LC_ALL="C",
    )
    assert done.returncode == 0, done.stderr
    assert_whole(tmp_path / "out")
    assert_quiet_about_the_environment(done.stderr)


def test_user_without_home_who_is_not_in_the_list_of_users_loses_nothing(
    scan: Path, tmp_path: Path
) -> None:
    """Containers run like this under any number; the terminal is ASCII, of one column."""
    program = (
        "import os, pwd, sys\n"
        "def unknown(*_): raise KeyError('getpwuid(): uid not found: 54321')\n"
        "pwd.getpwuid = pwd.getpwnam = unknown\n"
        "from petdiff.cli import main; main()"
    )
    arguments = ["denoise", str(scan), "-o", str(tmp_path / "out")]
    env = {k: v for k, v in os.environ.items() if k not in ("HOME", "USER", "LOGNAME", "TERM")}
    env |= {"PYTHONIOENCODING": "ascii", "COLUMNS": "1"}
    done = subprocess.run([sys.executable, "-c", program, *arguments], env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert_whole(tmp_path / "out")
    assert_quiet_about_the_environment(done.stderr)


def test_failed_picture_and_page_are_reported_and_recorded_and_the_result_is_whole(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise MemoryError("no\nroom")

    monkeypatch.setattr("petdiff.report.preview.write_preview", broken)
    monkeypatch.setattr("petdiff.report.page.write_page", broken)
    out = tmp_path / "out"
    assert cli.run(["denoise", str(scan), "-o", str(out)]) == 0
    assert sorted(entry.name for entry in out.iterdir()) == ["denoised.nii.gz", "run.json"]
    printed = capsys.readouterr()
    assert "warning preview.png could not be made (MemoryError: no room)" in printed.err
    assert printed.out.split() == [str(out / "denoised.nii.gz"), str(out / "run.json")]
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["missing"] == {
        "preview.png": "MemoryError: no room", "report.html": "MemoryError: no room",
    }  # fmt: skip


def test_simulated_patient_without_its_picture_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("no font")

    monkeypatch.setattr("petdiff.report.preview.write_scans", broken)
    options = ["--extent", "head-neck", "--voxel-size", "16", "--dose", "1/4"]
    assert cli.run(["simulate", "-o", str(tmp_path / "patient"), *options]) == 0
    assert (tmp_path / "patient" / "low_drf4.nii.gz").is_file()
    assert not (tmp_path / "patient" / "preview.png").exists()
    record = json.loads((tmp_path / "patient" / "scan.json").read_text(encoding="utf-8"))
    assert record["missing"] == {"preview.png": "ValueError: no font"}
    assert "warning preview.png could not be made" in capsys.readouterr().err
    again = [
        "simulate",
        "-o",
        str(tmp_path / "again"),
        "--from",
        str(tmp_path / "patient/scan.json"),
    ]
    assert cli.run([*again, "--quiet"]) == 0
