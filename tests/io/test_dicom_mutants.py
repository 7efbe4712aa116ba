"""Damaged DICOM and zips: read, or refused in one line, and nothing else.

PETDIFF_MUTANTS raises their number; benchmarks/fuzz.py limits memory and time as well.
"""

from __future__ import annotations

import warnings
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.io import read
from support.dicom_factory import pet_slices, save
from support.dicom_mutants import Series, bases, damaged_series, damaged_zip
from support.fuzzing import READ, REFUSED, outcome
from support.mutants import MUTANTS

_EACH = MUTANTS * 5 // 8  # damaged scans per kind

sound = cache(bases)


def put(files: Series, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("kind", sorted(bases()))
def test_sound_series_are_read_and_written(tmp_path: Path, kind: str) -> None:
    assert outcome(put(sound()[kind], tmp_path / "scan"), tmp_path) == READ
    expected = read(put(sound()["explicit"], tmp_path / "explicit"))
    np.testing.assert_array_equal(read(tmp_path / "scan").values, expected.values)


@pytest.mark.parametrize("kind", sorted(bases()))
def test_damaged_series_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    for seed in range(_EACH):
        what, files = damaged_series(sound()[kind], np.random.default_rng(seed))
        folder = tmp_path / str(seed)
        found = attempt(put(files, folder / "scan"), folder, f"{kind}, seed {seed}: {what}")
        assert found in (READ, REFUSED)


@pytest.mark.parametrize("kind", ["explicit", "JPEG-LS"])
def test_damaged_zips_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    for seed in range(2 * _EACH):
        what, content = damaged_zip(sound()[kind], np.random.default_rng(seed))
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "scan.zip").write_bytes(content)
        attempt(folder / "scan.zip", folder, f"{kind}, seed {seed}: {what}")


def attempt(scan: Path, scratch: Path, what: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none may reach stderr
        try:
            return outcome(scan, scratch)
        except Exception as problem:
            pytest.fail(f"{what}: {type(problem).__name__}: {problem}")


@pytest.mark.parametrize("place", range(0, 1500, 75))
def test_file_cut_anywhere_is_refused(tmp_path: Path, place: int) -> None:
    """Also the last of a stack, where no gap would tell, and also where an element ends."""
    files = dict(sound()["explicit"])
    content = files["2.dcm"]
    files["2.dcm"] = content[: place * len(content) // 1500]
    with pytest.raises(InputRefused, match=r"2\.dcm"):
        read(put(files, tmp_path / "scan"))


def test_declared_size_is_compared_before_memory_is_taken(tmp_path: Path) -> None:
    """65535 × 65535 float64 are 32 GiB, more than the machine may have."""
    with pytest.raises(InputRefused, match="65535 × 65535"):
        read(save(pet_slices(Rows=65535, Columns=65535), tmp_path / "a"))
    with pytest.raises(InputRefused, match=r"84 bytes.*4000 × 4000"):
        read(save(pet_slices(Rows=4000, Columns=4000)[:2], tmp_path / "b"))
    many = pet_slices(np.ones((16, 2, 2), dtype=np.int16), Rows=4096, Columns=4096)
    with pytest.raises(InputRefused, match="16 slices together"):
        read(save(many, tmp_path / "c"))


def test_deflated_bomb_is_refused(tmp_path: Path) -> None:
    content = sound()["deflated"]["0.dcm"]
    start = content.index(b"1.2.840.10008.1.2.1.99") + 22
    plain = zlib.decompress(content[_meta_end(content, start) :], -15)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(plain) + packer.compress(bytes(9 << 20)) + packer.flush()
    (tmp_path / "bomb.dcm").write_bytes(content[: _meta_end(content, start)] + bomb)
    with pytest.raises(InputRefused, match=r"bomb\.dcm would inflate"):
        read(tmp_path / "bomb.dcm")


@pytest.mark.parametrize("fill", [bytes(8), b"\x09\0\x10\0UN\0\0\0\0\0\0"])
def test_file_filled_up_with_empty_elements_is_refused_soon(tmp_path: Path, fill: bytes) -> None:
    """As downloads leave it that reserve their size first; each element takes pydicom 10 µs."""
    content = sound()["explicit"]["0.dcm"]
    content = content[: content.index(b"\x28\0\x10\0US")] + fill * 60_000
    (tmp_path / "zeros.dcm").write_bytes(content)
    with pytest.raises(InputRefused, match=r"zeros\.dcm is an incomplete DICOM file"):
        read(tmp_path)


def _meta_end(content: bytes, at: int) -> int:
    """Where the group 0002 ends, by its length (0002,0000), which comes first."""
    assert at > 144
    return 144 + int.from_bytes(content[140:144], "little")


def test_picture_larger_than_its_header_says_is_refused(tmp_path: Path) -> None:
    """A decoder allocates what the picture declares, not what the DICOM header does."""
    for kind, marker, offset in (("JPEG-LS", b"\xff\xf7", 5), ("JPEG 2000", b"\xff\x51", 6)):
        files = dict(sound()[kind])
        content = bytearray(files["1.dcm"])
        at = content.index(marker, len(content) - 2500) + offset
        size = 2 if kind == "JPEG-LS" else 4
        content[at : at + size] = (60_000).to_bytes(size, "big")
        files["1.dcm"] = bytes(content)
        with pytest.raises(InputRefused, match=r"1\.dcm.*holds a picture of"):
            read(put(files, tmp_path / kind))


def test_colour_is_refused_clearly(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"SamplesPerPixel .* is 3: a colour picture"):
        read(save(pet_slices(SamplesPerPixel=3), tmp_path))
