"""Locks of folders: held by one process and those that inherit it, and gone with the last."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from petdiff.errors import PetdiffError, UsageError
from petdiff.lock import lock_folder, locked_folder

pytest.importorskip("fcntl", reason="this system has no such locks")

HOLD = (
    "import sys, time; from pathlib import Path; from petdiff.lock import lock_folder; "
    "lock_folder(Path(sys.argv[1]), 'node'); print('locked', flush=True); time.sleep(60)"
)


def test_a_lock_keeps_out_other_processes_and_ends_with_a_kill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "locked\n"
            with pytest.raises(UsageError, match="is used by another node: stop that one first"):
                lock_folder(tmp_path, "node")
        finally:
            holder.kill()
    os.close(lock_folder(tmp_path, "node"))


def test_a_lock_lasts_until_the_last_process_that_inherits_it(tmp_path: Path) -> None:
    descriptor = lock_folder(tmp_path, "node")
    sleeper = [sys.executable, "-c", "input()"]
    with subprocess.Popen(sleeper, stdin=subprocess.PIPE, pass_fds=(descriptor,)) as worker:
        os.close(descriptor)
        with pytest.raises(UsageError, match="is used by another node"):
            lock_folder(tmp_path, "node")
        worker.kill()
    os.close(lock_folder(tmp_path, "node"))


def test_a_file_that_its_last_user_has_removed_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is removed between the moments when another process opens and when it locks it."""
    opened = os.open

    def open_and_lose(path: Path, *flags: int) -> int:
        descriptor = opened(path, *flags)
        monkeypatch.setattr(os, "open", opened)
        path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose)
    descriptor = lock_folder(tmp_path, "training", wait_s=5)
    with pytest.raises(UsageError), locked_folder(tmp_path, "training"):
        pass
    os.close(descriptor)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(PetdiffError, match=r"cannot write in .*missing"):
        lock_folder(tmp_path / "missing", "training")
