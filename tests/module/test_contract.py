"""Folders and settings as routers give them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from petdiff.errors import InputRefused, UsageError
from petdiff.module.contract import Folders, read_folders, read_settings
from petdiff.module.result import SeriesResult
from petdiff.module.settings import ModuleSettings
from support.router import mercure


@pytest.mark.parametrize(
    ("environment", "contract"),
    [
        ({"MERCURE_IN_DIR": "/a", "MERCURE_OUT_DIR": "/b"}, "mercure"),
        ({"MONAI_INPUTPATH": "/a", "MONAI_OUTPUTPATH": "/b"}, "MONAI"),
        ({"HOLOSCAN_INPUT_PATH": "/a", "HOLOSCAN_OUTPUT_PATH": "/b"}, "Holoscan"),
        (mercure(Path("/a"), Path("/b")), "mercure"),
    ],
)
def test_folders_by_each_contract(environment: dict[str, str], contract: str) -> None:
    assert read_folders(environment) == Folders(contract, Path("/a"), Path("/b"))


def test_relative_folders_lie_in_the_working_folder() -> None:
    environment = {
        "HOLOSCAN_INPUT_PATH": "input/",
        "HOLOSCAN_OUTPUT_PATH": "output/",
        "HOLOSCAN_WORKDIR": "/var/holoscan",
    }
    folders = read_folders(environment)
    assert folders.input == Path("/var/holoscan/input")
    assert folders.output == Path("/var/holoscan/output")


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "MERCURE_IN_DIR, HOLOSCAN_INPUT_PATH, MONAI_INPUTPATH"),
        ({"MERCURE_IN_DIR": "/a"}, "MERCURE_OUT_DIR is not set"),
        ({"MONAI_OUTPUTPATH": "/b", "MONAI_INPUTPATH": " "}, "MONAI_INPUTPATH is not set"),
    ],
)
def test_missing_folders_are_named(environment: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        read_folders(environment)


def settings(tmp_path: Path, task: Any = None, environment: Any = None) -> ModuleSettings:
    if task is not None:
        text = task if isinstance(task, str) else json.dumps(task)
        (tmp_path / "task.json").write_text(text)
    return read_settings(Folders("mercure", tmp_path, tmp_path), environment or {})


def task(**process: Any) -> dict[str, Any]:
    return {"id": "1", "info": {"mrn": "12345"}, "process": process}


@pytest.mark.parametrize(
    "content",
    [None, {}, {"process": None}, {"process": []}, task(), task(settings=None), task(settings={})],
    ids=str,
)
def test_without_settings_the_defaults_hold(tmp_path: Path, content: Any) -> None:
    assert settings(tmp_path, content) == ModuleSettings()


def test_settings_of_the_task_overrule_those_of_the_environment(tmp_path: Path) -> None:
    environment = {"PETDIFF_SETTINGS": '{"seed": 3, "dose": "1/20"}'}
    found = settings(tmp_path, task(settings={"dose": 0.25}), environment)
    assert (found.seed, found.options().drf) == (3, 4.0)
    in_a_list = {"process": [task(settings={"seed": 7})["process"]]}
    assert settings(tmp_path, in_a_list).seed == 7


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"dosis": "1/4"}, "dosis is not a setting of petdiff; did you mean dose"),
        ({"dose": "4"}, "the setting dose is '4': give a share"),
        ({"dose": 1}, "dose is 1"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": "many"}, "steps is 'many'"),
        ({"steps": 10_001}, "steps is 10001"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"model": ""}, "model is ''"),
        ({"notify": "sometimes"}, "notify is 'sometimes'"),
        ([1], "is no JSON object"),
        ("text", "is no JSON object"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, given: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        settings(tmp_path, task(settings=given))
    (tmp_path / "task.json").unlink()
    with pytest.raises(UsageError, match=named):
        settings(tmp_path, None, {"PETDIFF_SETTINGS": json.dumps(given)})


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_damaged_settings_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="PETDIFF_SETTINGS is not JSON"):
        settings(tmp_path, None, {"PETDIFF_SETTINGS": text})
    with pytest.raises(InputRefused, match=r"task\.json"):
        settings(tmp_path, text)


def test_several_steps_are_not_guessed_between(tmp_path: Path) -> None:
    steps = {"process": [{"settings": {}}, {"settings": {"seed": 1}}]}
    with pytest.raises(InputRefused, match="2 steps"):
        settings(tmp_path, steps)


def test_every_setting_of_denoising_is_passed_on() -> None:
    found = ModuleSettings.of({"steps": 3, "dose": "5%", "seed": 2, "device": "cpu"}).options()
    assert (found.steps, found.drf, found.seed, found.device) == (3, 20.0, 2, "cpu")


@pytest.mark.parametrize(
    ("change", "notes"),
    [
        (0.019, []),
        (-0.019, []),
        (None, []),
        (0.03, ["the activity changed by +3.0%"]),
        (-0.03, ["the activity changed by -3.0%"]),
    ],
)
def test_a_change_of_activity_by_more_than_2_percent_is_noted(
    change: float | None, notes: list[str]
) -> None:
    result = SeriesResult(source="1.2", status="denoised", made="1.3", relative_change=change)
    assert result.notes() == notes
