"""Read thousands of damaged DICOM series and zips, and list whatever is neither read nor refused.

    python benchmarks/fuzz.py 5000 --seed 0 --seconds 10 --mebibytes 1024

Each scan is small, so that the memory limit is one above what the process holds before the first.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.dicom_mutants import bases, damaged_series, damaged_zip
from support.fuzzing import outcome


class TooSlow(BaseException):
    """A scan took longer than is allowed."""


def main() -> None:
    """Run the scans of a range of seeds; exits with 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seconds", type=int, default=10, help="allowed per scan")
    parser.add_argument("--mebibytes", type=int, default=1024, help="allowed above the start")
    options = parser.parse_args()
    warnings.simplefilter("error")  # a warning that passes would reach stderr
    sound = bases()
    with tempfile.TemporaryDirectory() as folder:
        _run_one(sound, 0, Path(folder))  # imports what is imported late
        _limit_memory(options.mebibytes)
        failures, counts, slowest = 0, Counter[str](), 0.0
        start = time.perf_counter()
        for seed in range(options.seed, options.seed + options.count):
            began = time.perf_counter()
            with _alarm(options.seconds):
                what, found = _run_one(sound, seed, Path(folder))
            slowest = max(slowest, time.perf_counter() - began)
            counts[found.split(":")[0]] += 1
            if found not in ("read", "refused"):
                failures += 1
                print(f"seed {seed}: {what}: {found}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{options.count} scans in {time.perf_counter() - start:.0f} s: {dict(counts)}")
    print(f"slowest {slowest:.1f} s, peak memory of the process {peak} MiB, {failures} failed")
    sys.exit(failures > 0)


def _run_one(sound: dict[str, dict[str, bytes]], seed: int, folder: Path) -> tuple[str, str]:
    """Damage one scan and read it; returns what was done and what came of it."""
    shutil.rmtree(folder / "scan", ignore_errors=True)
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "scan").mkdir()
    (folder / "out").mkdir()
    rng = np.random.default_rng(seed)
    name = sorted(sound)[rng.integers(len(sound))]
    if rng.random() < 0.2:
        what, content = damaged_zip(sound[name], rng)
        scan = folder / "scan" / "scan.zip"
        scan.write_bytes(content)
    else:
        what, files = damaged_series(sound[name], rng)
        scan = folder / "scan"
        for file, content in files.items():
            (scan / file).write_bytes(content)
    try:
        return f"{name}, {what}", outcome(scan, folder / "out")
    except TooSlow:
        return f"{name}, {what}", "too slow"
    except Exception as problem:
        where = traceback.extract_tb(problem.__traceback__)
        ours = [f"{f.name}:{f.lineno}" for f in where if "petdiff" in f.filename]
        return f"{name}, {what}", f"{type(problem).__name__}: {problem} ({' '.join(ours)})"


def _limit_memory(mebibytes: int) -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = size + (mebibytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


@contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    main()
