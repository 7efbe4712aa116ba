"""Zips: as good as the folder they hold, and refused where they could do harm."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.io import read
from support.dicom_factory import pet_slices, save


def zipped(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for file in sorted(folder.rglob("*")):
            out.write(file, file.relative_to(folder))
    return archive


def test_a_zip_reads_as_its_folder(tmp_path: Path) -> None:
    folder = save(pet_slices(), tmp_path / "scan" / "deep")
    (tmp_path / "scan" / "readme.txt").write_text("not DICOM")
    archive = zipped(tmp_path / "scan", tmp_path / "scan.zip")
    np.testing.assert_array_equal(read(archive).suv, read(folder).suv)


@pytest.mark.parametrize(
    "name", ["../evil.dcm", "/evil.dcm", "a/../../evil.dcm", "..\\evil.dcm", "C:\\e.dcm"]
)
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    archive = zipped(save(pet_slices(), tmp_path / "scan"), tmp_path / "scan.zip")
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr(name, b"x")
    with pytest.raises(InputRefused, match="leads out"):
        read(archive)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan", "scan.zip"]


def test_bomb_is_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as out:
        for n in range(3):
            out.writestr(f"{n}.dcm", bytes(30 << 20))

    def opened(*_: object) -> None:
        raise AssertionError("a bomb was opened")

    monkeypatch.setattr(zipfile.ZipFile, "open", opened)
    with pytest.raises(InputRefused, match="would unpack"):
        read(tmp_path / "bomb.zip")


def test_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    """The size that the directory declares is made small: what is behind it is never unpacked."""
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("0.dcm", bytes(90 << 20))
    content = archive.read_bytes()
    lie = content.replace((90 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert lie != content
    archive.write_bytes(lie)
    with pytest.raises(InputRefused):
        read(archive)


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("petdiff.io.entries._MOST_ENTRIES", 20)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as out:
        for n in range(21):
            out.writestr(str(n), b"")
    with pytest.raises(InputRefused, match="21 entries"):
        read(tmp_path / "many.zip")


def test_damaged_zip_is_refused(tmp_path: Path) -> None:
    archive = zipped(save(pet_slices(), tmp_path / "scan"), tmp_path / "scan.zip")
    content = bytearray(archive.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20] = bytes(20)
    archive.write_bytes(content)
    with pytest.raises(InputRefused, match=r"scan\.zip|\.dcm"):
        read(archive)


def test_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = zipped(save(pet_slices(), tmp_path / "scan"), tmp_path / "scan.zip")
    content = bytearray(archive.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 8] |= 1  # the general purpose flag that says encrypted
    archive.write_bytes(content)
    with pytest.raises(InputRefused, match="encrypted"):
        read(archive)


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    folder = save(pet_slices(), tmp_path / "scan")
    (folder / "again").symlink_to(folder, target_is_directory=True)
    assert read(folder).suv.shape == (7, 6, 5)
