"""The interface between a router and a module: environment variables and JSON settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from petdiff.errors import InputRefused, UsageError
from petdiff.io.json_files import read_json
from petdiff.module.settings import ModuleSettings

# (contract, variable of the input folder, of the output folder); mercure sets all three.
_CONTRACTS = (
    ("mercure", "MERCURE_IN_DIR", "MERCURE_OUT_DIR"),
    ("Holoscan", "HOLOSCAN_INPUT_PATH", "HOLOSCAN_OUTPUT_PATH"),
    ("MONAI", "MONAI_INPUTPATH", "MONAI_OUTPUTPATH"),
)
_WORKING_FOLDER = "HOLOSCAN_WORKDIR"  # the base of relative paths
SETTINGS = "PETDIFF_SETTINGS"
TASK = "task.json"


@dataclass(frozen=True)
class Folders:
    """The input and output folder, and the contract that names them."""

    contract: str
    input: Path
    output: Path


def read_folders(environment: Mapping[str, str]) -> Folders:
    """Return the folders that the environment names. Raises UsageError if it names none."""
    for contract, *names in _CONTRACTS:
        paths = [environment.get(name, "").strip() for name in names]
        if not any(paths):
            continue
        if not all(paths):
            missing = names[paths.index("")]
            raise UsageError(f"{missing} is not set: a {contract} module needs both folders")
        base = Path(environment.get(_WORKING_FOLDER) or ".")
        return Folders(contract, *(base / path for path in paths))
    known = ", ".join(name for _, name, _ in _CONTRACTS)
    raise UsageError(f"no input folder: set one of {known} and its output folder")


def read_settings(folders: Folders, environment: Mapping[str, str]) -> ModuleSettings:
    """Return the settings of PETDIFF_SETTINGS, overridden by those of mercure's task.json.

    Raises UsageError for an unknown or wrong setting, InputRefused for an unreadable task.json.
    """
    given = _from_environment(environment) | _from_task(folders.input / TASK)
    return ModuleSettings.of(given)


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    text = environment.get(SETTINGS, "").strip()
    if not text:
        return {}
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"{SETTINGS} is not JSON ({problem})") from None
    return _settings(content, SETTINGS)


def _from_task(task: Path) -> dict[str, object]:
    """Return process.settings of a task; empty where there is no task."""
    if not task.exists():
        return {}
    content = read_json(task)
    process = content.get("process") if isinstance(content, dict) else None
    if isinstance(process, list) and len(process) == 1:
        process = process[0]
    if isinstance(process, list) and process:
        raise InputRefused(f"{TASK} lists {len(process)} steps in `process`: give one to a module")
    settings = process.get("settings") if isinstance(process, dict) else None
    return _settings(settings or {}, f"process.settings of {TASK}")


def _settings(content: object, where: str) -> dict[str, object]:
    if not isinstance(content, dict):
        raise UsageError(f'{where} is no JSON object: give names and values, {{"dose": "1/4"}}')
    return content
