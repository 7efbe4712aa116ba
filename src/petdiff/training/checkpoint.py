"""Training checkpoints: the last three and the best one are kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from petdiff.errors import InputRefused
from petdiff.runs import whole_file

_KEPT_CHECKPOINTS = 3


@dataclass(frozen=True)
class Checkpoints:
    """A folder of checkpoints named after their steps."""

    folder: Path

    def save(self, step: int, state: Mapping[str, object], best: int | None) -> None:
        """Write the state of `step`; remove all but the last three and that of step `best`.

        state  tensors and plain values

        A file appears complete or not at all. Raises PetdiffError if the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(step)
        with whole_file(path, replace=True) as unfinished, unfinished.open("wb") as file:
            torch.save(dict(state), file)
        steps = self.steps()
        for old in steps[:-_KEPT_CHECKPOINTS]:
            if old != best:
                self._path(old).unlink()

    def steps(self) -> list[int]:
        """Return the steps of the existing checkpoints, ascending."""
        return sorted(int(path.stem.split("-")[1]) for path in self.folder.glob("step-*.pt"))

    def load(self, step: int) -> dict[str, object]:
        """Read the state of a step without unpickling. Raises InputRefused for any other file."""
        path = self._path(step)
        try:
            state: dict[str, object] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise InputRefused(
                f"{path}: not a training checkpoint ({type(error).__name__}); remove it, and "
                "`resume` continues from the one before"
            ) from error
        return state

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.pt"
