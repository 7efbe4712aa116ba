"""Run one command line: exit codes, one line for each error, signals."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from functools import cache
from types import FrameType

import typer

from petdiff import disk, terminal
from petdiff.errors import PetdiffError, with_options

WRONG_USAGE = 2
INTERRUPTED = 130  # as in shells: 128 + number of SIGINT


def invoke(app: typer.Typer, arguments: list[str]) -> int:
    """Run one command line and return its exit code; every failure is one line on stderr."""
    try:
        with terminal.log_to_stderr():
            outcome = _command(app)(arguments, prog_name="petdiff", standalone_mode=False)
    except PetdiffError as problem:
        return _fail(with_options(str(problem), _options(app)), problem.exit_code)
    except typer.TyperException as problem:
        message, where = problem.format_message(), getattr(problem, "ctx", None)
        message = message.replace("Value error, ", "")  # pydantic's
        command = where.command_path if where is not None else "petdiff"
        return _fail(f"{message} ({command} --help lists what there is)", WRONG_USAGE)
    except KeyboardInterrupt:
        outcome = INTERRUPTED
    except BrokenPipeError:  # `petdiff --help | head -1`
        terminal.discard_results()
        return 0
    except MemoryError:
        return _fail("out of memory: close other programs, or take a coarser --voxel-size", 1)
    except Exception as problem:
        if os.environ.get("PETDIFF_TRACEBACK"):
            raise
        return _fail(f"{disk.described(problem)} (PETDIFF_TRACEBACK=1 shows where)", 1)
    if outcome == INTERRUPTED:  # typer turns Ctrl-C inside a command into this value
        return _fail("interrupted; nothing was left half-written", INTERRUPTED)
    return outcome if isinstance(outcome, int) else 0


def stop_on_signals() -> None:
    """Handle SIGTERM and a closed terminal like Ctrl-C, so that unfinished files are removed."""
    stop = _Stop()
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):  # the last two are of one system each
        number = getattr(signal, name, None)
        # Signals that the caller ignores (nohup) are ignored.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


class _Stop:
    """Raises KeyboardInterrupt at a signal.

    Signals within two seconds count as one, so that repeated signals do not interrupt the removal
    of unfinished outputs.
    """

    def __init__(self) -> None:
        self._last = -math.inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last > 2:
            self._last = now
            raise KeyboardInterrupt


@cache
def _command(app: typer.Typer) -> Callable[..., object]:
    """Return what runs a command line; typer would make it anew for each one."""
    return typer.main.get_command(app)


def _options(app: typer.Typer) -> set[str]:
    """Return the options of all commands, with their dashes."""
    commands = vars(_command(app))["commands"].values()
    return {name for command in commands for option in command.params for name in option.opts}


def _fail(message: str, exit_code: int) -> int:
    terminal.print_message(f"petdiff: {terminal.one_line(message)}")
    return exit_code
