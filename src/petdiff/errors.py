"""What petdiff raises when it stops: one family, each with the exit code of the command line.

A message names an argument as Python does, in backticks: "`samples` is 0: give 1 or more". The
command line turns that into the option (`--samples`), so that only the command line writes
dashes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

_ARGUMENT = re.compile(r"`([a-z][a-z_]*)`")


class PetdiffError(Exception):
    """Something went wrong while running (exit code 1); says what, where and what to do."""

    exit_code = 1


class UsageError(PetdiffError):
    """The call itself is wrong: an unknown name, an impossible option (exit code 2)."""

    exit_code = 2

    @property
    def option(self) -> str | None:
        """The argument at fault: the first one that the message names; None where it names none."""
        found = _ARGUMENT.search(str(self))
        return found.group(1) if found else None


class InputRefused(PetdiffError):
    """The input cannot be used as it is, and guessing would be worse (exit code 3)."""

    exit_code = 3


class SeveralSeriesRefused(InputRefused):
    """A folder or archive holds several PET series, and none was chosen.

    found    what holds how many
    listing  the series, for a person
    """

    def __init__(self, found: str, listing: str) -> None:
        super().__init__(
            f"{found}: choose one with `series` UID, or give a folder that holds one alone: "
            f"{listing}"
        )
        self.found, self.listing = found, listing


class SUVRefused(InputRefused):
    """The scan can be read, but nothing leads from its stored values to SUV."""


def with_options(message: str, options: Collection[str], renamed: Mapping[str, str]) -> str:
    """Return a message with `arguments` written as options of the command line.

    options  those there are, with dashes ("--suv-factor")
    renamed  arguments whose option has another name, without dashes
    """

    def option(found: re.Match[str]) -> str:
        name = found.group(1)
        dashed = "--" + renamed.get(name, name).replace("_", "-")
        return dashed if dashed in options else found.group()

    return _ARGUMENT.sub(option, message)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: the name that was meant, or all names."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"
