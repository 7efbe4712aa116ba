"""What a run tells a person while it works: stages with a bar on a terminal, plain lines elsewhere.

All of it goes to stderr, so that stdout holds results only. None of it can stop a run.
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
from petdiff.errors import with_options
from petdiff.terminal import one_line, print_message
from petdiff.units import duration

# Options that lines about a scan name.
_NAMED_OPTIONS = ("--units", "--suv-factor", "--series", "--names")
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_TO_JUDGE = 3.0  # after which the time that a stage takes is estimated
_SLOW_SECONDS = 120.0  # a stage that takes longer is announced


class Tick(Protocol):
    """Called with what is done of how much, and perhaps a note, as often as one likes."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


class Progress:
    """Prints what is going on.

    seconds  how long each stage took, by its name
    missing  files that could not be made and only inform, by name, with the reason
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}
        self.missing: dict[str, str] = {}

    def say(self, line: str) -> None:
        """Print one line, unless the run is quiet; `arguments` that it names become options."""
        if not self.quiet:
            print_message(with_options(line, _NAMED_OPTIONS, {}))

    @contextmanager
    def stage(self, name: str, hint: str = "") -> Iterator[Tick]:
        """Time a stage; yields a Tick.

        hint  what makes the stage faster; printed with the estimate of a slow one
        """
        start = time.perf_counter()
        shown = not self.quiet and sys.stderr is not None and sys.stderr.isatty()
        pace = _Pace(name, hint, self.say)
        with _bar(name, pace) if shown else self._lines(name, pace) as tick:
            yield tick
        self.seconds[name] = round(time.perf_counter() - start, 3)
        self.say(f"{name:<12} {self.seconds[name]:7.1f} s")

    @contextmanager
    def optional(self, file: Path) -> Iterator[None]:
        """Let the block write a file that only informs: if it fails, say so and go on without."""
        try:
            yield
        except Exception as problem:
            disk.remove(file)
            reason = one_line(f"{type(problem).__name__}: {problem}")
            self.missing[file.name] = reason
            self.say(f"warning {file.name} could not be made ({reason}); the result is complete")
            if os.environ.get("PETDIFF_TRACEBACK"):
                for line in traceback.format_exc().splitlines():
                    self.say(line)

    @contextmanager
    def _lines(self, name: str, pace: _Pace) -> Iterator[Tick]:
        printed = time.perf_counter()

        def tick(done: int, total: int, note: str = "") -> None:
            nonlocal printed
            left = pace(done, total)
            if time.perf_counter() - printed > _SECONDS_BETWEEN_LINES:
                printed = time.perf_counter()
                self.say(f"{name} {done}/{total}  {'  '.join(filter(None, (note, left)))}".rstrip())

        yield tick


class _Pace:
    """Estimates the time that a stage takes from its second tick on, and announces it if long.

    The first tick is left out: it holds what is done only once, and what a resumed run has done.
    """

    def __init__(self, name: str, hint: str, say: Callable[[str], None]) -> None:
        self.name, self.hint, self.say = name, hint, say
        self.first: tuple[int, float] | None = None
        self.is_announced = False

    def __call__(self, done: int, total: int) -> str:
        """Return the time left in words; empty while it is not known."""
        now = time.perf_counter()
        if self.first is None:
            self.first = done, now
        done_before, start = self.first
        if done <= done_before or done >= total:
            return ""
        left_s = (now - start) / (done - done_before) * (total - done)
        if not self.is_announced and now - start >= _SECONDS_TO_JUDGE:
            self.is_announced = True
            if left_s > _SLOW_SECONDS:
                hint = f"; {self.hint}" if self.hint else ""
                self.say(f"{self.name} will take about {duration(left_s)}{hint}")
        return f"about {duration(left_s)} left"


@contextmanager
def _bar(name: str, pace: _Pace) -> Iterator[Tick]:
    """Show a bar that vanishes when its stage ends."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    def text(content: str) -> TextColumn:
        return TextColumn(content, markup=False)  # names may hold square brackets

    quiet_work = (text("{task.description}"), BarColumn(20), TimeElapsedColumn())
    counted_work = (
        text("{task.description}"), BarColumn(20), MofNCompleteColumn(),
        text("{task.fields[note]}"), TimeElapsedColumn(), text("{task.fields[left]}"),
    )  # fmt: skip
    with RichProgress(*quiet_work, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(one_line(name), total=None, note="", left="")

        def tick(done: int, total: int, note: str = "") -> None:
            bar.columns = counted_work
            bar.update(task, completed=done, total=total, note=note, left=pace(done, total))

        yield tick
