"""Scanning again from the record, and anatomy from a label map, on the command line and in Python.

That a patient's folder is whole, and that a seed repeats itself, is in test_cli.py.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import petdiff
from petdiff import cli
from petdiff.commands import simulate
from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.runs import write_json
from petdiff.simulation.scan_record import ScanRecord, read_record
from petdiff.simulation.scanner.scanners import SCANNERS
from petdiff.simulation.study import draw_record

IMAGES = ("truth.nii.gz", "full.nii.gz", "low_drf4.nii.gz", "labels.nii.gz")
NAMES = {1: "liver", 7: "lung_upper_lobe_left", 9: "flux_capacitor"}
AFFINE = np.array([[8.0, 0, 0, -100], [0, 8, 0, 30], [0, 0, 8, 900], [0, 0, 0, 1]])
SMALL = ("--voxel-size", "12", "--dose", "1/4", "--quiet")


def run(*arguments: object) -> int:
    return cli.run(["simulate", *(str(argument) for argument in arguments)])


def bytes_of(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def suv(folder: Path, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    return petdiff.read(folder / f"{name}.nii.gz").suv


def write_labels(path: Path, values: Any, affine: Any = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def organs() -> Any:
    labels = np.zeros((22, 20, 14), np.uint8)
    labels[3:10, 6:14, 3:11] = 1
    labels[13:19, 6:14, 3:11] = 7
    labels[3:10, 6:14, 11:13] = 9
    return labels


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn patient with lesions, scanned once."""
    folder = tmp_path_factory.mktemp("first") / "a"
    assert run("-o", folder, "--seed", 4, "--extent", "thorax", *SMALL) == 0
    assert json.loads(bytes_of(folder, "lesions.json"))["lesions"]
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a label map, its names beside it, and the scan `a` of a patient made of it."""
    folder = tmp_path_factory.mktemp("labelled")
    labels = write_labels(folder / "map.nii.gz", organs())
    (folder / "map.json").write_text(json.dumps(NAMES))
    assert run("-o", folder / "a", "--labels", labels, *SMALL) == 0
    return folder


def test_a_patients_own_list_of_lesions_serves_its_evaluation(
    first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list holds the whole patient's lesions, and the scan shows the thorax."""
    count = len(json.loads(bytes_of(first, "lesions.json"))["lesions"])
    scan, lesions = str(first / "full.nii.gz"), str(first / "lesions.json")
    command = ["evaluate", "--reference", scan, "--test", scan, "--lesions", lesions]
    assert cli.run([*command, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    left_out = int(re.search(r"(\d+) lesions? outside the field", printed.err)[1])
    measured = len(re.findall(r"^lesion \d+ ", printed.out, re.MULTILINE))
    assert left_out > 0
    assert measured == count - left_out


def test_the_record_makes_the_same_bytes_again(first: Path, tmp_path: Path) -> None:
    assert run("-o", tmp_path / "b", "--from", first / "scan.json", "--quiet") == 0
    for name in (*IMAGES, "lesions.json", "labels.json"):
        assert bytes_of(first, name) == bytes_of(tmp_path / "b", name), name
    assert read_record(first / "scan.json") == read_record(tmp_path / "b" / "scan.json")


def test_another_scanner_and_dose_see_the_same_patient(first: Path, tmp_path: Path) -> None:
    out = tmp_path / "b"
    changed = ("--scanner", "discovery-mi", "--dose", "1/50")
    assert run("-o", out, "--from", first / "scan.json", *changed, "--seed", 4, "--quiet") == 0
    for name in ("truth.nii.gz", "labels.nii.gz", "lesions.json"):
        assert bytes_of(first, name) == bytes_of(out, name), name
    assert not np.array_equal(suv(first, "full"), suv(out, "full"))
    assert sorted(path.name for path in out.glob("low*")) == ["low_drf50.nii.gz"]
    assert read_record(out / "scan.json").patient == read_record(first / "scan.json").patient


def test_the_twin_differs_only_where_the_lesions_are(first: Path, tmp_path: Path) -> None:
    out = tmp_path / "twin"
    assert run("-o", out, "--from", first / "scan.json", "--no-lesions", "--quiet") == 0
    truth = petdiff.read(first / "truth.nii.gz")
    index = np.stack(np.indices(truth.suv.shape), axis=-1)
    at_mm = index @ truth.affine[:3, :3].T + truth.affine[:3, 3]
    near = np.zeros(truth.suv.shape, bool)
    for lesion in read_record(first / "scan.json").patient.lesions:
        away_mm = np.linalg.norm(at_mm - lesion.centre_mm, axis=-1)
        near |= away_mm < 1.8 * lesion.radius_mm + np.sqrt(3) * 12  # lobes, and a voxel's diagonal
    changed = truth.suv != suv(out, "truth")
    assert changed.any()
    assert near.mean() < 0.2
    assert not (changed & ~near).any()


def test_a_record_of_its_own_seed_is_another_noise_realisation(first: Path, tmp_path: Path) -> None:
    content = json.loads(bytes_of(first, "scan.json"))
    content["seed"] = 77
    (tmp_path / "scan.json").write_text(json.dumps(content))
    again = petdiff.rescan(tmp_path / "scan.json")
    np.testing.assert_array_equal(again.truth.suv, suv(first, "truth"))
    assert not np.array_equal(again.full.suv, suv(first, "full"))
    assert again.full.suv.mean() == pytest.approx(suv(first, "full").mean(), rel=0.01)


def test_label_map_becomes_a_patient_in_its_own_millimetres(labelled: Path) -> None:
    truth = petdiff.read(labelled / "a" / "truth.nii.gz")
    liver_mm = AFFINE @ (6, 9.5, 7, 1)
    i, j, k = np.rint(np.linalg.solve(truth.affine, liver_mm)[:3]).astype(int)
    record = read_record(labelled / "a" / "scan.json")
    assert truth.suv[i, j, k] == pytest.approx(record.patient.uptake["liver"], rel=0.3)
    assert record.labels is not None
    assert record.labels.names == NAMES
    content = json.loads(bytes_of(labelled / "a", "scan.json"))
    assert content["unknown_labels"] == {"9": "flux_capacitor"}
    present = json.loads(bytes_of(labelled / "a", "labels.json")).values()
    assert {"liver", "lung_left", "muscle"} <= set(present)


def test_label_map_is_scanned_again_from_where_it_lies_now(labelled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(labelled, folder)
    content = json.loads(bytes_of(folder / "a", "scan.json"))
    content["labels"]["path"] = str(folder / "map.nii.gz")
    (folder / "a" / "scan.json").write_text(json.dumps(content))
    labels = (folder / "map.nii.gz").rename(folder / "other.nii.gz")
    record = folder / "a" / "scan.json"
    with pytest.raises(InputRefused, match=r"map\.nii\.gz.* is missing: .*`labels`"):
        petdiff.rescan(record)
    assert run("-o", folder / "b", "--from", record, "--labels", labels, "--quiet") == 0
    for name in IMAGES:
        assert bytes_of(folder / "a", name) == bytes_of(folder / "b", name), name
    write_labels(labels, organs()[::-1])
    with pytest.raises(InputRefused, match=r"is not the label map .*sha256"):
        petdiff.rescan(record, labels=labels)


def test_several_patients_have_a_folder_each_and_what_the_labels_became_is_said(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "names.tsv"
    table.write_text("index\tname\n1\tliver\n7\tlungs\n9\tspleen\n")
    options = ("--names", table, "--voxel-size", 20, "--dose", 1, "--patients", 3, "--seed", 5)
    assert run("-o", tmp_path / "b", "--labels", labelled / "map.nii.gz", *options) == 0
    printed = capsys.readouterr()
    assert [Path(line).name for line in printed.out.split()] == [
        "patient_0000", "patient_0001", "patient_0002"
    ]  # fmt: skip
    assert "patient 3 of 3, seed 7" in printed.err
    assert printed.err.count("labels not known, taken as soft tissue: 7 lungs\n") == 3
    assert printed.err.count("anatomy of map.nii.gz") == 3
    truths = {bytes_of(Path(line), "truth.nii.gz") for line in printed.out.split()}
    assert len(truths) == 3


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the patients that were scanned, of whom only the record is written."""
    seeds: list[int] = []

    @cache
    def drawn(tracer: str | None, doses: tuple[float, ...]) -> ScanRecord:
        return draw_record(0, tracer=tracer or "fdg", dose_factors=doses, voxel_mm=12.0)

    def record_of(request: simulate.SimulateRequest, seed: int) -> ScanRecord:
        """The same patient for all seeds, as drawing one takes half a second."""
        assert request.dose_factors is not None
        return drawn(request.tracer, request.dose_factors).model_copy(update={"seed": seed})

    def scan(
        request: simulate.SimulateRequest, record: None, seed: int, folder: Path, _: object
    ) -> None:
        seeds.append(seed)
        if seed == 13:
            raise PetdiffError("the disk is full")
        write_json(folder / "scan.json", record_of(request, seed))

    monkeypatch.setattr(simulate, "record_of", record_of)
    monkeypatch.setattr(simulate, "simulate_patient", scan)
    return seeds


def test_patients_that_are_done_stay_and_the_same_command_goes_on(
    tmp_path: Path, scanned: list[int]
) -> None:
    out = tmp_path / "out"
    assert run("-o", out, "--seed", 12, "--patients", 3, *SMALL) == 1
    assert [entry.name for entry in out.iterdir()] == ["patient_0000"]
    assert scanned == [12, 13]
    (out / ".patient_0001.unfinished-1234").mkdir()  # what a killed run leaves
    scanned.clear()
    assert run("-o", out, "--seed", 12, "--patients", 3, *SMALL) == 1
    assert scanned == [13]
    assert [entry.name for entry in out.iterdir()] == ["patient_0000"]


def test_more_patients_are_added_and_of_the_same_settings_only(
    tmp_path: Path, scanned: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("-o", out, "--patients", 2, *SMALL) == 0
    assert run("-o", out, "--patients", 4, *SMALL) == 0
    assert scanned == [0, 1, 2, 3]
    capsys.readouterr()
    for options, changed in (("--seed 1", "seed"), ("--tracer psma", "patient")):
        assert run("-o", out, "--patients", 4, *SMALL, *options.split()) == 2
        said = capsys.readouterr().err
        assert f"patient_0000 holds a patient with other settings ({changed})" in said
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    assert run("-o", tmp_path / "mine", "--patients", 4, *SMALL) == 2
    assert scanned == [0, 1, 2, 3]


def no_names(folder: Path) -> list[object]:
    return ["--labels", write_labels(folder / "bare.nii.gz", organs())]


def labels_of(values: Any, affine: Any = AFFINE) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        (folder / "map.json").write_text(json.dumps(NAMES))
        path = write_labels(folder / "map.nii.gz", np.asarray(values, np.float32), affine)
        return ["--labels", path, "--voxel-size", 20, "--dose", 1]

    return make


def record_with(change: Callable[[Any], object]) -> Callable[[Path], list[object]]:
    """A scan.json of which one thing was edited."""

    def make(folder: Path) -> list[object]:
        content = json.loads((folder / "first.json").read_text())
        change(content)
        (folder / "scan.json").write_text(json.dumps(content))
        return ["--from", folder / "scan.json"]

    return make


def text_record(text: str) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        (folder / "scan.json").write_text(text)
        return ["--from", folder / "scan.json"]

    return make


def told(*arguments: object) -> Callable[[Path], list[object]]:
    return lambda folder: [folder / "first.json" if a == "FIRST" else a for a in arguments]


RANGE = np.arange(2000.0).reshape(10, 10, 20)
WIDE = np.pad(np.ones((60, 4, 4)), 2)


@pytest.mark.parametrize(
    ("code", "make", "says"),
    [
        (2, told("--scanner", "quadro"), "unknown scanner 'quadro': did you mean 'quadra'"),
        (2, told("--tracer", "PSMA"), "unknown tracer 'PSMA': did you mean psma"),
        (2, told("--extent", "head"), "unknown extent 'head': did you mean head-neck"),
        (2, told("--dose", "0"), "share of the full dose"),
        (2, told("--dose", "-4"), "share of the full dose"),
        (2, told("--dose", "4"), "1/4 perhaps"),
        (2, told("--dose", "nan"), "share of the full dose"),
        (2, told("--dose", "inf"), "share of the full dose"),
        (2, told("--dose", "low"), "share of the full dose"),
        (2, told("--dose", ""), "share of the full dose"),
        (2, told("--voxel-size", "0"), "voxel size 0 mm: give 0.5 to 50"),
        (2, told("--voxel-size", "-3"), "voxel size -3 mm"),
        (2, told("--voxel-size", "nan"), "voxel size nan mm"),
        (2, told("--seed", "-1"), "--seed"),
        (2, told("--patients", "0"), "--patients"),
        (2, told("--names", "names.json"), "give --labels too"),
        (3, no_names, r"bare\.nii\.gz comes without the names .*--names.*bare\.json"),
        (3, told("--labels", "absent.nii.gz"), r"absent\.nii\.gz does not exist"),
        (3, labels_of(organs() + 0.25), "not a label map: .*whole numbers"),
        (3, labels_of(-1.0 * organs()), "not a label map: .*from 0 to 2147483647"),
        (3, labels_of(RANGE), "not a label map: .*different values as a scan"),
        (3, labels_of(RANGE * 100), "not a label map: .*different values as a scan"),
        (3, labels_of(np.zeros((9, 9, 9))), "empty label map"),
        (3, labels_of(organs() + 50.0), "none of the 4 labels has a name that is known"),
        (3, labels_of(WIDE, np.diag([16.0, 16, 16, 1])), "mm wide and the field of .* 738 mm"),
        (2, lambda f: [*labels_of(organs())(f), "--extent", "torso"], "a label map has its own"),
        (3, told("--from", "absent.json"), r"absent\.json does not exist.*give a scan\.json"),
        (3, text_record("not json"), r"scan\.json is not JSON .*as petdiff simulate wrote it"),
        (3, text_record("[1, 2]"), "not the record of a simulated scan"),
        (3, text_record('{"lesions": []}'), "not the record of a simulated scan"),
        (3, record_with(lambda c: c["patient"].pop("uptake")), "patient.uptake: Field required"),
        (3, record_with(lambda c: c["patient"].update(weight_kg="fat")), "patient.weight_kg: "),
        (3, record_with(lambda c: c["patient"].update(weight_kg=-70)), "patient.weight_kg is -70"),
        (3, record_with(lambda c: c["patient"].update(tracer="x")), "patient.tracer is not one"),
        (3, record_with(lambda c: c["patient"].update(extent="toe")), "patient.extent is not"),
        (3, record_with(lambda c: c["patient"]["uptake"].update(liver=-2)), "uptake.liver is not"),
        (3, record_with(lambda c: c["patient"]["uptake"].pop("liver")), "uptake.liver is not"),
        (3, record_with(lambda c: c["patient"].update(hair=1)), "patient.hair: "),
        (3, record_with(lambda c: c["scanner"].update(subsets=0)), "scanner.subsets is 0"),
        (3, record_with(lambda c: c["scanner"].update(tof_ps=float("nan"))), "it holds NaN"),
        (3, record_with(lambda c: c.update(voxel_mm=-1)), "voxel_mm is not 0.5 to 50"),
        (3, record_with(lambda c: c.update(dose_factors=[0.1])), "dose_factors are not all"),
        (3, record_with(lambda c: c.update(seed=-3)), "seed: "),
        (2, told("--from", "FIRST", "--tracer", "psma"), "--tracer psma contradicts --from"),
        (2, told("--from", "FIRST", "--seed", 5), "--seed 5 contradicts --from"),
        (2, told("--from", "FIRST", "--patients", 2), "--patients 2 contradicts --from"),
        (2, told("--from", "FIRST", "--labels", "x.nii"), "--labels contradicts"),
        (2, told("--from", "FIRST", "--names", "x.csv"), "--names contradicts --from"),
        (2, told("--from", "FIRST", "--dose", "5"), "1/5 perhaps"),
        (2, told("--from", "FIRST", "--scanner", "mri"), "unknown scanner"),
        (2, told("--from", "FIRST", "--extent", "toe"), "unknown extent"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    first: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    make: Callable[[Path], list[object]],
    says: str,
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    shutil.copy(first / "scan.json", tmp_path / "in" / "first.json")
    monkeypatch.chdir(tmp_path / "in")
    assert run("-o", tmp_path / "out" / "new", *make(tmp_path / "in")) == code
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("petdiff: ")]
    assert len(lines) == 1
    assert re.search(says, lines[0]), lines[0]
    assert (printed.out, list((tmp_path / "out").iterdir())) == ("", [])


def test_python_refuses_what_the_command_line_does() -> None:
    with pytest.raises(UsageError, match=r"dose 0\.5"):
        petdiff.simulate(dose_factors=[0.5])
    with pytest.raises(UsageError, match="seed -1"):
        petdiff.simulate(-1)
    with pytest.raises(UsageError, match="voxel size 0 mm"):
        petdiff.simulate(voxel_mm=0)


def test_python_scans_with_a_scanner_of_ones_own(first: Path) -> None:
    dull = replace(SCANNERS["quadra"], label="dull", filter_fwhm_mm=(30.0, 30.0))
    dulled = petdiff.rescan(first / "scan.json", scanner=dull)
    assert dulled.record.scanner == dull
    assert petdiff.rescan(dulled.record).full.suv.tobytes() == dulled.full.suv.tobytes()
    steps = [float(np.abs(np.diff(v)).mean()) for v in (dulled.full.suv, suv(first, "full"))]
    assert steps[0] < 0.8 * steps[1]


@pytest.mark.real
def test_segmented_ct_is_scanned_on_its_own_grid(test_data: Path) -> None:
    path = test_data / "torso_ct" / "totalsegmentator_example_seg.nii.gz"
    made = petdiff.simulate(2, tracer="psma", labels=path, voxel_mm=8, dose_factors=[])
    assert made.unknown_labels == {}  # TotalSegmentator keeps its names in the header
    assert len(made.names) > 50
    ours = petdiff.read(path)
    step = np.linalg.solve(ours.affine, made.truth.affine)
    np.testing.assert_allclose(step[:3, :3], 8 / 3 * np.eye(3), atol=1e-9)
    # The middle of an organ lies where it lies in the CT.
    for name, theirs in (("liver", 5), ("spleen", 1), ("urinary_bladder", 21)):
        label = next(n for n, known in made.names.items() if known == name)
        here, there = (
            np.argwhere(labels == n).mean(axis=0) @ affine[:3, :3].T + affine[:3, 3]
            for labels, n, affine in (
                (made.labels, label, made.truth.affine), (ours.suv, theirs, ours.affine)
            )
        )  # fmt: skip
        np.testing.assert_allclose(here, there, atol=1.5)
    bladder = made.full.suv[made.labels == label]
    assert np.median(bladder) == pytest.approx(made.patient.uptake["bladder"], rel=0.1)


def test_torch_reconstructs_a_patient_as_numpy_does() -> None:
    options = {"extent": "head-neck", "voxel_mm": 14.0, "dose_factors": [4]}
    ours, theirs = (petdiff.simulate(3, device=device, **options) for device in (None, "cpu"))
    assert theirs.prompts == ours.prompts
    np.testing.assert_allclose(theirs.lows[4].suv, ours.lows[4].suv, rtol=2e-3, atol=1e-3)
