"""Text from others reaches the terminal harmless, and stderr cannot stop a run."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from pathlib import Path

import pytest

from petdiff.errors import PetdiffError
from petdiff.terminal import (
    be_quiet,
    log_to_stderr,
    one_line,
    print_message,
    print_result,
    printable,
)

HARMFUL = "\x1b]0;title\x07 \x1b[2J \x9b31m \x7f \u202e \u2066 \ud83d \udce9 \r \x00 \x85 \u2028"


def test_no_control_character_is_left_and_others_are() -> None:
    shown = printable(HARMFUL)
    assert shown.isprintable()
    assert shown.startswith("\\u001b]0;title\\u0007")
    kept = "σ → µ 日本語 é\t\n"
    assert printable(kept) == kept
    assert one_line("a\n\n  b\tc\x1b") == "a b c\\u001b"


def test_json_stays_json_and_means_the_same() -> None:
    text = json.dumps({"name": HARMFUL}, ensure_ascii=False)
    assert json.loads(printable(text)) == {"name": HARMFUL}


def test_a_message_is_one_line_and_no_broken_stream_stops_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    print_message("scan a\x1b[31m.nii\npetdiff: forged")
    assert capsys.readouterr().err == "scan a\\u001b[31m.nii\\npetdiff: forged\n"

    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    closed = io.StringIO()
    closed.close()
    for stream in (None, Broken(), closed):
        monkeypatch.setattr(sys, "stderr", stream)
        print_message("hello")


def test_results_are_exact_paths_or_printable_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    print_result(Path("/a\x1b[31m"))
    print_result("description \x1b[31m\nsecond line")
    assert capsys.readouterr().out == "/a\x1b[31m\ndescription \\u001b[31m\nsecond line\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_result(Path("/a\x1b[31m"))
    assert capsys.readouterr().out == "/a\\u001b[31m\n"


@pytest.mark.parametrize(
    ("problem", "raises"), [(BrokenPipeError(32, "x"), False), (OSError(28, "full"), True)]
)
def test_full_stdout_is_an_error_and_a_reader_who_left_is_none(
    monkeypatch: pytest.MonkeyPatch, problem: OSError, raises: bool
) -> None:
    class Broken(io.StringIO):
        def flush(self) -> None:
            raise problem

    monkeypatch.setattr(sys, "stdout", Broken())
    if not raises:
        print_result("text")
        return
    with pytest.raises(PetdiffError, match="cannot print"):
        print_result("text")


def test_petdiff_logs_to_stderr_and_other_libraries_do_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = logging.getLogger("petdiff.inference.test"), logging.getLogger("pydicom")

    def speak() -> str:
        ours.warning("tile halved to %s\x1b", 3)
        ours.info("for your information")
        theirs.warning("invalid value for VR")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("deprecated", stacklevel=1)
        return capsys.readouterr().err

    with log_to_stderr():
        assert speak() == "warning tile halved to 3\\u001b\nfor your information\n"
        be_quiet()
        assert speak() == ""
    with log_to_stderr():
        monkeypatch.setenv("PETDIFF_TRACEBACK", "1")
        shown = speak()
    assert "warning pydicom: invalid value for VR" in shown
    assert "py.warnings" in shown
