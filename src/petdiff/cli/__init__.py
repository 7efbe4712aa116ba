"""The command line: one function for each command, sorted by subject into the files of this folder.

A function has the options of its command and nothing else; their types, with the help texts, are in
`petdiff.cli.options`. A new command is a function that takes options of those types and calls the
package, and an entry of COMMANDS. Work of more than a call is in `petdiff.commands`. The function
imports what it calls when it runs: `petdiff --help` must answer at once, so only the standard
library and typer are imported above.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated

import typer

from petdiff import __version__, terminal
from petdiff.cgroup import prepare_threads
from petdiff.cli.facts import info, suv
from petdiff.cli.lower_dose import accept, thin
from petdiff.cli.models import convert, evaluate, train
from petdiff.cli.scans import audit, denoise, measure
from petdiff.cli.services import module, node
from petdiff.cli.simulation import demo, simulate
from petdiff.invocation import WRONG_USAGE, invoke, stop_on_signals
from petdiff.terminal import print_result

# In the order of the help.
COMMANDS = (
    denoise,
    measure,
    simulate,
    thin,
    accept,
    audit,
    train,
    evaluate,
    module,
    node,
    suv,
    info,
    convert,
    demo,
)

_OBJECTS_BETWEEN_COLLECTIONS = 10_000  # with Python's 700, imports spend 0.3 s in collections

app = typer.Typer(
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_result(f"petdiff {__version__}")
        raise typer.Exit


@app.callback()
def _petdiff(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit"
        ),
    ] = False,
) -> None:
    """Denoise whole-body PET with 3-D diffusion models. For research, not a medical device."""
    if context.invoked_subcommand is None:
        context.get_help()  # prints it
        raise typer.Exit(WRONG_USAGE)


for command in COMMANDS:
    app.command()(command)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; every failure is one line on stderr."""
    return invoke(app, arguments)


def main() -> None:
    """Run the `petdiff` program and exit with its code."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    prepare_threads(os.environ)
    terminal.prepare_streams()
    stop_on_signals()
    code = run(sys.argv[1:])
    gc.freeze()  # the process ends: Python need not search torch's modules for garbage
    sys.exit(terminal.finish_results() or code)
