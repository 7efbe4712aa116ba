"""A cache of simulated volumes on disk, so that later runs need not simulate them again."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

import numpy as np

from petdiff.data.array_store import Store
from petdiff.runs import remove_unfinished
from petdiff.training.supply.paired_volumes import PairedVolumes, VolumeSource

_MOST_WRITING_S = 3600.0  # a volume has 4 to 40 MB

# The code on which a simulated volume depends.
_SIMULATION = (
    ("simulation",),
    ("units.py",),
    ("volume", "spans.py"),
    ("training", "supply", "randomized_scans.py"),
    ("training", "supply", "simulated_patients.py"),
)


@dataclass(frozen=True)
class CachedVolumes:
    """A source whose volumes are simulated once and then read from a store.

    store   may be used by several runs at the same time
    name    of the source, including its seed
    source  returns the volumes of a number
    """

    store: Store
    name: str
    source: VolumeSource

    def __call__(self, number: int) -> PairedVolumes:
        """Return the volumes of a number, simulated if the store lacks them.

        What a killed run has written of them is removed.
        """
        name = f"{self.name}-{simulation_version()}-{number:08d}"
        if name not in self.store:
            volumes = self.source(number)
            lows = np.stack(list(volumes.lows.values()))
            facts = {"doses": list(volumes.lows)}
            self.store.put(name, {"full": volumes.full, "lows": lows}, facts)
        remove_unfinished(self.store.folder, [name], unchanged_s=_MOST_WRITING_S)
        entry = self.store.get(name)
        assert entry is not None
        by_drf = zip(entry.facts["doses"], np.array(entry.arrays["lows"]), strict=True)
        return PairedVolumes(np.array(entry.arrays["full"]), dict(by_drf))


@cache
def simulation_version() -> str:
    """Return a digest of the simulation's code, which changes if a volume may change.

    Comments, docstrings and layout have no effect. Volumes of other versions are not used.
    """
    package = resources.files("petdiff")
    digest = hashlib.sha256()
    for parts in _SIMULATION:
        for name, source in _sources("/".join(parts), package.joinpath(*parts)):
            digest.update(f"{name}\0{_code_alone(source)}\0".encode())
    return digest.hexdigest()[:12]


def _sources(name: str, place: Traversable) -> list[tuple[str, str]]:
    """Return the name and text of a Python file, or of all in a folder, in name order."""
    if place.is_file():
        return [(name, place.read_text(encoding="utf-8"))] if name.endswith(".py") else []
    inside = sorted(place.iterdir(), key=lambda entry: entry.name)
    return [found for entry in inside for found in _sources(f"{name}/{entry.name}", entry)]


def _code_alone(source: str) -> str:
    """Return the source without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
            continue
        value = body[0].value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            body[0] = ast.Expr(ast.Constant(None))
    return ast.unparse(tree)
