"""The structure of the code: rooms without circles, and files and functions of a readable size."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "petdiff"
MODULES = {
    "petdiff." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"  # the lazy facade, which reaches everywhere
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
LONGEST_FUNCTION, LONGEST_FILE = 50, 350
# Where every type is said. (mypy's disallow_any_explicit also refuses each pydantic model and each
# `slice`, whose definitions hold an Any.)
WITHOUT_ANY = {
    "commands", "diffusion", "evaluation", "inference", "methods", "networks", "records", "runs",
    "suv", "training", "volume",
}  # fmt: skip


def room(module: str) -> str:
    """Return the folder of a module; a module at the top is a room of its own."""
    parts = module.removesuffix(".__init__").split(".")
    here = PACKAGE.joinpath(*parts[1:])
    return ".".join(parts if here.is_dir() or len(parts) == 2 else parts[:-1])


def imports(tree: ast.AST) -> set[str]:
    """Return the modules of the package that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("petdiff."):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in inner}
    return found


def rooms() -> dict[str, set[str]]:
    """Return which rooms each room imports."""
    graph: dict[str, set[str]] = {}
    for name, tree in TREES.items():
        here = room(name)
        graph.setdefault(here, set())
        graph[here] |= {room(other) for other in imports(tree)} - {here}
    return graph


def test_no_room_imports_one_that_imports_it_back_however_far_around() -> None:
    graph = rooms()
    done: set[str] = set()

    def visit(one: str, way: tuple[str, ...]) -> None:
        assert one not in way, " > ".join([*way[way.index(one) :], one])
        if one not in done:
            for other in sorted(graph.get(one, ())):
                visit(other, (*way, one))
            done.add(one)

    for one in sorted(graph):
        visit(one, ())


def test_image_knows_nothing_of_the_package_and_networks_no_file() -> None:
    graph = rooms()
    assert graph["petdiff.image"] == set()
    assert not graph["petdiff.networks"] & {"petdiff.io", "petdiff.commands", "petdiff.simulation"}
    assert not graph["petdiff.diffusion"] & {"petdiff.io", "petdiff.commands"}
    assert "petdiff.networks" not in graph["petdiff.simulation"]
    above_data = {f"petdiff.{room}" for room in ("training", "evaluation", "inference", "methods")}
    assert not graph["petdiff.data"] & above_data


def test_types_are_said() -> None:
    named = {
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        if name.split(".")[1] in WITHOUT_ANY
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "Any"
    }
    assert not named


def test_functions_fit_on_a_screen() -> None:
    """Lines of a function without its docstring."""
    long = {}
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first, last = node.body[0], node.end_lineno or node.lineno
                documented = ast.get_docstring(node) is not None
                described = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
                lines = last - node.lineno + 1 - described
                if lines > LONGEST_FUNCTION:
                    long[f"{name}.{node.name}"] = lines
    assert not long


def test_files_hold_one_idea() -> None:
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    long = {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE}
    assert not long


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from petdiff.cli import app; import petdiff.inference.options; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
