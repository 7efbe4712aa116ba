"""A result folder appears whole or not at all, whatever stops the run."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.runs import (
    begin_or_resume,
    require_free,
    whole_additions,
    whole_file,
    whole_folder,
    write_json,
)


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
    with pytest.raises(stop), whole_additions(tmp_path / "new") as folder:
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


def test_additions_appear_together_beside_what_is_there(tmp_path: Path) -> None:
    final = tmp_path / "data" / "set"
    for name in ("sub-1", "sub-2"):
        with whole_additions(final) as folder:
            (folder / name / "pet").mkdir(parents=True)
            (folder / name / "pet" / "scan").write_text(name)
            assert not (final / name).exists()
    assert sorted(str(f.relative_to(final)) for f in final.rglob("*")) == [
        "sub-1", "sub-1/pet", "sub-1/pet/scan", "sub-2", "sub-2/pet", "sub-2/pet/scan",
    ]  # fmt: skip


def test_additions_of_which_one_exists_are_kept_whole_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    with (
        pytest.raises(PetdiffError, match=r"made by another run.*complete in"),
        whole_additions(tmp_path) as folder,
    ):
        for name in "abc":
            (folder / name).write_text("new")
    assert (tmp_path / "b").read_text() == "mine"
    assert not (tmp_path / "a").exists()
    (kept,) = (entry for entry in tmp_path.iterdir() if entry.is_dir())
    assert sorted(entry.name for entry in kept.iterdir()) == ["a", "b", "c"]


def test_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    final = tmp_path / "weights.safetensors"
    final.write_text("mine")
    with pytest.raises(UsageError, match="exists"), whole_file(final):
        pytest.fail("the block must not run")
    with pytest.raises(UsageError, match=r"is no folder: name a new one$"), whole_folder(final):
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


FileSystem = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between attempts to rename take no time here."""
    monkeypatch.setattr("petdiff.disk.time.sleep", lambda _: None)


def refusing(number: int, *, of: str) -> FileSystem:
    """A file system that refuses to flush folders, files, or files that are open for reading."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        read_only = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        refused = {"folders": is_folder, "files": not is_folder, "readers": read_only}[of]
        if refused and not (of == "readers" and is_folder):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    return lambda patch: patch.setattr(os, "fsync", fsync)


def failing(name: str, number: int, times: int = 10**6) -> FileSystem:
    """A file system on which a function of `os` fails so many times."""
    real = getattr(os, name)

    def mount(patch: pytest.MonkeyPatch) -> None:
        left = times

        def fail(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left >= 0:
                raise OSError(number, os.strerror(number), str(arguments[0]))
            return real(*arguments, **options)

        patch.setattr(os, name, fail)

    return mount


def two_files(destination: Path) -> None:
    with whole_folder(destination) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "a.bin").write_bytes(b"a")
        (folder / "run.json").write_text("{}")


def holds_two_files(folder: Path) -> bool:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*")) == [
        "deep", "deep/a.bin", "run.json",
    ]  # fmt: skip


NO_FSYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM)


@pytest.mark.parametrize(
    "file_system",
    [
        *(refusing(number, of="folders") for number in (*NO_FSYNC, errno.EIO)),
        *(refusing(number, of="files") for number in NO_FSYNC),
        refusing(errno.EBADF, of="readers"),
        *(failing("rename", number) for number in (errno.EXDEV, errno.ENOSYS, errno.ENOTSUP)),
        *(failing("rename", number) for number in (errno.EPERM, errno.EINVAL, errno.EIO)),
        failing("rename", errno.EACCES, times=3),
        failing("rename", errno.EBUSY, times=2),
        failing("link", errno.ENOTSUP),
    ],
)
@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
def test_folder_appears_whole_on_file_systems_that_refuse_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_system: FileSystem, existing: bool
) -> None:
    if existing:
        (tmp_path / "out").mkdir()
    file_system(monkeypatch)
    two_files(tmp_path / "out")
    assert holds_two_files(tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.ENOSYS])
def test_file_appears_whole_where_nothing_can_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for name in ("rename", "replace", "link"):
        failing(name, number)(monkeypatch)
    with whole_file(tmp_path / "weights.bin") as unfinished:
        unfinished.write_bytes(b"all of it")
    assert (tmp_path / "weights.bin").read_bytes() == b"all of it"
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.bin"]


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES])
def test_result_that_cannot_take_its_name_is_kept_and_the_message_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    failing("rename", number, times=4)(monkeypatch)  # after that the disk works again

    def no_copy(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(shutil, "copyfile", no_copy)
    with pytest.raises(PetdiffError, match="is complete in") as raised:
        two_files(tmp_path / "out")
    (kept,) = tmp_path.iterdir()
    assert str(kept) in str(raised.value)
    assert os.strerror(number) in str(raised.value)
    assert holds_two_files(kept)


def test_result_is_kept_under_its_hidden_name_where_renaming_never_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PetdiffError) as raised, whole_folder(tmp_path / "new" / "out") as folder:
        (folder / "a.bin").write_bytes(b"a")
        failing("rename", errno.EIO)(monkeypatch)
        failing("mkdir", errno.EIO)(monkeypatch)
    (kept,) = tmp_path.iterdir()
    assert str(kept) in str(raised.value)
    assert (kept / "a.bin").read_bytes() == b"a"


@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
def test_of_two_runs_into_one_folder_the_second_is_kept_beside(
    tmp_path: Path, existing: bool
) -> None:
    final = tmp_path / "out"
    if existing:
        final.mkdir()
    with pytest.raises(PetdiffError, match="another run") as raised:  # noqa: SIM117
        with whole_folder(final) as second:
            (second / "run.json").write_text("second")
            with whole_folder(final) as first:
                (first / "run.json").write_text("first")
    assert (final / "run.json").read_text() == "first"
    kept = Path(str(raised.value).split()[-1])
    assert (kept / "run.json").read_text() == "second"
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_of_two_runs_into_one_file_the_second_is_kept_beside(tmp_path: Path) -> None:
    final = tmp_path / "a.safetensors"
    with pytest.raises(PetdiffError, match="another run") as raised:  # noqa: SIM117
        with whole_file(final) as second:
            second.write_text("second")
            with whole_file(final) as first:
                first.write_text("first")
    assert final.read_text() == "first"
    assert Path(str(raised.value).split()[-1]).read_text() == "second"


def test_of_two_caches_the_first_wins_silently(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "slab", first_wins=True) as second:
        (second / "a").write_text("second")
        with whole_folder(tmp_path / "slab", first_wins=True) as first:
            (first / "a").write_text("first")
    assert (tmp_path / "slab" / "a").read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 1


def test_replaced_file_stays_as_it_was_until_the_new_one_is_whole(tmp_path: Path) -> None:
    final = tmp_path / "log.jsonl"
    final.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(final, replace=True) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert final.read_text() == "old"
    with whole_file(final, replace=True) as unfinished:
        unfinished.write_text("new")
        assert final.read_text() == "old"
    assert final.read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1


def test_empty_folder_that_is_a_mount_or_the_working_folder_is_filled(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_files(small_disk)
    assert holds_two_files(small_disk)
    (tmp_path / "here").mkdir(mode=0o750)
    monkeypatch.chdir(tmp_path / "here")
    two_files(Path("."))
    assert holds_two_files(Path.cwd())
    assert (tmp_path / "here").stat().st_mode & 0o777 == 0o750


def test_leftovers_of_a_killed_run_do_not_fill_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out" / ".out.unfinished-0a1b2c3d").mkdir(parents=True)
    two_files(tmp_path / "out")
    assert (tmp_path / "out" / "run.json").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda problem: problem,
        lambda _: OSError("4096 requested and 512 written"),
        lambda problem: RuntimeError("unexpected pos 64 vs 0"),
    ],
    ids=["the system", "numpy", "torch"],
)
def test_full_disk_is_recognised_however_a_library_reports_it(
    tmp_path: Path, number: int, wrap: Callable[[OSError], Exception]
) -> None:
    with pytest.raises(PetdiffError, match="full"), whole_file(tmp_path / "a.bin") as file:
        file.write_bytes(b"half")
        try:
            raise OSError(number, os.strerror(number))
        except OSError as problem:
            raise wrap(problem)  # noqa: B904
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_error_of_fsync_that_means_lost_data_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refusing(number, of="files")(monkeypatch)
    with (
        pytest.raises(PetdiffError, match=r"full|cannot write"),
        whole_file(tmp_path / "a") as file,
    ):
        file.write_bytes(b"a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 256, "new/" + "x" * 256, "ü" * 200, "x" * 256 + "/out"])
def test_names_that_the_disk_refuses_are_known_before_the_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(PetdiffError, match="cannot write"), whole_folder(tmp_path / name):
        pytest.fail("the block must not run")
    with pytest.raises(PetdiffError, match="cannot write"), whole_file(tmp_path / name):
        pytest.fail("the block must not run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, os.fsdecode(b"caf\xe9")])
def test_names_that_the_disk_takes_are_written(tmp_path: Path, name: str) -> None:
    two_files(tmp_path / name)
    assert holds_two_files(tmp_path / name)


def test_destinations_that_lead_nowhere_are_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(PetdiffError), whole_folder(tmp_path / "loop" / "out"):
        pytest.fail("the block must not run")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(UsageError, match="~"), whole_folder("~/out"):
        pytest.fail("the block must not run")


def test_disk_that_does_not_tell_its_size_is_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=0, used=0, free=0))
    require_free(tmp_path / "out", 1 << 60)


def test_names_that_are_not_utf8_survive_in_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.nii")
    write_json(tmp_path / "a.json", {"scan": name})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"scan": name}


def test_run_is_resumed_with_the_same_settings_only(tmp_path: Path) -> None:
    record = tmp_path / "run" / "config.json"
    begin_or_resume(record, {"seed": 1, "widths": (8, 16)})
    begin_or_resume(record, {"seed": 1, "widths": (8, 16)})
    with pytest.raises(UsageError, match=r"seed was 1, is 2; extra was null, is true"):
        begin_or_resume(record, {"seed": 2, "widths": (8, 16), "extra": True})
    for damaged in ("", "[1]", "{", "null", "[" * 100_000):
        record.write_text(damaged)
        with pytest.raises(InputRefused, match="damaged"):
            begin_or_resume(record, {"seed": 1})


def test_inside_an_unfinished_folder_files_are_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a disk that cannot rename fails once, at the end, and keeps the whole folder."""
    with pytest.raises(PetdiffError, match="is complete in") as raised:  # noqa: SIM117
        with whole_folder(tmp_path / "out") as folder:
            failing("rename", errno.EROFS)(monkeypatch)
            failing("replace", errno.EROFS)(monkeypatch)
            monkeypatch.setattr("petdiff.disk._copy", os.rename)
            with whole_file(folder / "a.nii.gz") as file:
                file.write_bytes(b"a")
            with whole_folder(folder / "series") as series:
                (series / "1.dcm").write_bytes(b"1")
            with pytest.raises(ZeroDivisionError), whole_file(folder / "half") as file:
                file.write_bytes(b"half")
                raise ZeroDivisionError
    (kept,) = tmp_path.iterdir()
    assert str(kept) in str(raised.value)
    assert sorted(str(f.relative_to(kept)) for f in kept.rglob("*")) == [
        "a.nii.gz", "series", "series/1.dcm",
    ]  # fmt: skip
