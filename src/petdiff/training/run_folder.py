"""The folder of a training run: its files, and the check that a resumed run is the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from petdiff import disk
from petdiff.data.array_store import Store
from petdiff.errors import InputRefused, UsageError
from petdiff.lock import locked_folder
from petdiff.runs import begin_or_resume, remove_unfinished, replace_json
from petdiff.training.checkpoint import Checkpoints
from petdiff.training.recipe import MAY_CHANGE, MAY_GROW, Recipe


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run; it need not exist."""

    path: Path

    @property
    def model(self) -> Path:
        """Path of the finished model."""
        return self.path / "model.safetensors"

    @property
    def config(self) -> Path:
        """Path of the settings that determine the result."""
        return self.path / "config.json"

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints of the run."""
        return Checkpoints(self.path / "checkpoints")

    @property
    def supply(self) -> Store:
        """The store of examples and scans (memory maps), which exists during training."""
        return Store(self.path / "supply")

    @property
    def last_step(self) -> int:
        """The step from which the run can be resumed; 0 without a checkpoint."""
        return max(self.checkpoints.steps(), default=0)

    def require_free(self) -> None:
        """Raise UsageError if the folder is not empty."""
        if self.path.is_dir() and any(self.path.iterdir()):
            raise UsageError(
                f"{self.path} is not empty: `resume` the run in it, or name a new folder"
            )

    @contextmanager
    def opened(self, identity: Mapping[str, object], recipe: Recipe) -> Iterator[None]:
        """Begin or resume the run; called by the process that writes.

        If input or settings are refused before the first checkpoint, all files of the run are
        removed, so that the corrected call can use the same folder.

        identity  method, data and starting weights, which must not change in a resumed run

        Raises UsageError if the folder cannot be made, if another process trains in it, or with the
        name of each setting in which a resumed run differs.
        """
        existed = self.path.is_dir()
        settings = recipe.model_dump(exclude=set(MAY_CHANGE))
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise UsageError(
                f"{self.path} cannot be a folder ({disk.reason(problem)}): name another"
            ) from problem
        with locked_folder(self.path, "training"):
            if self.config.exists() and not self.checkpoints.steps():
                self._remove_unstarted(keep_folder=True)
            self._begin_or_resume({**identity, **settings}, self._lower_limits(recipe))
            self._remove_unfinished()
            try:
                yield
            except (UsageError, InputRefused):
                if not self.checkpoints.steps():
                    self._remove_unstarted(existed)
                raise

    def write_patients(self, fingerprints: Mapping[str, str]) -> None:
        """Write the fingerprints of the training patients."""
        replace_json(self.path / "patients.json", dict(fingerprints))

    def patients(self) -> list[str]:
        """Return the fingerprints of the training patients; none for simulated scans."""
        path = self.path / "patients.json"
        if not path.is_file():
            return []
        try:
            return [str(found) for found in json.loads(path.read_text(encoding="utf-8")).values()]
        except (ValueError, AttributeError) as problem:
            raise InputRefused(f"{path} is damaged: train in a new folder") from problem

    def _begin_or_resume(self, settings: Mapping[str, object], former: Mapping[str, float]) -> None:
        """Write the settings of a new run, or compare those of a resumed one.

        former  limits before this call raised them
        """
        begin_or_resume(self.config, {**settings, **former})
        if former:
            replace_json(self.config, settings)

    def _lower_limits(self, recipe: Recipe) -> dict[str, float]:
        """Return the limits of steps and seconds before this call raised them."""
        try:
            before = json.loads(self.config.read_text(encoding="utf-8"))
            now = {name: getattr(recipe, name) for name in MAY_GROW}
            return {name: before[name] for name, n in now.items() if _is_longer(before[name], n)}
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # a new run; begin_or_resume reports a damaged file

    def _remove_unfinished(self) -> None:
        """Remove what a killed run was writing."""
        for folder in (self.path, self.checkpoints.folder):
            if folder.is_dir():
                remove_unfinished(folder)

    def _remove_unstarted(self, keep_folder: bool) -> None:
        """Remove what a run wrote before its first checkpoint."""
        for name in ("config.json", "log.jsonl", "patients.json"):
            (self.path / name).unlink(missing_ok=True)
        for name in ("supply", "validation", "tensorboard", "checkpoints"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        if not keep_folder:
            shutil.rmtree(self.path, ignore_errors=True)


def _is_longer(before: float, now: float) -> bool:
    """Return whether a limit was raised; 0 means no limit."""
    return before != now and (now == 0 or (before != 0 and now > before))
