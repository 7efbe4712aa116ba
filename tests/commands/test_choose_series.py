"""Each command names its way to choose a series if a folder holds several."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from petdiff import cli
from support.dicom_factory import pet_slices, save

PIXELS = np.random.default_rng(0).integers(100, 3000, (8, 16, 16), dtype=np.int16)


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, list[str]]:
    """Two reconstructions in one folder, and their series."""
    folder, uids = tmp_path / "study", []
    for name in ("AC", "PSF"):
        slices = pet_slices(PIXELS, SeriesDescription=name)
        save(slices, folder / name)
        uids.append(str(slices[0].SeriesInstanceUID))
    return folder, uids


def test_info_takes_the_series(
    study: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, uids = study
    assert cli.run(["info", str(folder)]) == 3
    said = capsys.readouterr().err
    assert "--series UID" in said
    assert all(uid in said for uid in uids)
    assert cli.run(["info", str(folder), "--series", uids[1], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["series_description"] == "PSF"


@pytest.mark.parametrize("file", [[], ["flow3d"]])
def test_info_of_what_has_no_series_refuses_the_option(
    file: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["info", *file, "--series", "1.2"]) == 2
    assert "--series 1.2" in capsys.readouterr().err


def test_evaluate_takes_a_series_for_each_scan(
    study: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, uids = study
    alone = save(pet_slices(PIXELS), tmp_path / "alone")
    pair = ["evaluate", "--reference", str(alone), "--test", str(folder), "--quiet", "-o"]
    assert cli.run([*pair, str(tmp_path / "a")]) == 3
    assert "--series UID" in capsys.readouterr().err
    assert cli.run([*pair, str(tmp_path / "b"), "--series", uids[0]]) == 0
    both = ["evaluate", "--reference", str(folder), "--test", str(folder), "--quiet", "-o"]
    assert cli.run([*both, str(tmp_path / "c"), "--series", uids[0], "--series", uids[1]]) == 3
    capsys.readouterr()
    assert cli.run([*pair, str(tmp_path / "d"), "--series", uids[0], "--series", "1.2"]) == 2
    assert "--series 1.2: no scan" in capsys.readouterr().err


def test_train_says_what_its_command_line_has(
    study: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = study
    for patient in ("a", "b"):
        for name in ("full", "low_drf4"):
            for part in folder.iterdir():
                target = tmp_path / "data" / patient / name / part.name
                target.mkdir(parents=True)
                for file in part.iterdir():
                    (target / file.name).write_bytes(file.read_bytes())
    out = str(tmp_path / "run")
    code = cli.run(["train", "flow3d", "--data", str(tmp_path / "data"), "-o", out, "--quiet"])
    said = capsys.readouterr().err
    assert code == 3
    assert "keep one, and move the others to another folder" in said
    assert "series`" not in said
    assert "--series" not in said
