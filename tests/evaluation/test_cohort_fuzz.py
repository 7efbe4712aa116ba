"""Damaged cohort files and resumed runs: one clear line, never another exception.

Some hundreds of mutants run with the suite; PETDIFF_FUZZ=20000 runs so many.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petdiff.errors import PetdiffError
from petdiff.evaluation.cohort.definition import Cohort, exams, identity, read_cohort
from petdiff.evaluation.cohort.exam import Measured, measure_scans
from petdiff.evaluation.cohort.run import run_cohort
from petdiff.evaluation.cohort.stored import store_exam
from support.little_cohort import made_up_scans

MUTANTS = int(os.environ.get("PETDIFF_FUZZ", "300"))

COHORT = """
seed = 7
patients = 2
doses = [4, 20]
scanners = ["quadra", "vision600"]
tracers = ["fdg"]
voxel_mm = 4.0
extent = "thorax"
lesions = false

[methods]
measured = {}
blurred = { model = "gaussian" }

[[claims]]
method = "blurred"
beats = ["measured"]
"""
ODD: list[Any] = [
    None, True, -1, 0, 10**400, 1e308, float("nan"), float("-inf"), "", "\x00", "\ud800",
    [], {}, [[]], [None], {"a": {"b": []}}, "[" * 3000, 2**63, -(2**63), 0.1, "quadra",
    "é" * 5000, ["fdg"] * 300,
]  # fmt: skip
ODD_TOML = [
    '"x"', "[]", "{}", "true", "-1", "0", "1e400", "nan", "inf", "9" * 400, "[" * 4000 + "]" * 4000,
    '"' + "a" * 9000 + '"', "1979-05-27", "[[1]]", '{ "" = 1 }', '"""', "'", '["a", 1]',
    '{ model = 3 }', "{ model = { } }", '"../../x"', '"~nobody/x"', '"\\u0000"',
]  # fmt: skip


def mutated_text(rng: random.Random) -> bytes:
    """Return the cohort's file with a value replaced, bytes changed, cut or doubled."""
    lines = COHORT.strip().splitlines()
    for _ in range(rng.randint(1, 3)):
        kind = rng.randrange(5)
        at = rng.randrange(len(lines))
        if kind == 0 and "=" in lines[at]:
            lines[at] = f"{lines[at].split('=')[0]}= {rng.choice(ODD_TOML)}"
        elif kind == 1:
            lines.insert(at, f"{rng.choice(['pairs', 'seed', 'extra', 'methods'])} = "
                             f"{rng.choice(ODD_TOML)}")  # fmt: skip
        elif kind == 2:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif kind == 3:
            del lines[at]
            lines = lines or [""]
    content = bytearray("\n".join(lines).encode("utf-8", errors="surrogatepass"))
    if rng.random() < 0.5 and content:
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def mutated_json(content: Any, rng: random.Random) -> Any:
    """Return a copy of a JSON value with one value somewhere inside replaced by an odd one."""
    if rng.random() < 0.15 or not isinstance(content, dict | list) or not content:
        return rng.choice(ODD)
    key = rng.choice(list(content) if isinstance(content, dict) else range(len(content)))
    copy = content.copy()
    if isinstance(copy, dict) and rng.random() < 0.1:
        del copy[key]
    elif rng.random() < 0.05:
        copy = {**copy, "extra": 1} if isinstance(copy, dict) else [*copy, copy[0]]
    else:
        copy[key] = mutated_json(copy[key], rng)
    return copy


def one_line_or_fine(work: Callable[[], object]) -> bool:
    """Do some work; whether it was refused, by an error of one line of readable length."""
    try:
        work()
    except PetdiffError as problem:
        text = str(problem)
        assert text.strip()
        assert "\n" not in text
        assert len(text) < 1500
        return True
    return False


def test_mutated_cohort_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    rng = random.Random(1)
    refused = 0
    for _ in range(MUTANTS):
        path = tmp_path / "cohort.toml"
        path.write_bytes(mutated_text(rng))

        def read(path: Path = path) -> None:
            cohort = read_cohort(path)
            identity(cohort)
            if cohort.patients <= 10_000:
                exams(cohort)

        refused += one_line_or_fine(read)
    assert refused > MUTANTS / 2


def work(cohort: Cohort, exam: Any) -> Measured:
    return measure_scans(made_up_scans(exam.seed, twin=False), cohort.methods, exam)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, Path]:
    """A finished run of one patient."""
    folder = tmp_path_factory.mktemp("fuzz") / "run"
    cohort = Cohort(doses=(4, 20), methods=["measured", "gaussian"])  # type: ignore[arg-type]
    (folder / "rows").mkdir(parents=True)
    (folder / "cohort.json").write_text(json.dumps(identity(cohort)), encoding="utf-8")
    for exam in exams(cohort):
        store_exam(folder / "rows" / f"{exam.name}.json", exam, work(cohort, exam))
    return cohort, folder


def test_damaged_rows_of_a_resumed_run_are_refused_in_one_line(
    finished: tuple[Cohort, Path], tmp_path: Path
) -> None:
    from petdiff.evaluation.cohort.summary import summarise
    from petdiff.evaluation.cohort.table import tabulate

    cohort, whole = finished
    rng = random.Random(2)
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (file,) = (run / "rows").glob("*.json")
    good = file.read_bytes()
    content = json.loads(good)
    content["rows"] = content["rows"][:12]  # a mutant of them is soon made
    refused = 0

    def resume() -> None:
        import numpy as np

        done = run_cohort(cohort, run)
        summarise(tabulate(done, list(cohort.methods)), generator=np.random.default_rng(0))

    for _ in range(MUTANTS):
        if rng.random() < 0.6:
            mutant = json.dumps(mutated_json(content, rng)).encode("utf-8")
        else:
            some = bytearray(json.dumps(content).encode("utf-8"))
            for _ in range(rng.randint(1, 4)):
                some[rng.randrange(len(some))] = rng.randrange(256)
            mutant = bytes(some[: rng.choice([len(some), rng.randrange(len(some))])])
        file.write_bytes(mutant)
        refused += one_line_or_fine(resume)
    assert refused > MUTANTS / 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"[" * 100_000, b'{"seed": 1e999}']
)
def test_damaged_identity_of_a_run_is_refused(
    finished: tuple[Cohort, Path], tmp_path: Path, content: bytes
) -> None:
    cohort, whole = finished
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "cohort.json").write_bytes(content)
    assert one_line_or_fine(lambda: run_cohort(cohort, tmp_path / "run"))


def test_a_folder_in_place_of_a_file_is_refused(
    finished: tuple[Cohort, Path], tmp_path: Path
) -> None:
    cohort, whole = finished
    for name in ("cohort.json", f"rows/{exams(cohort)[0].name}.json"):
        run = tmp_path / name.replace("/", "-")
        shutil.copytree(whole, run)
        (run / name).unlink()
        (run / name).mkdir()
        assert one_line_or_fine(lambda run=run: run_cohort(cohort, run))


def test_damaged_pictures_are_refused(finished: tuple[Cohort, Path], tmp_path: Path) -> None:
    cohort, whole = finished
    shutil.copytree(whole, tmp_path / "run")
    (done,) = run_cohort(cohort, tmp_path / "run")
    file = done.file.with_suffix(".npz")
    good = file.read_bytes()
    rng = random.Random(3)
    refused = 0
    for _ in range(MUTANTS):
        some = bytearray(good)
        for _ in range(rng.randint(1, 30)):
            some[rng.randrange(len(some))] = rng.randrange(256)
        file.write_bytes(bytes(some[: rng.choice([len(some), rng.randrange(len(some))])]))
        refused += one_line_or_fine(lambda: done.picture("4/full/slice"))
    assert refused > MUTANTS / 4
