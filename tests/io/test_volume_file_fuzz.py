"""Damaged volume files, label maps and lists: refused in a line, or read; nothing else happens.

PETDIFF_MUTANTS=1000 reads that many of each kind instead of a few dozen.
"""

from __future__ import annotations

import gzip
import json
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from petdiff.errors import PetdiffError
from petdiff.evaluation.inputs import labelled_lesions, read_lesions
from petdiff.evaluation.organs import find_organs
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.io import read
from petdiff.io.json_files import read_toml
from petdiff.io.labels import read_label_volume
from petdiff.io.npz import holds_pair
from petdiff.simulation.labels.label_file import read_label_map, read_names
from petdiff.simulation.scan_record import read_record
from support.mutants import mutants, text_mutants

AFFINE = np.array([[-4.0, 0, 0, 20], [0, 4, 0, -20], [0, 0, 4, 7], [0, 0, 0, 1]])
SECONDS, MAX_MIB = 10, 1024


def body(*frames: int) -> np.ndarray:
    x, y = np.meshgrid(np.arange(9) - 4, np.arange(9) - 4, indexing="ij")
    inside = np.repeat((x**2 + y**2 < 14)[:, :, None], 6, axis=2)
    noise = np.random.default_rng(0).uniform(0.5, 2, (*inside.shape, *frames))
    return (noise.T * inside.T).T.astype(np.float32)


@contextmanager
def bounded(what: str, size: int) -> Iterator[None]:
    """Fail for a hang, for much memory, and for any exception that is not petdiff's own."""

    def hang(*_: object) -> None:
        raise TimeoutError(f"{what} takes more than {SECONDS} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    except PetdiffError as problem:
        if not 10 < len(str(problem)) < 5000:
            raise AssertionError(f"{what}: {problem}") from problem
    except Exception as problem:
        raise AssertionError(f"{what}: {type(problem).__name__}: {problem}") from problem
    finally:
        signal.alarm(0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    unit = 1 if sys.platform == "darwin" else 1024
    assert grown * unit < 4 * size + (MAX_MIB << 20), f"{what} takes {grown * unit >> 20} MiB"


def judge(make: Callable[[], Iterator[bytes]], path: Path, use: Callable[[Path], Any]) -> None:
    """Read every mutant of a file under the file's own name."""
    for n, content in enumerate(make()):
        path.write_bytes(content)
        with bounded(f"mutant {n} of {path.name}", len(content)):
            use(path)


def read_whole(path: Path) -> None:
    scan = read(path)
    for frame in scan.frames if isinstance(scan, PETFrames) else (scan,):
        assert np.isfinite(frame.values).all()
        assert all(0.04 < size < 101 for size in frame.spacing_mm)
    json.dumps(scan.facts, allow_nan=False)


def read_labels(path: Path) -> None:
    found = read_label_volume(path)
    find_organs(found.labels, {1: "liver"})
    labelled_lesions(found.labels, (4.0, 4.0, 4.0))
    read_label_map(path, {1: "liver"})


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("frames", [(), (3,)])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_nifti(tmp_path: Path, suffix: str, frames: tuple[int, ...], kind: Any) -> None:
    path = tmp_path / f"scan{suffix}"
    nib.save(kind(body(*frames), AFFINE), path)
    content = path.read_bytes()
    judge(lambda: mutants(content, 1), path, read_whole)
    if suffix == ".nii.gz":  # damaged within, and packed soundly
        inner = gzip.decompress(content)
        judge(lambda: (gzip.compress(m) for m in mutants(inner, 2)), path, read_whole)


def test_nifti_of_scaled_integers(tmp_path: Path) -> None:
    image = nib.Nifti1Image((100 * body()).astype(np.int16), AFFINE)
    image.header.set_slope_inter(0.01, 0)
    nib.save(image, tmp_path / "scan.nii")
    content = (tmp_path / "scan.nii").read_bytes()
    judge(lambda: mutants(content[:400], 3), tmp_path / "cut.nii", read_whole)
    judge(
        lambda: (m + content[400:] for m in mutants(content[:400], 4)),
        tmp_path / "scan.nii",
        read_whole,
    )


@pytest.mark.parametrize("part", [".hdr", ".img"])
def test_nifti_pair(tmp_path: Path, part: str) -> None:
    nib.save(nib.Nifti1Pair(body(), AFFINE), tmp_path / "scan.img")
    content = (tmp_path / f"scan{part}").read_bytes()
    judge(lambda: mutants(content, 5), tmp_path / f"scan{part}", read_whole)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "scan.npz"
    save(path, np.stack([body(), body()]))
    content = path.read_bytes()
    judge(lambda: mutants(content, 6), path, read_whole)
    judge(lambda: mutants(content, 7), path, holds_pair)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("packed", [False, True])
def test_nrrd_and_metaimage(tmp_path: Path, suffix: str, packed: bool) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="the extra `formats` is not installed")
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(body().T), str(path), useCompression=packed)
    content = path.read_bytes()
    judge(lambda: mutants(content, 8), path, read_whole)
    judge(lambda: text_mutants(content, 9), path, read_whole)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_label_maps(tmp_path: Path, dtype: type) -> None:
    data = np.zeros((9, 9, 6), dtype)
    data[2:5, 2:5, 1:4], data[6, 6, 2] = 1, 7
    path = tmp_path / "labels.nii.gz"
    image = nib.Nifti1Image(data, AFFINE)
    label = b'<Label Key="1"><![CDATA[liver]]></Label>'
    image.header.extensions.append(nib.nifti1.Nifti1Extension(0, label))
    nib.save(image, path)
    inner = gzip.decompress(path.read_bytes())
    judge(lambda: (gzip.compress(m) for m in mutants(inner, 10)), path, read_labels)
    judge(lambda: (gzip.compress(m) for m in mutants(inner, 11)), path, read_label_map)


SIDECAR = {
    "Units": "Bq/mL", "PatientWeight": 70, "InjectedRadioactivity": 350,
    "InjectedRadioactivityUnits": "MBq", "TracerRadionuclide": "F18", "TimeZero": "10:00:00",
    "InjectionStart": -3600, "ScanStart": 0, "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0, "FrameTimesStart": [0, 60, 120], "FrameDuration": [60, 60, 60],
}  # fmt: skip


@pytest.mark.parametrize("frames", [(), (3,)])
def test_sidecars_and_participants(tmp_path: Path, frames: tuple[int, ...]) -> None:
    path = tmp_path / "sub-01_pet.nii"
    nib.save(nib.Nifti1Image(4000 * body(*frames), AFFINE), path)
    (tmp_path / "dataset_description.json").write_text("{}")
    content = json.dumps(SIDECAR).encode()
    judge(lambda: text_mutants(content, 12), path.with_suffix(".json"), lambda _: read_whole(path))
    path.with_suffix(".json").write_bytes(content.replace(b"PatientWeight", b"Other"))
    table = b"participant_id\tage\tweight\nsub-01\t60\t70\nsub-02\t50\t80\n"
    judge(
        lambda: text_mutants(table, 13),
        tmp_path / "participants.tsv",
        lambda _: read_whole(path),
    )


LESIONS = {
    "lesions": [
        {"centre_mm": [4, -4, 19], "radius_mm": 8, "suv": 9.0, "organ": "liver", "shape": "round"},
        {"centre_mm": [0, 0, 10], "radius_mm": 5.5, "suv": 3, "organ": "lung", "shape": "lobed"},
    ]
}


def test_lists_of_lesions(tmp_path: Path) -> None:
    grid = PETImage(body(), AFFINE)
    content = json.dumps(LESIONS).encode()
    judge(
        lambda: text_mutants(content, 14),
        tmp_path / "lesions.json",
        lambda path: read_lesions(path, grid, resample=False),
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.json", b'{"1": "liver", "7": "spleen", "12": "kidney_left"}'),
        ("names.txt", b"label;name\n1;liver\n7;spleen\n"),
        ("names.ctbl", b"# colours\n1 liver 10 20 30 255\n7 spleen 1 2 3 255\n"),
    ],
)
def test_tables_of_names(tmp_path: Path, name: str, content: bytes) -> None:
    judge(lambda: text_mutants(content, 15), tmp_path / name, read_names)


def test_records_and_settings(tmp_path: Path) -> None:
    record = b'{"seed": 1, "patient": {"seed": 2}, "scanner": {"name": "quadra"}, "labels": null}'
    judge(lambda: text_mutants(record, 16), tmp_path / "scan.json", read_record)
    settings = b'preset = "tiny"\nsteps = 10\n[methods.a]\nmodel = "flow3d"\n'
    judge(lambda: text_mutants(settings, 17), tmp_path / "recipe.toml", read_toml)
