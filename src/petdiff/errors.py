"""What petdiff raises when it stops: one family, each with the exit code of the command line."""

from __future__ import annotations


class PetdiffError(Exception):
    """Something went wrong while running (exit code 1); says what, where and what to do."""

    exit_code = 1


class UsageError(PetdiffError):
    """The call itself is wrong: an unknown name, an impossible option (exit code 2)."""

    exit_code = 2


class InputRefused(PetdiffError):
    """The input cannot be used as it is, and guessing would be worse (exit code 3)."""

    exit_code = 3


class SUVRefused(InputRefused):
    """The scan can be read, but nothing leads from its stored values to SUV."""
