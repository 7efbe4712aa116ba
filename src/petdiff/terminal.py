"""Print text safely to stdout and stderr.

Names of files, zip members and DICOM descriptions may contain control characters, which could
move the cursor or change colours. Therefore all text is made printable here. If stderr is closed
or full, the run continues without messages.
"""

from __future__ import annotations

import codecs
import errno
import io
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from petdiff.errors import PetdiffError

# Control characters except tab and line feed; marks that change the direction of text; surrogates,
# which stand for bytes of file names that are not UTF-8.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_ASCII = {
    "→": "->", "×": "x", "·": "-", "…": "...", "−": "-", "–": "-", "≥": ">=", "≤": "<=", "≈": "~",
    "σ": "sigma", "Δ": "d", "²": "2", "³": "3", "%": "%", "±": "+-", "“": '"', "”": '"', "’": "'",
}  # fmt: skip
_ERRORS = "petdiff-plain"  # error handler for characters that a stream's encoding lacks


def printable(text: object) -> str:
    r"""Return text with control characters, direction marks and stray bytes as \uXXXX.

    Line feeds and tabs are kept. In JSON these escapes mean the same characters.
    """
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", str(text))


def one_line(text: object) -> str:
    """Return text on one line, each run of white space as one space, and printable."""
    return printable(" ".join(str(text).split()))


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as lines of text: the first column to the left, others to the right.

    A row with text in its first cell only is a title, which may be wider than the column.
    """
    widths = [max(len(row[n]) for row in rows if any(row[1:]) or n) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def print_message(line: str) -> None:
    """Print one line to stderr. Errors of the stream are ignored."""
    stream = sys.stderr
    if stream is None:
        return
    # The stream may be closed or full, have no reader, or an encoding that lacks a character.
    with suppress(OSError, ValueError):
        print(printable(line).replace("\n", "\\n"), file=stream, flush=True)


def print_result(result: str | Path) -> None:
    """Print a result to stdout. Text is made printable; a path is only if stdout is a terminal.

    If the reading program has ended, nothing more is printed. Raises PetdiffError if stdout is full
    or broken.
    """
    stream = sys.stdout
    if stream is None:
        return
    exact = isinstance(result, Path) and not stream.isatty()
    try:
        print(str(result) if exact else printable(result), file=stream, flush=True)
    except OSError as problem:
        discard_results()
        if not is_reader_gone(problem):
            raise PetdiffError(
                f"cannot print the result ({problem.strerror}); written files are complete"
            ) from problem


def is_reader_gone(problem: OSError) -> bool:
    """Return whether the program that read stdout has ended (`petdiff … | head -1`)."""
    return problem.errno == errno.EPIPE or (os.name == "nt" and problem.errno == errno.EINVAL)


def discard_results() -> None:
    """Redirect stdout to the null device, so that its buffer raises no error at the end."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def finish_results() -> int:
    """Flush stdout; return the exit code: 1 if that failed, else 0."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as problem:
        discard_results()
        return 0 if is_reader_gone(problem) else 1
    return 0


def prepare_streams() -> None:
    """Let stdout and stderr of this process accept any text, and stderr ignore errors.

    Closed streams are redirected to the null device; otherwise files would get their numbers.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error(_ERRORS, _plain_text)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_ERRORS)
    if isinstance(sys.stderr, io.TextIOWrapper):
        encoding = sys.stderr.encoding
        sys.stderr = _LossyStream(
            sys.stderr.detach(), encoding=encoding, errors=_ERRORS, line_buffering=True
        )


def _plain_text(problem: UnicodeError) -> tuple[str | bytes, int]:
    """Replace characters that an encoding lacks: surrogates by their bytes, signs by ASCII."""
    assert isinstance(problem, UnicodeEncodeError)
    sign = problem.object[problem.start]
    if "\udc80" <= sign <= "\udcff":
        return bytes([ord(sign) & 0xFF]), problem.start + 1
    return _ASCII.get(sign, f"\\u{ord(sign):04x}"), problem.start + 1


class _LossyStream(io.TextIOWrapper):
    """A text stream that ignores errors of writing."""

    def write(self, text: str, /) -> int:
        with suppress(OSError, ValueError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            super().flush()

    def close(self) -> None:
        with suppress(OSError, ValueError):
            super().close()


class _Handler(logging.Handler):
    """Prints the log of petdiff, and of other libraries if PETDIFF_TRACEBACK is set."""

    def emit(self, record: logging.LogRecord) -> None:
        is_petdiff = record.name.partition(".")[0] == "petdiff"
        if not is_petdiff and not os.environ.get("PETDIFF_TRACEBACK"):
            return
        source = "" if is_petdiff else f"{record.name}: "
        kind = "warning " if record.levelno >= logging.WARNING else ""
        print_message(f"{kind}{source}{one_line(record.getMessage())}")


_handler = _Handler(logging.INFO)


def be_quiet() -> None:
    """Print no log messages until the next `log_to_stderr`."""
    _handler.setLevel(logging.CRITICAL + 1)


def log_in_process() -> None:
    """Do as `log_to_stderr` does, for warnings alone, in a process that petdiff started."""
    prepare_streams()
    _handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(_handler)
    logging.captureWarnings(True)


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Print messages of the logger "petdiff" to stderr, and keep other libraries' warnings away.

    Those of pydicom, nibabel, matplotlib and torch concern the programmer: they are shown where
    PETDIFF_TRACEBACK is set.
    """
    root, is_petdiff = logging.getLogger(), logging.getLogger("petdiff")
    level = is_petdiff.level
    _handler.setLevel(logging.INFO)
    is_petdiff.setLevel(logging.INFO)
    root.addHandler(_handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(_handler)
        is_petdiff.setLevel(level)
