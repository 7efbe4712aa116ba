"""A process as a container runs it: nothing but what it needs, read-only, no network, no HOME."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import petdiff

USER = 54321  # has no entry in any table of users
_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/proc", "/dev", "/sys", "/etc/ld.so.cache")
# $1 the new root, $2 … folders to show read-only, then "--", folders to show writable, "--", and
# the program. All mounts are gone with the process.
_SCRIPT = """
set -e
root=$1; shift
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
show() {
    if [ -d "$2" ]; then mkdir -p "$root$2"; else mkdir -p "$root${2%/*}"; : > "$root$2"; fi
    mount --rbind "$2" "$root$2"
    [ "$1" = rw ] || mount -o remount,bind,ro "$root$2"
}
while [ "$1" != -- ]; do show ro "$1"; shift; done; shift
while [ "$1" != -- ]; do show rw "$1"; shift; done; shift
mount -o remount,ro "$root"
exec chroot "$root" setpriv --reuid UID --regid UID --clear-groups --bounding-set=-all \
    --inh-caps=-all --no-new-privs env -i "$@"
""".replace("UID", str(USER))


def run_in_jail(
    arguments: list[str],
    environment: Mapping[str, str],
    *,
    readable: list[Path],
    writable: list[Path],
    root: Path,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m petdiff` as user 54321 without capabilities, network, HOME and /tmp.

    Only the program and the folders named are there, all but `writable` read-only. Skips the test
    where the machine does not allow that.
    """
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "chroot"))):
        pytest.skip("namespaces need root, unshare, setpriv and chroot")
    allowed = subprocess.run(["unshare", "-m", "-n", "true"], capture_output=True)
    if allowed.returncode != 0:
        pytest.skip(f"no namespaces here: {allowed.stderr.decode().strip()}")
    root.mkdir()
    source = Path(petdiff.__file__).parents[1]
    program = [sys.base_prefix, sys.prefix, str(source), *map(str, readable)]
    shown = [path for path in (*_SYSTEM, *program) if Path(path).exists()]
    python = Path(sys.prefix) / "bin" / "python"
    variables = [f"{name}={value}" for name, value in environment.items()]
    return subprocess.run(
        ["unshare", "-m", "-n", "sh", "-c", _SCRIPT, "sh", str(root), *dict.fromkeys(shown), "--",
         *map(str, writable), "--", *variables, f"PYTHONPATH={source}", str(python), "-m",
         "petdiff", *arguments],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
