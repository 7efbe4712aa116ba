"""Progress messages of a run: a bar for each stage on a terminal, plain lines elsewhere.

They go to stderr, so that stdout holds results only. A message that cannot be printed does not stop
the run.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from petdiff import disk
from petdiff.errors import with_scan_options
from petdiff.terminal import one_line, print_message
from petdiff.units import duration

_SECONDS_BETWEEN_LINES = 10.0
_ESTIMATE_AFTER_SECONDS = 3.0  # of a stage, its remaining time is estimated
_SLOW_SECONDS = 120.0  # a stage that takes longer is announced


ProgressCallback = Callable[[int, int], None]  # called with (parts done, parts in all)


class Tick(Protocol):
    """A ProgressCallback of a stage that also shows a note."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


class Progress:
    """Prints the progress of a run and measures its stages.

    seconds  time that each stage took, by its name
    missing  reason why an optional file (picture or page) could not be written, by its name
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}
        self.missing: dict[str, str] = {}

    def print(self, line: str) -> None:
        """Print one line, unless the run is quiet. Names of `arguments` in it become options."""
        if not self.quiet:
            print_message(with_scan_options(line))

    @contextmanager
    def stage(self, name: str, hint: str = "") -> Iterator[Tick]:
        """Time a stage; yields a Tick.

        hint  what makes the stage faster; printed with the estimate of a slow one
        """
        start = time.perf_counter()
        shown = not self.quiet and sys.stderr is not None and sys.stderr.isatty()
        pace = _Pace(name, hint, self.print)
        with _bar(name, pace) if shown else self._lines(name, pace) as tick:
            yield tick
        self.seconds[name] = round(time.perf_counter() - start, 3)
        self.print(f"{name:<12} {self.seconds[name]:7.1f} s")

    @contextmanager
    def optional(self, file: Path) -> Iterator[None]:
        """Run a block that writes an optional file. If it fails, warn and continue without."""
        try:
            yield
        except Exception as problem:
            disk.remove(file)
            reason = one_line(f"{type(problem).__name__}: {problem}")
            self.missing[file.name] = reason
            self.print(f"warning {file.name} could not be made ({reason}); the result is complete")
            if os.environ.get("PETDIFF_TRACEBACK"):
                for line in traceback.format_exc().splitlines():
                    self.print(line)

    @contextmanager
    def _lines(self, name: str, pace: _Pace) -> Iterator[Tick]:
        printed = time.perf_counter()

        def tick(done: int, total: int, note: str = "") -> None:
            nonlocal printed
            left = pace(done, total)
            if time.perf_counter() - printed > _SECONDS_BETWEEN_LINES:
                printed = time.perf_counter()
                self.print(
                    f"{name} {done}/{total}  {'  '.join(filter(None, (note, left)))}".rstrip()
                )

        yield tick


class _Pace:
    """Estimates the remaining time of a stage, and prints it once if it is long.

    The estimate begins at the first tick: the work before it is done once, or by a resumed run.
    """

    def __init__(self, name: str, hint: str, print_line: Callable[[str], None]) -> None:
        self.name, self.hint, self.print = name, hint, print_line
        self.first: tuple[int, float] | None = None
        self.is_announced = False

    def __call__(self, done: int, total: int) -> str:
        """Return the remaining time as text; empty while it is not known."""
        now = time.perf_counter()
        if self.first is None:
            self.first = done, now
        done_before, start = self.first
        if done <= done_before or done >= total:
            return ""
        left_s = (now - start) / (done - done_before) * (total - done)
        if not self.is_announced and now - start >= _ESTIMATE_AFTER_SECONDS:
            self.is_announced = True
            if left_s > _SLOW_SECONDS:
                hint = f"; {self.hint}" if self.hint else ""
                self.print(f"{self.name} will take about {duration(left_s)}{hint}")
        return f"about {duration(left_s)} left"


@contextmanager
def _bar(name: str, pace: _Pace) -> Iterator[Tick]:
    """Show a progress bar until the stage ends."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    def text(content: str) -> TextColumn:
        return TextColumn(content, markup=False)  # names may hold square brackets

    uncounted = (text("{task.description}"), BarColumn(20), TimeElapsedColumn())
    counted = (
        text("{task.description}"), BarColumn(20), MofNCompleteColumn(),
        text("{task.fields[note]}"), TimeElapsedColumn(), text("{task.fields[left]}"),
    )  # fmt: skip
    with RichProgress(*uncounted, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(one_line(name), total=None, note="", left="")

        def tick(done: int, total: int, note: str = "") -> None:
            bar.columns = counted
            bar.update(task, completed=done, total=total, note=note, left=pace(done, total))

        yield tick
