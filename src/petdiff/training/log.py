"""What a run tells while it trains: a JSON line a tick, and curves for TensorBoard if asked."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petdiff.errors import UsageError
from petdiff.runs import whole_file


@dataclass(frozen=True)
class Tick:
    """Means over the last few steps, as the log has them; waited is a share of the time."""

    step: int
    loss: dict[str, float]
    rate: float
    seconds: float
    voxels_per_s: float
    waited: float


class Clock:
    """Adds up losses and times between ticks."""

    def __init__(self, voxels: int) -> None:
        self.voxels = voxels  # of a step
        self.restart()
        self._clear()

    def restart(self) -> None:
        """Leave out what has passed since the last step."""
        self.last = time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.waited += time.perf_counter() - start

    def step(self, losses: dict[str, float]) -> float:
        """Count a step; returns the seconds that it took."""
        now = time.perf_counter()
        taken, self.last = now - self.last, now
        self.seconds += taken
        self.steps += 1
        self.losses.update(losses)
        return taken

    def tick(self, step: int, seconds: float, rate: float) -> Tick:
        """The means since the last tick, at a step that came `seconds` after the start."""
        losses = {name: total / self.steps for name, total in self.losses.items()}
        voxels_per_s = self.voxels * self.steps / self.seconds
        tick = Tick(
            step,
            losses,
            rate,
            round(seconds, 3),
            round(voxels_per_s),
            round(self.waited / self.seconds, 4),
        )
        self._clear()
        return tick

    def _clear(self) -> None:
        self.steps, self.seconds, self.waited = 0, 0.0, 0.0
        self.losses: Counter[str] = Counter()


class Journal:
    """`log.jsonl` in the run's folder, one writer only.

    first       the step that the run goes on from: lines of later steps, which a killed run wrote
                after its last checkpoint, are taken out, for those steps are done again
    tensorboard whether to write curves as well
    """

    def __init__(self, run: Path, first: int, tensorboard: bool) -> None:
        self.path = run / "log.jsonl"
        run.mkdir(parents=True, exist_ok=True)
        self._curves: Any = _writer(run / "tensorboard", first) if tensorboard else None
        if first == 0:
            self.path.unlink(missing_ok=True)
        elif self.path.is_file():
            kept = [
                line
                for line in self.path.read_text(encoding="utf-8").splitlines()
                if _is_before(line, first)
            ]
            with whole_file(self.path, replace=True) as unfinished:
                unfinished.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def line(self, content: Mapping[str, Any]) -> None:
        """Append a line; numbers of a line that names its step become points of curves."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(content), ensure_ascii=False) + "\n")
        if self._curves is not None and "step" in content:
            for name, value in _numbers(content, ""):
                self._curves.add_scalar(name, value, content["step"])
            self._curves.flush()


def _writer(folder: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as problem:
        raise UsageError(
            "tensorboard = true needs TensorBoard: pip install 'petdiff[train]', or leave it out"
        ) from problem
    return SummaryWriter(str(folder), purge_step=first + 1)


def _numbers(content: Mapping[str, Any], prefix: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in content.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            found.append((prefix + name, float(value)))
    return found


def _is_before(line: str, first: int) -> bool:
    try:
        return int(json.loads(line).get("step", 0)) <= first
    except ValueError:  # a line cut short by a kill
        return False
