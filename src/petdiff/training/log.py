"""The training log: one JSON line every few steps, and TensorBoard curves if requested."""

from __future__ import annotations

import importlib.util
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from petdiff.errors import UsageError
from petdiff.runs import whole_file


@dataclass(frozen=True)
class LogEntry:
    """Means over the last steps, as one line of the log.

    seconds  training time so far, including earlier starts of the run
    waited   share of the time in which training waited for data
    """

    step: int
    loss: dict[str, float]
    learning_rate: float
    seconds: float
    voxels_per_s: float
    waited: float


class StepMeter:
    """Sums the losses and times of the steps until the next line of the log.

    voxels  number of voxels in all patches of a step
    """

    def __init__(self, voxels: int) -> None:
        self.voxels = voxels
        self.restart()
        self._clear()

    def restart(self) -> None:
        """Exclude the time since the last step, such as that of a validation."""
        self.last = time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of a block as waiting for data."""
        start = time.perf_counter()
        yield
        self.waited += time.perf_counter() - start

    def count(self, losses: Mapping[str, float]) -> float:
        """Count a step; returns the seconds that it took."""
        now = time.perf_counter()
        taken, self.last = now - self.last, now
        self.seconds += taken
        self.steps += 1
        self.losses.update(losses)
        return taken

    def entry(self, step: int, seconds: float, learning_rate: float) -> LogEntry:
        """Return the means since the last entry, and reset the sums.

        seconds  training time so far
        """
        entry = LogEntry(
            step,
            {name: total / self.steps for name, total in self.losses.items()},
            learning_rate,
            round(seconds, 3),
            round(self.voxels * self.steps / self.seconds),
            round(self.waited / self.seconds, 4),
        )
        self._clear()
        return entry

    def _clear(self) -> None:
        self.steps, self.seconds, self.waited = 0, 0.0, 0.0
        self.losses: Counter[str] = Counter()


class TrainingLog:
    """`log.jsonl` in the run's folder; one process writes it.

    resumed_at   step of the checkpoint from which the run is resumed; None for a new run. Lines of
                 later steps are removed, because these steps are repeated
    tensorboard  whether to write TensorBoard curves as well
    """

    def __init__(self, run: Path, resumed_at: int | None, tensorboard: bool) -> None:
        self.path = run / "log.jsonl"
        run.mkdir(parents=True, exist_ok=True)
        self._curves: _Curves | None = None
        if tensorboard:
            require_tensorboard()
            self._curves = _open_curves(run / "tensorboard", resumed_at or 0)
        if resumed_at is None:
            self.path.unlink(missing_ok=True)
        elif self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _is_up_to(line, resumed_at)]
            with whole_file(self.path, replace=True) as unfinished:
                unfinished.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def write(self, content: Mapping[str, object]) -> None:
        """Append a line; the numbers of a line that has a step become points of curves."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(content), ensure_ascii=False) + "\n")
        step = content.get("step")
        if self._curves is not None and isinstance(step, int):
            for name, value in _numbers(content, ""):
                self._curves.add_scalar(name, value, step)
            self._curves.flush()


def require_tensorboard() -> None:
    """Raise UsageError where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError(
            "tensorboard = true needs TensorBoard, which is not installed: run "
            "`python -m pip install tensorboard` with petdiff's Python, or leave the setting out"
        )


class _Curves(Protocol):
    """The part of TensorBoard's SummaryWriter that is used here."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object: ...

    def flush(self) -> object: ...


def _open_curves(folder: Path, resumed_at: int) -> _Curves:
    from torch.utils.tensorboard import SummaryWriter

    curves: _Curves = SummaryWriter(str(folder), purge_step=resumed_at + 1)
    return curves


def _numbers(content: Mapping[str, object], prefix: str) -> list[tuple[str, float]]:
    """Return all numbers but the step, by a name such as loss/flow3d."""
    found: list[tuple[str, float]] = []
    for name, value in content.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            found.append((prefix + name, float(value)))
    return found


def _is_up_to(line: str, step: int) -> bool:
    try:
        return int(json.loads(line).get("step", 0)) <= step
    except ValueError:  # a line cut short by a kill
        return False
