"""What reaches a terminal: safe text, on streams that cannot stop a run.

Names of files, zip members and DICOM descriptions come from others. Control characters in them
could move the cursor or change the colours, so that all text is made printable here, where it is
printed. stderr only informs: if it is closed, full or nobody reads it, the run goes on.
"""

from __future__ import annotations

import codecs
import errno
import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from petdiff.errors import PetdiffError

# Control characters but tab and line feed; marks that change the direction of text; bytes of file
# names that are not UTF-8 (surrogates).
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_PLAIN = {
    "→": "->", "×": "x", "·": "-", "…": "...", "−": "-", "–": "-", "≥": ">=", "≤": "<=", "≈": "~",
    "σ": "sigma", "Δ": "d", "²": "2", "³": "3", "%": "%", "±": "+-", "“": '"', "”": '"', "’": "'",
}  # fmt: skip
_ERRORS = "petdiff-plain"  # name of the handler for what a stream's encoding lacks


def printable(text: object) -> str:
    r"""Return text with control characters, direction marks and stray bytes as \uXXXX.

    Line feeds and tabs stay. In JSON these escapes mean the same characters.
    """
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", str(text))


def one_line(text: object) -> str:
    """Return text on one line, each run of white space as one space, and printable."""
    return printable(" ".join(str(text).split()))


def print_message(line: str) -> None:
    """Print one line to stderr; if nobody can read it, nothing happens."""
    stream = sys.stderr
    if stream is None:
        return
    with suppress(OSError, ValueError):  # closed, full, no reader, an encoding without the sign
        print(printable(line).replace("\n", "\\n"), file=stream, flush=True)


def print_result(result: str | Path) -> None:
    """Print a result to stdout: text made printable, a path as it is unless a person reads it.

    Where the reader has gone, the rest is not printed. Raises PetdiffError where stdout is full or
    broken.
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
    """Let stdout lead nowhere, so that what is left in its buffer raises nothing at the end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def finish_results() -> int:
    """Write what is left of the results; return the exit code that stdout deserves, 0 or 1."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as problem:
        discard_results()
        return 0 if is_reader_gone(problem) else 1
    return 0


def prepare_streams() -> None:
    """Make stdout and stderr of this process take any text, and stderr never raise.

    Streams that the caller has closed lead nowhere: their numbers would else be given to files.
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
        sys.stderr = _Forgiving(
            sys.stderr.detach(), encoding=encoding, errors=_ERRORS, line_buffering=True
        )


def _plain_text(problem: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what an encoding lacks: stray bytes by themselves, signs by plain letters."""
    assert isinstance(problem, UnicodeEncodeError)
    sign = problem.object[problem.start]
    if "\udc80" <= sign <= "\udcff":
        return bytes([ord(sign) & 0xFF]), problem.start + 1
    return _PLAIN.get(sign, f"\\u{ord(sign):04x}"), problem.start + 1


class _Forgiving(io.TextIOWrapper):
    """A text stream that drops what it cannot write."""

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
    """Prints what petdiff logs; what other libraries log or warn of only on request."""

    def emit(self, record: logging.LogRecord) -> None:
        ours = record.name.partition(".")[0] == "petdiff"
        if not ours and not os.environ.get("PETDIFF_TRACEBACK"):
            return
        source = "" if ours else f"{record.name}: "
        kind = "warning " if record.levelno >= logging.WARNING else ""
        print_message(f"{kind}{source}{one_line(record.getMessage())}")


_handler = _Handler(logging.INFO)


def be_quiet() -> None:
    """Print no messages of the log until `log_to_stderr` begins again."""
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
    root, ours = logging.getLogger(), logging.getLogger("petdiff")
    level = ours.level
    _handler.setLevel(logging.INFO)
    ours.setLevel(logging.INFO)
    root.addHandler(_handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(_handler)
        ours.setLevel(level)
