"""JSON and TOML that cannot be read: one clear refusal, whatever is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from petdiff.errors import InputRefused, UsageError
from petdiff.io.json_files import read_json, read_text, read_toml

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (DEEP.encode(), "nested too deep"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b"\xff\xfe{}", "UTF-8"),
        (b"[" + b"1" * 5000 + b"]", "not JSON"),
        (bytes(100), "not JSON"),
    ],
)
def test_json_that_is_none(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputRefused, match=word) as problem:
        read_json(path)
    assert "x.json" in str(problem.value)
    assert len(str(problem.value)) < 500


@pytest.mark.parametrize("content", ["[NaN]", "[Infinity]", "[1e999]"])
def test_numbers_that_are_none_where_numbers_count(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    assert isinstance(read_json(tmp_path / "x.json"), list)
    with pytest.raises(InputRefused, match="it holds"):
        read_json(tmp_path / "x.json", finite=True)


@pytest.mark.parametrize("content", ["a = ", f"a = {DEEP}", "a = 1\na = 2", "\x00"])
def test_toml_that_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"x\.toml"):
        read_toml(path)
    with pytest.raises(UsageError, match="does not exist"):
        read_toml(tmp_path / "absent.toml")


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"1": "liver"}')
    assert read_json(tmp_path / "x.json") == {"1": "liver"}


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petdiff.io.json_files._MAX_BYTES", 10)
    (tmp_path / "x.json").write_text("[1, 2, 3, 4, 5]")
    with pytest.raises(InputRefused, match="more than"):
        read_text(tmp_path / "x.json")
    with pytest.raises(InputRefused, match="cannot be read"):
        read_text(tmp_path)
