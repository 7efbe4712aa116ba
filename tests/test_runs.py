"""A result folder appears whole or not at all, whatever stops the run."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from petdiff.errors import PetdiffError, UsageError
from petdiff.runs import require_free, whole_file, whole_folder, write_json


def test_folder_appears_only_when_the_block_has_ended(tmp_path: Path) -> None:
    final = tmp_path / "a" / "b" / "out"
    with whole_folder(final) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file.txt").write_text("here")
        assert not final.exists()
    assert (final / "deep" / "file.txt").read_text() == "here"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_stops_the_block_leaves_nothing(tmp_path: Path, stop: type[BaseException]) -> None:
    with pytest.raises(stop), whole_folder(tmp_path / "new" / "out") as folder:
        (folder / "half.bin").write_bytes(b"half")
        raise stop
    with pytest.raises(stop), whole_file(tmp_path / "new" / "one.bin") as file:
        file.write_bytes(b"half")
        raise stop
    assert list(tmp_path.iterdir()) == []


def test_empty_folder_is_taken_over_and_a_full_one_is_refused(tmp_path: Path) -> None:
    final = tmp_path / "out"
    final.mkdir()
    with whole_folder(final) as folder:
        (folder / "first").touch()
    with pytest.raises(UsageError, match="not empty"), whole_folder(final):
        pytest.fail("the block must not run")
    assert [entry.name for entry in final.iterdir()] == ["first"]


def test_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    final = tmp_path / "weights.safetensors"
    final.write_text("mine")
    with pytest.raises(UsageError, match="exists"), whole_file(final):
        pytest.fail("the block must not run")
    with pytest.raises(UsageError, match="exists"), whole_folder(final):
        pytest.fail("the block must not run")
    with pytest.raises(UsageError, match="is a file"), whole_folder(final / "out"):
        pytest.fail("the block must not run")
    assert final.read_text() == "mine"


def test_folders_get_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    with whole_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_full_disk_is_named_and_leaves_nothing(small_disk: Path) -> None:
    with pytest.raises(PetdiffError, match="full"), whole_folder(small_disk / "out") as folder:
        (folder / "big.bin").write_bytes(bytes(4 << 20))
    assert list(small_disk.iterdir()) == []


def test_too_little_room_is_known_beforehand(small_disk: Path) -> None:
    require_free(small_disk / "out", 500_000)
    with pytest.raises(PetdiffError, match=r"1 MB free .* about 2 MB"):
        require_free(small_disk / "out", 2_000_000)


def test_read_only_disk_is_refused_before_the_block(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    read_only = pytest.raises(PetdiffError, match=r"cannot write in .*small: Read-only")
    with read_only, whole_folder(small_disk / "new" / "out"):
        pytest.fail("the block must not run")


def test_other_errors_of_the_block_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_folder(tmp_path / "out"):
        shutil.copy(tmp_path / "absent", tmp_path / "anywhere")


def test_json_is_readable_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"σ": 1.5})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "σ" in text
    assert json.loads(text) == {"σ": 1.5}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "b.json", {"x": float("nan")})
