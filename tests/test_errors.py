"""One message serves Python and the command line."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import petdiff
from petdiff.errors import UsageError, with_options, with_plain_names

OPTIONS = {"--samples", "--suv-factor", "--voxel-size"}


def test_arguments_become_options_and_nothing_else_does() -> None:
    message = "`samples` is 0: see `make viewer`, `suv_factor`, `voxel_mm` and `tile`"
    shown = with_options(message, OPTIONS)
    assert shown == "--samples is 0: see `make viewer`, --suv-factor, --voxel-size and `tile`"
    plain = "samples is 0: see `make viewer`, suv_factor, voxel_mm and tile"
    assert with_plain_names(message) == plain
    assert with_plain_names("`drf` is 4: leave it out") == "dose is 4: leave it out"


def test_usage_error_knows_the_argument_at_fault() -> None:
    assert UsageError("`suv_factor` is 0, and `units` is suv").option == "suv_factor"
    assert UsageError("out exists: name another").option is None


def test_messages_of_the_library_do_not_speak_command_line() -> None:
    """Other programs' options may be named; petdiff's own are written by the command line."""
    root = Path(petdiff.__file__).parent
    allowed = ("errors.py", "cli/", "invocation.py", "progress.py", "commands/")
    found = []
    for file in root.rglob("*.py"):
        name = file.relative_to(root).as_posix()
        if name.startswith(allowed):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                options = re.findall(r"(?<![\w<!-])--[a-z][a-z-]*(?![a-z:-])", node.value)
                found += [f"{name}:{node.lineno}: {option}" for option in options]
    others = (" --raw", " --nthreads")
    assert [one for one in found if not one.endswith(others)] == []
