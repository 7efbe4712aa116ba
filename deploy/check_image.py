"""Run a built image as a router does, and check its answers, exit codes and size.

usage: PYTHONPATH=tests python deploy/check_image.py IMAGE [PROGRAM], PROGRAM docker or podman.
Needs numpy and pydicom. Prints what was measured; exits with 1 where something is wrong.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.router import PIXELS, mercure, result_of, router_folders

USER = "54321:54321"
MAX_BYTES = 1.2e9


def call(program: str, image: str, folder: Path, empty: bool) -> tuple[int, Path, float]:
    """Run the module on a tiny series, or on none; returns exit code, output folder, seconds."""
    into, out = router_folders(folder, slices=[] if empty else None)
    variables = mercure(Path("/tmp/data"), Path("/tmp/output")).items()
    settings = [part for name, value in variables for part in ("--env", f"{name}={value}")]
    start = time.perf_counter()
    done = subprocess.run(
        [program, "run", "--rm", "--user", USER, "--network", "none", "--read-only",
         "--cap-drop", "ALL", "--volume", f"{into}:/tmp/data:ro",
         "--volume", f"{out}:/tmp/output", *settings, image],
    )  # fmt: skip
    return done.returncode, out, time.perf_counter() - start


def main(image: str, program: str = "docker") -> int:
    """Check one image; returns the exit code."""
    problems = []
    inspect = [program, "image", "inspect", "--format", "{{.Size}}", image]
    size = float(subprocess.run(inspect, capture_output=True, text=True, check=True).stdout)
    print(f"size {size / 1e6:.0f} MB")
    if size > MAX_BYTES:
        problems.append(f"the image is larger than {MAX_BYTES / 1e6:.0f} MB")
    for empty, expected in ((False, 0), (True, 3)):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            code, out, seconds = call(program, image, Path(folder), empty)
            print(f"{'no series' if empty else 'a tiny series'}: exit {code}, {seconds:.1f} s")
            images = len(list(out.glob("*.dcm")))
            if code != expected or result_of(out)["exit_code"] != expected:
                problems.append(f"exit code {code} instead of {expected}")
            if images != (0 if empty else len(PIXELS)):
                problems.append(f"{images} images")
    print("\n".join(problems) or "all as it should be")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
