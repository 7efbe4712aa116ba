"""Store arrays on disk as memory maps that several processes can read.

An entry is a folder with one `.npy` file per array and `entry.json` with its facts. It is written
under a hidden name and then renamed, so that an entry is always complete. If two processes write
the same entry, the first one is kept.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petdiff.runs import whole_folder

Array = NDArray[np.generic]

_FACTS = "entry.json"


@dataclass(frozen=True)
class Entry:
    """Memory-mapped arrays by name, and facts as JSON."""

    arrays: dict[str, NDArray[Any]]  # the caller knows their types
    facts: dict[str, Any]


@dataclass(frozen=True)
class Store:
    """A folder of entries."""

    folder: Path

    def put(self, name: str, arrays: Mapping[str, Array], facts: Mapping[str, object]) -> None:
        """Write an entry, if no other process has. Raises PetdiffError if the disk is full."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_folder(self.folder / name, first_wins=True, flush=False) as unfinished:
            for key, array in arrays.items():
                np.save(unfinished / f"{key}.npy", array)
            text = json.dumps({"arrays": list(arrays), "facts": dict(facts)}, allow_nan=False)
            (unfinished / _FACTS).write_text(text, encoding="utf-8")

    def get(self, name: str) -> Entry | None:
        """Return an entry; None if it does not exist (yet)."""
        try:
            content = json.loads((self.folder / name / _FACTS).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        folder = self.folder / name
        arrays = {key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in content["arrays"]}
        return Entry(arrays, content["facts"])

    def __contains__(self, name: str) -> bool:
        return (self.folder / name / _FACTS).is_file()

    def names(self) -> list[str]:
        """Return the names of all entries, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(f.name for f in self.folder.iterdir() if not f.name.startswith("."))

    def drop(self, name: str) -> None:
        """Remove an entry; its open memory maps stay readable (not on Windows)."""
        hidden = self.folder / f".{name}.dropped"
        try:
            (self.folder / name).rename(hidden)
        except FileNotFoundError:
            return
        shutil.rmtree(hidden, ignore_errors=True)

    def sweep(self) -> None:
        """Remove incomplete entries of killed processes."""
        if self.folder.is_dir():
            for incomplete in self.folder.glob(".*"):
                shutil.rmtree(incomplete, ignore_errors=True)
