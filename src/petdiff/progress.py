"""What a run tells a person while it works: stages with a bar on a terminal, plain lines elsewhere.

All of it goes to stderr, so that stdout holds results only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_SECONDS_BETWEEN_LINES = 10.0


class Tick(Protocol):
    """Told what is done of how much, and perhaps how it goes, as often as one likes."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


class Progress:
    """Says what is going on and keeps how long each stage took (`seconds`, by stage name)."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}

    def say(self, line: str) -> None:
        """Print one line, unless the run is quiet."""
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[Tick]:
        """Time a stage; yields a Tick."""
        start = time.perf_counter()
        shown = sys.stderr.isatty() and not self.quiet
        with _bar(name) if shown else self._lines(name) as tick:
            yield tick
        self.seconds[name] = round(time.perf_counter() - start, 3)
        self.say(f"{name:<12} {self.seconds[name]:7.1f} s")

    @contextmanager
    def _lines(self, name: str) -> Iterator[Tick]:
        said = time.perf_counter()

        def tick(done: int, total: int, note: str = "") -> None:
            nonlocal said
            if time.perf_counter() - said > _SECONDS_BETWEEN_LINES:
                said = time.perf_counter()
                self.say(f"{name} {done}/{total}  {note}".rstrip())

        yield tick


@contextmanager
def _bar(name: str) -> Iterator[Tick]:
    """A bar that vanishes when its stage ends."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    quiet_work = (TextColumn(name), BarColumn(20), TimeElapsedColumn())
    counted_work = (
        TextColumn(name), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with RichProgress(*quiet_work, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, note="")

        def tick(done: int, total: int, note: str = "") -> None:
            bar.columns = counted_work
            bar.update(task, completed=done, total=total, note=note)

        yield tick
