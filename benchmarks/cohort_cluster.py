"""A cohort of small scans with broken ones among them, on a cluster whose processes are killed.

    python benchmarks/cohort_cluster.py OUT [--scans 200] [--broken 5] [--side 16]
        [--by dask|slurm] [--undisturbed]

dask   `petdiff denoise --cluster local:2`. Once 40 scans are done, one worker gets SIGKILL; at 100
       the command itself does. The same command is then run again to its end.
slurm  `examples/slurm/denoise.sbatch` as an array of 2 on a Slurm of one node that is started here
       (Debian: slurm-wlm; as root). Once 40 scans are done, one task is killed; the array is
       submitted again.

Checked: every sound scan has a result whose voxels are, byte for byte, those of a run of its own in
this process; every broken one has its reason; no scan that was done before is computed again.

`--undisturbed` kills nothing, compares nothing and measures the overhead: the processor time of the
command and all its processes over the sum of the scans' own processor times. Processor time, as
other programs lengthen the time on the wall. What is done once (imports, the model, the start of
the cluster) is in it: its share falls with the number and the size of the scans.

The result is printed as JSON and written to OUT/cohort_cluster.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import petdiff
from petdiff.io import read_static, write
from petdiff.many.rows import ScanRow
from petdiff.runs import write_json

ROOT = Path(__file__).parents[1]
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
WORKER_DIES_AT, COMMAND_DIES_AT = 40, 100
PAUSE_S = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--broken", type=int, default=5)
    parser.add_argument("--side", type=int, default=16, help="voxels of a scan's side")
    parser.add_argument("--by", choices=["dask", "slurm"], default="dask")
    parser.add_argument("--undisturbed", action="store_true")
    asked = parser.parse_args()
    scans, out = asked.output / "scans", (asked.output / "results").absolute()
    broken = make_cohort(scans.absolute(), asked.scans, asked.broken, asked.side)
    run = by_dask if asked.by == "dask" else by_slurm
    figures = run(scans.absolute(), out, disturbed=not asked.undisturbed)
    if not asked.undisturbed:
        figures |= checked(scans, out, broken)
    figures |= {"by": asked.by, "scans": asked.scans, "side": asked.side}
    write_json(asked.output / "cohort_cluster.json", figures)
    print(json.dumps(figures, indent=2))


def make_cohort(folder: Path, scans: int, broken: int, side: int) -> list[str]:
    """Write noisy balls as NIfTI, the last of them broken, each in its way; returns their names."""
    folder.mkdir(parents=True)
    index = np.indices((side, side, side + 4)) - side / 2
    ball = 2.0 * ((index**2).sum(0) < (0.35 * side) ** 2) + 0.1
    names = [f"p{n:03d}" for n in range(scans)]
    for n, name in enumerate(names):
        noise = np.random.default_rng(n).gamma(8, 1 / 8, ball.shape)
        values = (ball * noise).astype(np.float32)
        write(petdiff.PETImage(values, AFFINE), folder / f"{name}.nii.gz")
    bad = names[scans - broken :]
    for n, name in enumerate(bad):
        file = folder / f"{name}.nii.gz"
        content = file.read_bytes()
        overwritten = content[:200] + bytes(50) + content[250:]
        damaged = (b"", b"no scan", content[: len(content) // 2], content[:-9], overwritten)
        file.write_bytes(damaged[n % len(damaged)])
    return bad


def by_dask(scans: Path, out: Path, *, disturbed: bool) -> dict[str, object]:
    command = [sys.executable, "-m", "petdiff", "denoise", str(scans), "-o", str(out)]
    command += ["--cluster", "local:2", "--quiet"]
    if not disturbed:
        return undisturbed(command, out)
    figures: dict[str, object] = {}
    process = subprocess.Popen(command)
    wait_for(out, WORKER_DIES_AT, process)
    victim = workers_of(process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    wait_for(out, COMMAND_DIES_AT, process)
    left = workers_of(process.pid)
    figures["workers_after_one_died"] = len(left)
    process.kill()
    process.wait()
    figures["workers_end_with_the_command"] = all(ended(pid) for pid in left)
    before = results(out)
    figures["done_at_the_kill"] = len(before)
    figures["exit_code"] = subprocess.run(command).returncode
    return figures | repeated(before, out)


def undisturbed(command: list[str], out: Path) -> dict[str, object]:
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    code = subprocess.run(command).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    own = sum(row.cpu_seconds for row in rows(out))
    return {
        "exit_code": code,
        "cpu_seconds_in_all": round(whole, 1),
        "cpu_seconds_of_the_scans": round(own, 1),
        "overhead": round(whole / own - 1, 4),
        "wall_seconds": round(time.perf_counter() - start, 1),
        "load": os.getloadavg()[0],
    }


def by_slurm(scans: Path, out: Path, *, disturbed: bool) -> dict[str, object]:
    sys.path.insert(0, str(ROOT / "tests"))
    from support.slurm import one_node, why_no_slurm

    if reason := why_no_slurm():
        raise SystemExit(f"no Slurm: {reason}")
    script, figures = ROOT / "examples" / "slurm" / "denoise.sbatch", dict[str, object]()
    submit = ["sbatch", "--cpus-per-task=1", "--mem=0", "--array=1-2", f"--chdir={out.parent}"]
    array = [str(script), str(scans), str(out)]
    with one_node(out.parent / "slurm", cpus=2) as environment:
        if disturbed:
            first = subprocess.run(
                [*submit, "--parsable", *array], env=environment, capture_output=True, check=True
            )
            wait_for(out, WORKER_DIES_AT, None)
            task = f"{first.stdout.decode().strip()}_1"
            subprocess.run(
                ["scancel", "--signal=KILL", "--full", task], env=environment, check=True
            )
            while subprocess.run(["squeue", "-h"], env=environment, capture_output=True).stdout:
                time.sleep(PAUSE_S)
            before = results(out)
            figures["done_at_the_kill"] = len(before)
        else:
            before = {}
        last = subprocess.run([*submit, "--wait", *array], env=environment, capture_output=True)
    figures["exit_code"] = last.returncode
    return figures | repeated(before, out)


def rows(out: Path) -> list[ScanRow]:
    files = sorted((out / ".petdiff").glob("*.json"))
    return [ScanRow.model_validate_json(file.read_bytes()) for file in files]


def results(out: Path) -> dict[str, int]:
    """Return when the result of each scan that has a row was written."""
    done = [row for row in rows(out) if row.is_done]
    return {row.scan: (out / row.scan / "run.json").stat().st_mtime_ns for row in done}


def repeated(before: dict[str, int], out: Path) -> dict[str, object]:
    after = results(out)
    return {"done_before_and_repeated": sum(after[name] != when for name, when in before.items())}


def wait_for(out: Path, count: int, process: subprocess.Popen[bytes] | None) -> None:
    while len(list((out / ".petdiff").glob("*.json"))) < count:
        if process is not None and process.poll() is not None:
            raise SystemExit(f"the command ended before {count} scans were done")
        time.sleep(PAUSE_S)


def workers_of(pid: int) -> list[int]:
    """Return the processes that Dask started for a command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if parent == pid and b"spawn_main" in command:
            found.append(int(folder.name))
    return found


def ended(pid: int, within_s: float = 60) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(PAUSE_S)
    return False


def checked(scans: Path, out: Path, broken: list[str]) -> dict[str, object]:
    """Compare every result with a run of its own, and count the reasons."""
    equal, model = 0, petdiff.load_model("flow3d")
    done = [row for row in rows(out) if row.is_done]
    for row in done:
        alone = petdiff.denoise(read_static(scans / f"{row.scan}.nii.gz"), model).image
        together = read_static(out / row.scan / "denoised.nii.gz")
        equal += alone.values.tobytes() == together.values.tobytes()
    told = {row.scan: row.reason for row in rows(out) if not row.is_done}
    return {
        "results": len(done),
        "equal_to_a_run_of_its_own": equal,
        "reasons": told,
        "broken_ones_have_a_reason": sorted(told) == sorted(broken) and all(told.values()),
        "left_half_written": len(list(out.glob(".*unfinished*"))),
    }


if __name__ == "__main__":
    main()
