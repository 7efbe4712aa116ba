"""The job array in examples/slurm, submitted to a Slurm of one node."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.slurm import one_node, why_no_slurm

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm" / "denoise.sbatch"
# Stands for petdiff: it notes how it was called, and fails on one shard.
STAND_IN = '#!/bin/bash\necho "$@" > "called-${6%/*}"\nexec test "$6" != 2/3\n'


@pytest.mark.oracle
@pytest.mark.skipif(bool(why_no_slurm()), reason=why_no_slurm())
def test_each_task_of_an_array_gets_its_shard_and_tells_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "petdiff").write_text(STAND_IN)
    (tmp_path / "bin" / "petdiff").chmod(0o755)
    with one_node(tmp_path / "slurm", cpus=2) as environment:
        path = f"{tmp_path / 'bin'}:{environment['PATH']}"
        small = ["--cpus-per-task=1", "--mem=0", "--array=0-2", "--wait"]
        done = subprocess.run(
            ["sbatch", *small, str(SCRIPT), "the scans", "out", "--dose", "1/4"],
            cwd=tmp_path, env={**environment, "PATH": path}, capture_output=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 1  # as the second task does
    for n in (1, 2, 3):
        called = (tmp_path / f"called-{n}").read_text().split()
        assert called == f"denoise the scans -o out --shard {n}/3 --dose 1/4".split()
    assert len(list(tmp_path.glob("petdiff-*_?.log"))) == 3
