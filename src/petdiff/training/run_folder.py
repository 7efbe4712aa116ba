"""The folder of a training run: which run it belongs to, and what lies where."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from petdiff.data.array_store import Store
from petdiff.errors import InputRefused, UsageError
from petdiff.runs import begin_or_resume, remove_unfinished, whole_file, write_json
from petdiff.training.checkpoint import Checkpoints
from petdiff.training.recipe import MAY_CHANGE, MAY_GROW, Recipe


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, which may not exist yet."""

    path: Path

    @property
    def model(self) -> Path:
        """Where the finished model lies."""
        return self.path / "model.safetensors"

    @property
    def config(self) -> Path:
        """Where the settings that shape the run lie."""
        return self.path / "config.json"

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints there are."""
        return Checkpoints(self.path / "checkpoints")

    @property
    def supply(self) -> Store:
        """Examples and scans as memory maps, while training goes on."""
        return Store(self.path / "supply")

    @property
    def last_step(self) -> int:
        """The step that the run can be resumed from; 0 for one that was not begun."""
        return max(self.checkpoints.steps(), default=0)

    def require_free(self) -> None:
        """Raise UsageError where the folder holds something."""
        if self.path.is_dir() and any(self.path.iterdir()):
            raise UsageError(
                f"{self.path} is not empty: `resume` the run in it, or name a new folder"
            )

    @contextmanager
    def opened(self, identity: Mapping[str, object], recipe: Recipe) -> Iterator[None]:
        """Begin or resume the run; for the one process that writes.

        Where input or settings are refused before a step was saved, nothing of a new run is left,
        so that the corrected call may use the same folder.

        identity  method, data and weights to start from: may not change when the run is resumed

        Raises UsageError, naming each setting, where the run was begun with others.
        """
        began = self.path.is_dir()
        shaping = recipe.model_dump(exclude=set(MAY_CHANGE))
        if self.config.exists():
            self._take_over(recipe)
        begin_or_resume(self.config, {**identity, **shaping})
        remove_unfinished(self.path)
        try:
            yield
        except (UsageError, InputRefused):
            if not self.checkpoints.steps():
                self._remove_unstarted(began)
            raise

    def keep_patients(self, fingerprints: Mapping[str, str]) -> None:
        """Write which training patient has which fingerprint."""
        with whole_file(self.path / "patients.json", replace=True) as unfinished:
            write_json(unfinished, dict(fingerprints))

    def patients(self) -> list[str]:
        """Return the fingerprints of the training patients; none for simulated scans."""
        path = self.path / "patients.json"
        if not path.is_file():
            return []
        try:
            return [str(found) for found in json.loads(path.read_text(encoding="utf-8")).values()]
        except (ValueError, AttributeError) as problem:
            raise InputRefused(f"{path} is damaged: train in a new folder") from problem

    def _take_over(self, recipe: Recipe) -> None:
        """Forget a run that saved no step; let steps and seconds of another grow."""
        if not self.checkpoints.steps():
            self._remove_unstarted(keep_folder=True)
            return
        try:
            was = json.loads(self.config.read_text(encoding="utf-8"))
            now = {name: getattr(recipe, name) for name in MAY_GROW}
            longer = {name: n for name, n in now.items() if _is_longer(was[name], n)}
        except (ValueError, KeyError, TypeError):
            return  # which begin_or_resume reports
        if longer:
            with whole_file(self.config, replace=True) as unfinished:
                write_json(unfinished, {**was, **longer})

    def _remove_unstarted(self, keep_folder: bool) -> None:
        """Remove what a run wrote before its first checkpoint."""
        for name in ("config.json", "log.jsonl", "patients.json"):
            (self.path / name).unlink(missing_ok=True)
        for name in ("supply", "validation", "tensorboard", "checkpoints"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        if not keep_folder:
            shutil.rmtree(self.path, ignore_errors=True)


def _is_longer(was: float, now: float) -> bool:
    """Return whether a limit was raised; 0 is no limit."""
    return was != now and (now == 0 or (was != 0 and now > was))
