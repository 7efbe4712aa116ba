"""The exceptions of petdiff, each with an exit code of the command line.

A message names an argument in backticks: "`samples` is 0: give 1 or more". The command line
replaces it by the option (`--samples`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_ARGUMENT = re.compile(r"`([a-z][a-z_]*)`")
# Options whose name differs from the argument.
_RENAMED = {
    "voxel_mm": "voxel-size", "drf": "dose", "drfs": "dose", "doses": "dose",
    "filter_fwhm_mm": "filter", "again": "from",
}  # fmt: skip
# Options that a message about a scan may name as `arguments`.
_SCAN_OPTIONS = (
    "--series", "--units", "--suv-factor", "--names", "--dose", "--steps", "--samples",
    "--interval", "--voxel-size", "--device", "--to",
)  # fmt: skip
_AS_SETTINGS = {"drf": "dose"}  # settings of module and node whose name differs


class PetdiffError(Exception):
    """An error while running (exit code 1). The message says what, where and what to do."""

    exit_code = 1


class UsageError(PetdiffError):
    """A wrong call: an unknown name or an impossible option (exit code 2)."""

    exit_code = 2

    @property
    def option(self) -> str | None:
        """The wrong argument: the first one that the message names; None if it names none."""
        found = _ARGUMENT.search(str(self))
        return found.group(1) if found else None


class InputRefused(PetdiffError):
    """The input cannot be used as it is (exit code 3)."""

    exit_code = 3


class SeveralSeriesRefused(InputRefused):
    """A folder or archive has several PET series, and none was chosen.

    found    text: what has how many series
    listing  text: the series
    """

    def __init__(self, found: str, listing: str) -> None:
        super().__init__(
            f"{found}: choose one with `series` UID, or give a folder that holds one alone: "
            f"{listing}"
        )
        self.found, self.listing = found, listing


class SUVRefused(InputRefused):
    """The scan can be read, but no rule gives its SUV."""


def with_options(message: str, options: Collection[str]) -> str:
    """Return a message with `arguments` written as options of the command line.

    options  the existing options, with dashes ("--suv-factor")
    """

    def option(found: re.Match[str]) -> str:
        name = found.group(1)
        dashed = "--" + _RENAMED.get(name, name).replace("_", "-")
        return dashed if dashed in options else found.group()

    return _ARGUMENT.sub(option, message)


def with_scan_options(message: str) -> str:
    """Return a message about a scan with `arguments` written as options of the command line."""
    return with_options(message, _SCAN_OPTIONS)


def with_plain_names(message: str) -> str:
    """Return a message with `arguments` as plain names, for programs that have settings instead."""
    return _ARGUMENT.sub(lambda found: _AS_SETTINGS.get(found.group(1), found.group(1)), message)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: the most similar name, or all names."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(names)}"


def first_error(error: ValidationError) -> str:
    """Return the first invalid entry and the reason, on one line of limited length."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))[:80]
    reason = first["msg"].removeprefix("Value error, ")[:200]
    return f"{where}: {reason}" if where else reason
