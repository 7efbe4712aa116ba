"""Data flows one way: no folder imports one that imports it back."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import petdiff

ROOT = Path(petdiff.__file__).parent


def rooms_imported() -> dict[str, set[str]]:
    """Return the rooms that each room imports; a room is a folder, or a module beside them."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for file in ROOT.rglob("*.py"):
        room = file.relative_to(ROOT).parts[0].removesuffix(".py")
        if room == "__init__":  # the names that users see, found on first use
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("petdiff."):
                found[room].add((node.module or "").split(".")[1])
        found[room].discard(room)
    return dict(found)


def test_no_rooms_import_each_other_back() -> None:
    """Nor in a longer circle: every room can be taken away once those that import it are gone."""
    imported = rooms_imported()
    left = {room: set(others) for room, others in imported.items()}
    while free := [room for room in left if not any(room in others for others in left.values())]:
        for room in free:
            del left[room]
    assert left == {}


def test_data_is_below_training_and_evaluation() -> None:
    assert not rooms_imported()["data"] & {"training", "evaluation", "inference", "methods"}
