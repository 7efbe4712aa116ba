"""The structure of the code: no circular imports, and files and functions of a readable size."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
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
    "cluster", "commands", "denoising", "diffusion", "evaluation", "inference", "many",
    "measurement", "methods", "module", "networks", "records", "runs", "suv", "training",
    "volume",
}  # fmt: skip

# What may be imported inside a function: packages from any module, and modules of petdiff from
# those that are listed, each with the reason.
LATE_PACKAGES = {
    "torch": "takes 1.3 s; simulating, measuring and reading headers do without",
    "matplotlib": "takes 0.5 s, and only plots need it",
    "PIL": "only pictures need it",
    "skimage": "takes 0.3 s, and two measures need it",
    "scipy.spatial": "takes 0.07 s, and only an audit with findings needs it",
    "rich": "only a terminal shows a bar",
    "resource": "not there on Windows",
    "fcntl": "not there on Windows",
    "SimpleITK": "extra formats",
    "highdicom": "extra regions",
    "pynetdicom": "extra node",
    "prometheus_client": "extra node",
    "dicomweb_client": "extra node",
    "dask": "extra cluster",
    "distributed": "extra cluster",
}
LATE_MODULES = {
    "petdiff.cli.facts": "petdiff --help answers at once; a command imports its own when it runs",
    "petdiff.cli.lower_dose": "as petdiff.cli.facts",
    "petdiff.cli.models": "as petdiff.cli.facts",
    "petdiff.cli.scans": "as petdiff.cli.facts",
    "petdiff.cli.services": "as petdiff.cli.facts",
    "petdiff.cli.simulation": "as petdiff.cli.facts",
    "petdiff.commands.demo": "a picture that cannot be drawn does not cost the result",
    "petdiff.commands.denoise": "torch: one scan may be refused before it is there",
    "petdiff.denoising.scan": "a wrong path is refused before torch is there",
    "petdiff.denoising.pictures": "a picture that cannot be drawn does not cost the result",
    "petdiff.denoising.frames": "torch",
    "petdiff.denoising.interval": "torch",
    "petdiff.measurement.run": "torch: a wrong path is refused before it is there",
    "petdiff.evaluation.inputs": "torch, where scans are resampled",
    "petdiff.commands.info": "torch, where a model is described",
    "petdiff.commands.simulate_patient": "a picture that cannot be drawn does not cost the result",
    "petdiff.evaluation.cohort.definition": "torch: a cohort's file is checked without",
    "petdiff.evaluation.cohort.interval_rows": "torch, as below",
    "petdiff.evaluation.cohort.exam": "torch: a process that only filters does without",
    "petdiff.io.__init__": "each file format has its own packages, and readers import this one",
    "petdiff.module.run": "torch: a wrong environment is refused before it is there",
    "petdiff.node.run": "extra node",
    "petdiff.uncertainty.audit.scales": "torch",
    "petdiff.uncertainty.calibration.features": "torch",
    "petdiff.volume.noise": "torch",
}


def folder_of(module: str) -> str:
    """Return the folder of a module; a module at the top counts as a folder of its own."""
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


def imported_folders() -> dict[str, set[str]]:
    """Return which folders each folder imports."""
    graph: dict[str, set[str]] = {}
    for name, tree in TREES.items():
        here = folder_of(name)
        graph.setdefault(here, set())
        graph[here] |= {folder_of(other) for other in imports(tree)} - {here}
    return graph


def test_no_folder_imports_one_that_imports_it_back_however_far_around() -> None:
    graph = imported_folders()
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
    graph = imported_folders()
    assert graph["petdiff.image"] == set()
    assert not graph["petdiff.networks"] & {"petdiff.io", "petdiff.commands", "petdiff.simulation"}
    assert not graph["petdiff.diffusion"] & {"petdiff.io", "petdiff.commands"}
    assert "petdiff.networks" not in graph["petdiff.simulation"]
    above_data = {f"petdiff.{name}" for name in ("training", "evaluation", "inference", "methods")}
    assert not graph["petdiff.data"] & above_data


def late_imports(tree: ast.AST, *, inside: bool = False) -> Iterator[str]:
    """Yield the modules that a module imports inside its functions."""
    for node in ast.iter_child_nodes(tree):
        if inside and isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif inside and isinstance(node, ast.ImportFrom):
            yield str(node.module)
        within = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from late_imports(node, inside=within)


def test_imports_stand_at_the_top_but_for_those_that_are_slow_or_optional() -> None:
    late = {(name, imported) for name, tree in TREES.items() for imported in late_imports(tree)}
    unlisted = {
        (name, imported)
        for name, imported in late
        if not {imported, imported.split(".")[0]} & set(LATE_PACKAGES)
        and not (imported.startswith("petdiff.") and name in LATE_MODULES)
    }
    assert not unlisted
    assert {name for name, imported in late if imported.startswith("petdiff.")} == set(LATE_MODULES)


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


def test_a_scan_is_denoised_without_slow_packages_that_only_others_need() -> None:
    slow = ("matplotlib", "scipy.optimize", "scipy.spatial", "scipy.stats", "skimage")
    modules = ("commands.denoise", "inference.denoise", "report.page", "report.preview")
    code = (
        f"import sys; {'; '.join(f'import petdiff.{one}' for one in modules)}; "
        "from petdiff.denoising.interval import prepare_intervals as prepare; "
        "prepare(None, None, None, None); "
        f"print([one for one in {slow} if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
