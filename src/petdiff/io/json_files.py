"""Read JSON and TOML files of users. Errors are one line that names the file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from petdiff.errors import InputRefused, PetdiffError, UsageError

_MAX_BYTES = 16 << 20  # lists of lists take 20 times as much memory


def read_json(path: Path, *, finite: bool = False) -> object:
    """Read a JSON file; with `finite`, without NaN and without numbers beyond float64.

    Raises InputRefused if the file is missing, not JSON, or nested too deeply.
    """
    if not finite:
        return _parsed(path, "JSON", json.loads, InputRefused)
    parse = partial(json.loads, parse_constant=_refuse, parse_float=_finite)
    return _parsed(path, "JSON", parse, InputRefused)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings. Raises UsageError if it is missing or not TOML."""
    try:
        content: dict[str, Any] = _parsed(path, "TOML", tomllib.loads, UsageError)
    except InputRefused as problem:
        raise UsageError(str(problem)) from None
    return content


def read_text(path: Path) -> str:
    """Read a text file in UTF-8. Raises InputRefused if it is missing, too large or no text."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputRefused(f"{path} does not exist: check the name") from None
    except OSError as problem:
        raise InputRefused(f"{path} cannot be read ({problem.strerror})") from None
    if len(content) > _MAX_BYTES:
        raise InputRefused(f"{path} has more than {_MAX_BYTES >> 20} MiB: give a text file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise InputRefused(f"{path} is no text in UTF-8 ({problem.reason})") from None


def _parsed(path: Path, kind: str, parse: Callable[[str], Any], error: type[PetdiffError]) -> Any:
    text = read_text(path)
    try:
        return parse(text)
    except RecursionError:
        raise error(f"{path} is nested too deep: give {kind} of a few levels") from None
    except ValueError as problem:
        raise error(f"{path} is not {kind} ({problem}): give one that is") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")


def _finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else _refuse(text)
