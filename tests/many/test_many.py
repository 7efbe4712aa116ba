"""Many scans: each has a folder and a row; a failure stops no other; what is done is kept."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import petdiff
from petdiff import cli
from petdiff.denoising.request import Request
from petdiff.errors import InputRefused, UsageError
from petdiff.io import read_static
from petdiff.many import run as many_run
from petdiff.many import work
from petdiff.many.jobs import Job, find_jobs, shard_slice
from petdiff.many.rows import ScanRow, read_row, store_row
from petdiff.many.run import ManyResult
from petdiff.many.summary import write_summary
from petdiff.uncertainty.alarm.record import AlarmRecord
from support.bids_factory import add_scan, data_set
from support.dicom_factory import pet_slices, save
from support.many_scans import cohort, tiny_model, volume

Denoise = Callable[..., ManyResult]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("draw_preview", "make_page"):
        monkeypatch.setattr(f"petdiff.denoising.scan.{name}", lambda *_: None)


@pytest.fixture
def denoised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the scans that were computed."""
    names: list[str] = []
    real = work.denoise_scan

    def noted(request: Request, output: Path, **rest: object) -> object:
        names.append(request.scan.name.partition(".")[0])
        return real(request, output, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(work, "denoise_scan", noted)
    return names


def volumes(folder: Path, number: int) -> None:
    for n in range(number):
        volume(folder / f"p{n}.nii.gz", seed=n)


def summary(out: Path) -> list[dict[str, str]]:
    with (out / "summary.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_scan_has_a_folder_and_a_row_and_one_that_fails_stops_no_other(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = cohort(tmp_path / "in"), tmp_path / "out"
    assert cli.run(["denoise", str(folder), "-o", str(out), "--model", str(model)]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [str(out / "summary.csv"), str(out / "index.html")]
    last = printed.err.splitlines()[-1]
    assert last.startswith("petdiff: 1 of 4 scans have no result")
    assert "p4: " in last
    rows = {row["scan"]: row for row in summary(out)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "late_p1": "denoised", "p2": "denoised", "p3_study_series": "denoised", "p4": "refused",
    }  # fmt: skip
    assert "incomplete DICOM file" in rows["p4"]["reason"]
    assert float(rows["p2"]["seconds"]) > 0
    assert "voxel size" in rows["p2"]["warnings"]
    assert (out / "late_p1" / "denoised.nii.gz").is_file()
    assert (out / "p3_study_series" / "denoised").is_dir()
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "4 scans: 1 refused, 3 denoised" in page


def test_warnings_have_the_alarm_and_a_missing_suv(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlike = AlarmRecord(score=2.5, threshold=1.7, alarm=True)
    monkeypatch.setattr("petdiff.denoising.scan.check_alarm", lambda *_: unlike)
    scans = [volume(tmp_path / "suv.nii.gz"), save(pet_slices(PatientWeight=None), tmp_path / "p")]
    assert petdiff.denoise_many(scans, tmp_path / "out", model=model).failed == []
    warnings = {row["scan"]: row["warnings"] for row in summary(tmp_path / "out")}
    assert all(unlike.sentence in one for one in warnings.values())
    assert "not in SUV: no SUV from" in warnings["p"]
    assert "not in SUV" not in warnings["suv"]


def test_reasons_name_options_on_the_terminal(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("petdiff.many.work.denoise_scan", refuse)
    folder, out = cohort(tmp_path / "in"), tmp_path / "out"
    assert cli.run(["denoise", str(folder), "-o", str(out), "--model", str(model)]) == 1
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if "out of memory: take a coarser --voxel-size" in line]
    assert len(told) == 5  # one for each scan, and the last line
    assert not any("`" in line for line in lines)


def test_result_is_that_of_a_single_run_byte_for_byte(tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "in"
    volumes(folder, 2)
    petdiff.denoise_many(folder, tmp_path / "many", model, seed=3)
    for n in range(2):
        alone = petdiff.denoise(read_static(folder / f"p{n}.nii.gz"), model, seed=3).image
        together = read_static(tmp_path / "many" / f"p{n}" / "denoised.nii.gz")
        assert alone.values.tobytes() == together.values.tobytes()


def test_finished_scans_are_not_repeated_and_changed_ones_are(
    tmp_path: Path, model: Path, denoised: list[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    volumes(folder, 3)

    def again(seed: int = 0) -> list[str]:
        denoised.clear()
        result = petdiff.denoise_many(folder, out, model, seed=seed)
        assert not result.failed
        return sorted(denoised)

    assert again() == ["p0", "p1", "p2"]
    before = (out / "p1" / "denoised.nii.gz").read_bytes()
    assert again() == []
    (folder / "p1.nii.gz").unlink()
    volume(folder / "p1.nii.gz", seed=9)  # another scan of the same name
    assert again() == ["p1"]
    assert (out / "p1" / "denoised.nii.gz").read_bytes() != before
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder, copy_function=shutil.copyfile)  # later times
    assert again() == []
    shutil.rmtree(out / "p2")
    assert again() == ["p2"]
    assert again(seed=1) == ["p0", "p1", "p2"]
    assert sorted(entry.name for entry in out.iterdir()) == [
        ".petdiff", "index.html", "p0", "p1", "p2", "summary.csv",
    ]  # fmt: skip


def test_result_whose_row_was_lost_by_a_kill_is_kept_and_half_written_ones_go(
    tmp_path: Path, model: Path, denoised: list[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    volumes(folder, 2)
    petdiff.denoise_many(folder, out, model)
    (out / ".petdiff" / "p0.json").unlink()  # killed between the result and its row
    (out / ".petdiff" / "p1.json").write_text('{"scan": "p')  # a damaged disk
    (out / "p1").rename(out / ".p1.unfinished-1234")
    denoised.clear()
    petdiff.denoise_many(folder, out, model)
    assert denoised == ["p1"]
    assert not list(out.glob("*unfinished*"))


def test_a_kill_while_a_result_is_replaced_leaves_no_part_of_it(
    tmp_path: Path, model: Path, denoised: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    volume(folder / "p0.nii.gz")
    petdiff.denoise_many(folder, out, model)

    def killed(path: Path) -> None:
        if (path / "run.json").exists():  # the former result: a part of it is gone
            (path / "run.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("petdiff.many.result_location.disk.remove", killed)
        petdiff.denoise_many(folder, out, model, seed=1)
    denoised.clear()
    assert not petdiff.denoise_many(folder, out, model, seed=1).failed
    assert denoised == []
    assert not list(out.glob("*unfinished*"))


def test_a_new_result_that_a_kill_left_aside_is_made_again(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    volume(folder / "p0.nii.gz")
    petdiff.denoise_many(folder, out, model)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("petdiff.many.result_location.ResultLocation.replace_by_new", killed)
        petdiff.denoise_many(folder, out, model, seed=1)
    assert not petdiff.denoise_many(folder, out, model, seed=1).failed
    assert json.loads((out / "p0" / "run.json").read_text())["options"]["seed"] == 1


def test_row_of_a_process_that_was_faster_is_kept(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    volume(folder / "p0.nii.gz")
    [done] = petdiff.denoise_many(folder, out, model).rows
    shutil.rmtree(out)

    def slower(*_: object, **__: object) -> None:
        store_row(out, done)
        raise UsageError("p0 was made by another run meanwhile")

    monkeypatch.setattr(work, "denoise_scan", slower)
    assert petdiff.denoise_many(folder, out, model).rows == (done,)
    assert petdiff.denoise_many(folder, out, model, seed=1).failed  # with other settings


def test_stopped_run_on_local_processes_leaves_nothing_half_written(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume(tmp_path / "in" / "p0.nii.gz")
    out = tmp_path / "out"

    @contextmanager
    def stopped(*_: object, **__: object) -> Iterator[None]:
        for name in ("p0", "of_another_run"):
            (out / f".{name}.unfinished-1234").mkdir()
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("petdiff.many.run.connected", stopped)
    with pytest.raises(KeyboardInterrupt):
        petdiff.denoise_many(tmp_path / "in", out, model, cluster="local")
    assert [entry.name for entry in out.iterdir()] == [".of_another_run.unfinished-1234"]


def test_a_folder_that_petdiff_has_not_made_is_left_as_it_is(tmp_path: Path, model: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    volumes(folder, 2)
    (out / "p0").mkdir(parents=True)
    (out / "p0" / "thesis.txt").write_text("mine")
    (row,) = petdiff.denoise_many(folder, out, model).failed
    assert (row.scan, row.status) == ("p0", "refused")
    assert (out / "p0" / "thesis.txt").read_text() == "mine"


def test_error_that_nobody_expected_is_a_row_too(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume(tmp_path / "in" / "p0.nii.gz")

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(work, "denoise_scan", broken)
    (row,) = petdiff.denoise_many(tmp_path / "in", tmp_path / "out", model).failed
    assert (row.status, row.reason) == ("failed", "ZeroDivisionError: by zero")


def test_options_that_no_scan_can_meet_are_refused_before_the_first(
    tmp_path: Path, model: Path
) -> None:
    volume(tmp_path / "in" / "p0.nii.gz")
    with pytest.raises(UsageError, match="one step always gives the same"):
        petdiff.denoise_many(tmp_path / "in", tmp_path / "out", model, samples=2, steps=1)
    assert not (tmp_path / "out").exists()


def test_shards_share_the_scans_and_the_summary_tells_of_all(tmp_path: Path, model: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    volumes(folder, 3)
    first = petdiff.denoise_many(folder, out, model, shard="1/2")
    assert [row.scan for row in first.rows] == ["p0", "p2"]
    assert [row["status"] for row in summary(out)] == ["denoised", "waiting", "denoised"]
    petdiff.denoise_many(folder, out, model, shard="2/2")
    assert [row["status"] for row in summary(out)] == ["denoised"] * 3


@pytest.mark.parametrize("count", [1, 3, 8])
def test_shards_hold_each_job_once(count: int) -> None:
    jobs = [Job(f"p{n}", Request(Path())) for n in range(7)]
    parts = [jobs[shard_slice(f"{n}/{count}")] for n in range(1, count + 1)]
    assert sorted(job.name for part in parts for job in part) == [job.name for job in jobs]


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4"])
def test_what_is_no_shard_is_refused(shard: str) -> None:
    with pytest.raises(UsageError, match="give i/n"):
        shard_slice(shard)


def test_summary_is_written_again_where_another_process_ended_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_row(tmp_path, ScanRow(scan="p0", status="denoised"))
    real, calls = write_summary.__globals__["write_index"], []

    def late(path: Path, entries: list[object]) -> None:
        if not calls:
            store_row(tmp_path, ScanRow(scan="p1", status="denoised"))
        calls.append(len(entries))
        real(path, entries)

    monkeypatch.setattr("petdiff.many.summary.write_index", late)
    write_summary(tmp_path, ["p0", "p1"])
    assert len(calls) == 2
    assert [row["status"] for row in summary(tmp_path)] == ["denoised", "denoised"]


def test_summary_and_page_name_options_as_the_command_line_does(tmp_path: Path) -> None:
    store_row(tmp_path, ScanRow(scan="p0", status="refused", reason="give `suv_factor` F"))
    store_row(tmp_path, ScanRow(scan="p1", status="denoised", warnings=("give `units` suv",)))
    for file in write_summary(tmp_path, ["p0", "p1"]):
        text = file.read_text(encoding="utf-8")
        assert "give --suv-factor F" in text
        assert "give --units suv" in text


def test_list_gives_names_doses_and_series(tmp_path: Path) -> None:
    for number in (4, 7):
        save(pet_slices(SeriesNumber=number), tmp_path / "p1", prefix=str(number))
    volume(tmp_path / "p2.nii.gz")
    (tmp_path / "list.csv").write_text(
        "scan,name,dose,series\np1,first,1/4,1.2.3\np2.nii.gz,,,\np2.nii.gz,again,25%,\n"
    )
    jobs = find_jobs([tmp_path / "list.csv"], Request(Path()), tmp_path / "out").jobs
    found = [(job.name, job.request.options.drf, job.request.series) for job in jobs]
    assert found == [("again", 4, None), ("first", 4, "1.2.3"), ("p2", None, None)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("file,dose\nx,1\n", "'file' is not known"),
        ("scan;dose\nx;1/4\n", "separated by commas"),  # as some spreadsheets write it
        ("name\nx\n", "no column scan"),
        ("scan,dose\nx,lots\n", "line 2"),
        ("scan,units\nx,SUV?\n", "line 2"),
        ("scan,name\nx,../up\n", "no name of a folder"),
        ("scan,name\nx,a\ny,A\n", "two scans"),
        ("scan\nx,y\n", "more values"),
    ],
)
def test_damaged_list_is_refused_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputRefused, match=told):
        find_jobs([tmp_path / "list.csv"], Request(Path()), tmp_path / "out")


def test_patterns_name_scans_from_their_common_folder(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        volume(tmp_path / "data" / patient / "pet.nii.gz")
        volume(tmp_path / "data" / patient / "other.nii.gz")
    jobs = find_jobs([tmp_path / "data" / "*" / "pet*"], Request(Path()), tmp_path / "out").jobs
    assert [job.name for job in jobs] == ["p1_pet", "p2_pet"]


def test_a_wrong_shard_is_refused_before_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search of a hospital's archive reads the header of every file."""
    monkeypatch.setattr(many_run, "find_jobs", lambda *_: pytest.fail("it searched"))
    with pytest.raises(UsageError, match="`shard` 3/2"):
        petdiff.denoise_many(tmp_path, tmp_path / "out", shard="3/2")


def test_nothing_found_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for given in (tmp_path / "*.nii", tmp_path / "absent", tmp_path / "in"):
        command = ["denoise", str(given), "-o", str(tmp_path / "out"), "--shard", "1/2"]
        assert cli.run(command) == 3
        assert not (tmp_path / "out").exists()


def test_folder_of_one_scan_is_a_single_scan_as_ever(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(pet_slices(), tmp_path / "in" / "study" / "series")
    command = ["denoise", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(model)]
    assert cli.run(command) == 0
    assert (tmp_path / "out" / "run.json").is_file()
    assert not (tmp_path / "out" / "summary.csv").exists()


def test_headers_name_nobody_in_names_rows_and_pages(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marks = {"PatientName": "Zyxwvut^Q", "PatientID": "PID7391155", "StudyID": "STUDYMARK4"}
    for number in (4, 7):
        save(pet_slices(SeriesNumber=number, **marks), tmp_path / "in" / "p", prefix=str(number))
    save(pet_slices(**marks)[::2], tmp_path / "in" / "gaps")
    out = tmp_path / "out"
    cli.run(["denoise", str(tmp_path / "in"), "-o", str(out), "--model", str(model)])
    printed = capsys.readouterr()
    files = [out / "summary.csv", out / "index.html", *(out / ".petdiff").glob("*.json")]
    texts = [file.read_text() for file in files] + [printed.out, printed.err, *map(str, files)]
    assert len(files) == 5
    for mark in ("Zyxwvut", "PID7391155", "STUDYMARK4"):
        assert not any(mark in text for text in texts)


def test_bids_scans_go_into_one_derivative_and_are_replaced(
    tmp_path: Path, model: Path, denoised: list[str]
) -> None:
    root = data_set(tmp_path / "set")
    for subject in ("01", "02"):
        add_scan(root, f"sub-{subject}")
    out = root / "derivatives" / "petdiff"
    for seed, computed in ((0, 2), (0, 0), (1, 2)):
        denoised.clear()
        assert not petdiff.denoise_many(root, out, model, seed=seed).failed
        assert len(denoised) == computed
    assert len(list(out.glob("sub-*/pet/*desc-denoised_pet.nii.gz"))) == 2
    sidecar = next(iter(out.glob("sub-01/pet/*desc-denoised_pet.json")))
    assert json.loads(sidecar.read_text())["Petdiff"]["Seed"] == 1


def test_bids_results_stay_where_new_ones_fail_or_are_killed(
    tmp_path: Path, model: Path, denoised: list[str]
) -> None:
    root = data_set(tmp_path / "set")
    scan, out = add_scan(root, "sub-01"), root / "derivatives" / "petdiff"

    def results() -> dict[Path, bytes]:
        files = (out / "sub-01").rglob("*.*")
        return {file.relative_to(out): file.read_bytes() for file in files}

    add_scan(root, "sub-02")
    petdiff.denoise_many(root, out, model)
    before, whole = results(), scan.read_bytes()
    scan.write_bytes(whole[:500])
    [failed] = petdiff.denoise_many(root, out, model, seed=1).failed
    assert results() == before
    scan.write_bytes(whole)
    for name in list(before)[:2]:  # a kill leaves the former files aside
        aside = out / ".petdiff" / "former" / failed.scan / name
        aside.parent.mkdir(parents=True, exist_ok=True)
        (out / name).rename(aside)
    denoised.clear()
    petdiff.denoise_many(root, out, model)
    assert denoised == ["sub-02_pet"]  # made with seed 1 before
    assert results() == before
    assert not [*(out / ".petdiff").rglob("*desc-denoised*")]


def test_row_of_another_scan_is_not_taken(tmp_path: Path) -> None:
    store_row(tmp_path, ScanRow(scan="p0", status="denoised"))
    shutil.copyfile(tmp_path / ".petdiff" / "p0.json", tmp_path / ".petdiff" / "p1.json")
    assert read_row(tmp_path, "p1") is None
