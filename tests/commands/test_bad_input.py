"""Each command refuses what it cannot use: exit 3, one line on what and where, nothing left."""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from petdiff import cli
from support.dicom_factory import pet_slices, save, tracer

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
Make = Callable[[Path], Path]


def series(**attributes: Any) -> Make:
    return lambda folder: save(pet_slices(**attributes), folder / "series")


def truncated_dicom(folder: Path) -> Path:
    path = save(pet_slices(), folder / "series")
    file = sorted(path.iterdir())[1]
    file.write_bytes(file.read_bytes()[:-20])
    return path


def ct(folder: Path) -> Path:
    ct_storage = "1.2.840.10008.5.1.4.1.1.2"

    def edit(_: int, ds: Any) -> None:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = ct_storage

    return save(pet_slices(edit=edit, Modality="CT"), folder / "series")


def two_series(folder: Path) -> Path:
    """Two series of a zip; of a folder, both are denoised."""
    for prefix in "ab":
        save(pet_slices(), folder / "both", prefix)
    return Path(shutil.make_archive(str(folder / "both"), "zip", folder / "both"))


def missing_slice(folder: Path) -> Path:
    slices = pet_slices()
    return save(slices[:2] + slices[3:], folder / "series")


def duplicate_slice(folder: Path) -> Path:
    slices = pet_slices()
    twin = pet_slices()[2]
    twin.SeriesInstanceUID = slices[0].SeriesInstanceUID
    twin.StudyInstanceUID = slices[0].StudyInstanceUID
    twin.FrameOfReferenceUID = slices[0].FrameOfReferenceUID
    return save([*slices, twin], folder / "series")


def no_injection_time(folder: Path) -> Path:
    def edit(_: int, ds: Any) -> None:
        for keyword in ("RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartDateTime"):
            if keyword in tracer(ds):
                delattr(tracer(ds), keyword)

    return save(pet_slices(edit=edit), folder / "series")


def path_traversal(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "scan.zip", "w") as archive:
        archive.writestr("../../outside.dcm", b"x")
    return folder / "scan.zip"


def zip_bomb(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(40 << 20))
    return folder / "scan.zip"


def nifti(values: Any) -> Make:
    def make(folder: Path) -> Path:
        nibabel.save(nibabel.Nifti1Image(np.asarray(values, np.float32), AFFINE), folder / "a.nii")
        return folder / "a.nii"

    return make


def truncated_nifti(folder: Path) -> Path:
    path = nifti(np.ones((9, 9, 9)))(folder)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def text_file(folder: Path) -> Path:
    (folder / "scan.dcm").write_text("not a scan")
    return folder / "scan.dcm"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(truncated_dicom, r"\.dcm", id="truncated DICOM"),
        pytest.param(ct, "CT|PET", id="a CT"),
        pytest.param(two_series, "--series", id="two series"),
        pytest.param(missing_slice, "missing|gap|spac", id="missing slice"),
        pytest.param(duplicate_slice, "same|twice|duplicate", id="duplicate slice"),
        pytest.param(path_traversal, "outside", id="zip path traversal"),
        pytest.param(zip_bomb, "zip", id="zip bomb"),
        pytest.param(nifti(np.ones((9, 9, 9, 2, 2))), "5 dimensions", id="NIfTI of 5 dimensions"),
        pytest.param(nifti(np.full((9, 9, 9), np.nan)), "NaN", id="NaN"),
        pytest.param(nifti(np.full((9, 9, 9), np.inf)), "729 infinite", id="infinite"),
        pytest.param(truncated_nifti, "truncated", id="truncated NIfTI"),
        pytest.param(text_file, r"scan\.dcm", id="a text file"),
        pytest.param(lambda folder: folder / "absent", "does not exist", id="nothing there"),
    ],
)
def test_scan_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Make, says: str
) -> None:
    (tmp_path / "in").mkdir()
    scan = make(tmp_path / "in")
    assert_refused(["denoise", str(scan)], tmp_path, capsys, says)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(series(PatientWeight=None), "PatientWeight", id="no weight"),
        pytest.param(no_injection_time, "Radiopharmaceutical|injection", id="no injection time"),
        pytest.param(series(Units="PROPCNTS"), "PROPCNTS", id="PROPCNTS"),
        pytest.param(series(CorrectedImage=["DECY"]), "CorrectedImage|ATTN", id="no attenuation"),
    ],
)
def test_scan_without_suv_is_denoised_in_its_own_unit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Make, says: str
) -> None:
    (tmp_path / "in").mkdir()
    scan = make(tmp_path / "in")
    assert cli.run(["suv", str(scan)]) == 3
    assert re.search(says, capsys.readouterr().err)
    assert cli.run(["denoise", str(scan), "-o", str(tmp_path / "out")]) == 0
    assert re.search(rf"unit .*as stored.*({says})", capsys.readouterr().err)
    record = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))
    assert record["input"]["values_in"] != "SUV"


def not_a_model(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3, np.float32)}, path)


def unknown_method(path: Path) -> None:
    from safetensors.numpy import save_file

    contract = '{"method": "magic", "architecture": {}}'
    save_file({"a": np.zeros(3, np.float32)}, path, metadata={"petdiff": contract})


def weights_that_do_not_fit(path: Path) -> None:
    from safetensors.numpy import save_file

    contract = '{"method": "flow3d", "architecture": {"in_channels": 5, "out_channels": 4}}'
    save_file({"a": np.zeros(3, np.float32)}, path, metadata={"petdiff": contract})


class Bomb:
    """Would make a file where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("exploded", "w"))


def pickle_posing_as_weights(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb()))


def torch_pickle(path: Path) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save({"state_dict": Bomb()}, buffer)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    "make",
    [not_a_model, unknown_method, weights_that_do_not_fit, pickle_posing_as_weights, torch_pickle],
)
def test_file_that_is_no_model(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    scan = nifti(np.ones((9, 9, 9)))(tmp_path / "in")
    file = tmp_path / "in" / "model.safetensors"
    make(file)
    command = ["denoise", str(scan), "--model", str(file)]
    assert_refused(command, tmp_path, capsys, r"model\.safetensors")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("make", [pickle_posing_as_weights, torch_pickle])
def test_convert_runs_no_pickled_code(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "published.pt")
    assert_refused(["convert", "published.pt"], tmp_path, capsys, r"published\.pt")
    assert not (tmp_path / "exploded").exists()


def assert_refused(
    command: list[str], folder: Path, capsys: pytest.CaptureFixture[str], says: str
) -> None:
    """Exit 3, one line on stderr beside progress, nothing on stdout, nothing written."""
    out = folder / "out"
    out.mkdir()
    code = cli.run([*command, "-o", str(out / "result")])
    printed = capsys.readouterr()
    said = [line for line in printed.err.splitlines() if line.startswith("petdiff: ")]
    assert code == 3, printed.err
    assert len(said) == 1
    assert re.search(says, said[0]), said[0]
    assert (printed.out, list(out.iterdir())) == ("", [])
