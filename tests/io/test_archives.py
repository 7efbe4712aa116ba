"""Zips: as good as the folder they hold, and refused where they could do harm."""

from __future__ import annotations

import io
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
    monkeypatch.setattr("petdiff.io.archives._MAX_ENTRIES", 20)
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


def nest(content: bytes, name: str, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip that holds `content`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as out:
        out.writestr("notes.txt", b"beside it")
        out.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("depth", [1, 3])
def test_zips_within_a_zip_are_searched(tmp_path: Path, method: int, depth: int) -> None:
    folder = save(pet_slices(), tmp_path / "scan")
    content = zipped(folder, tmp_path / "scan.zip").read_bytes()
    for level in range(depth):
        content = nest(content, f"sub-01/{level}.dicom.ZIP", method)
    (tmp_path / "download.zip").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path / "download.zip").values, read(folder).values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["download.zip", "scan", "scan.zip"]


def test_zips_too_deep_are_refused_by_name(tmp_path: Path) -> None:
    content = b"PK"
    for level in range(6):
        content = nest(content, f"{level}.zip")
    (tmp_path / "deep.zip").write_bytes(content)
    with pytest.raises(InputRefused, match=r"zip too deep"):
        read(tmp_path / "deep.zip")


def test_damaged_zip_within_a_zip_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(nest(b"PK\x03\x04 and no more", "inner.dicom.zip"))
    with pytest.raises(InputRefused, match=r"a\.zip/inner\.dicom\.zip is not a valid zip"):
        read(tmp_path / "a.zip")


def test_nested_bomb_is_refused(tmp_path: Path) -> None:
    """Each zip within is small, and a thousand of them are not."""
    bomb = nest(bytes(60 << 20), "0.dcm", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as out:
        for n in range(5):
            out.writestr(f"{n}.zip", bomb)
    with pytest.raises(InputRefused, match="would unpack"):
        read(tmp_path / "bomb.zip")


def test_downloads_in_a_folder_that_were_not_unpacked_are_searched(tmp_path: Path) -> None:
    folder = save(pet_slices(), tmp_path / "scan")
    (tmp_path / "downloads").mkdir()
    zipped(folder, tmp_path / "downloads" / "a.zip")
    assert read(tmp_path / "downloads").values.shape == (7, 6, 5)


def test_a_zip_beside_the_files_that_it_held_is_passed_over(tmp_path: Path) -> None:
    folder = save(pet_slices(), tmp_path / "study" / "scan")
    zipped(folder, tmp_path / "study" / "scan.zip")
    assert read(tmp_path / "study").facts["warnings"] == []


@pytest.mark.parametrize(("method", "named"), [(9, "Deflate64"), (99, "AES"), (77, "method 77")])
def test_methods_that_python_lacks_are_named(tmp_path: Path, method: int, named: str) -> None:
    archive = zipped(save(pet_slices(), tmp_path / "scan"), tmp_path / "scan.zip")
    content = bytearray(archive.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 10 : directory + 12] = method.to_bytes(2, "little")
    archive.write_bytes(content)
    with pytest.raises(InputRefused, match=rf"scan\.zip is packed by {named}.*7-Zip"):
        read(archive)


def test_zip_that_breaks_off_is_called_a_zip(tmp_path: Path) -> None:
    archive = zipped(save(pet_slices(), tmp_path / "scan"), tmp_path / "scan.zip")
    archive.write_bytes(archive.read_bytes()[:-300])
    with pytest.raises(InputRefused, match=r"scan\.zip is not a valid zip.*get it again"):
        read(archive)


def test_zip_of_zips_that_breaks_off_is_not_read_as_its_last_zip(tmp_path: Path) -> None:
    """The end of the last zip within is then the last one that can be found."""
    inner = zipped(save(pet_slices(), tmp_path / "scan"), tmp_path / "scan.zip").read_bytes()
    (tmp_path / "outer.zip").write_bytes(nest(inner, "a.zip")[:-100])
    with pytest.raises(InputRefused, match=r"outer\.zip is not a valid zip \(it is truncated\)"):
        read(tmp_path / "outer.zip")


def test_a_folder_without_dicom_names_the_volume_to_give_instead(tmp_path: Path) -> None:
    for name in ("ct.nii.gz", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(
        InputRefused, match=r"notes\.txt: give ct\.nii\.gz itself if it is the scan"
    ):
        read(tmp_path, recursive=False)
    (tmp_path / "ct.nii.gz").unlink()
    with pytest.raises(InputRefused, match=r"holds no DICOM file, only notes\.txt$"):
        read(tmp_path, recursive=False)


@pytest.mark.parametrize("flag", [True, False])
def test_names_beyond_ascii_are_shown_as_they_were_meant(tmp_path: Path, flag: bool) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("Étude/Müller.dcm", b"x")
    if not flag:  # UTF-8 that is not declared, as macOS writes it
        content = bytearray((tmp_path / "a.zip").read_bytes())
        content[content.index(b"PK\x03\x04") + 7] &= ~0x08
        content[content.index(b"PK\x01\x02") + 9] &= ~0x08
        (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputRefused, match=r"holds no DICOM file, only Étude/Müller\.dcm"):
        read(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.7z", b"7z\xbc\xaf\x27\x1c", "7z"),
        ("a.rar", b"Rar!\x1a\x07", "RAR"),
        ("a.tar.gz", b"\x1f\x8b\x08", "gzip"),
        ("a.tar", bytes(257) + b"ustar\0", "tar"),
    ],
)
def test_other_archives_are_named(tmp_path: Path, name: str, head: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(head + bytes(100))
    with pytest.raises(InputRefused, match=f"packed as {kind}: unpack it"):
        read(tmp_path / name)


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    folder = save(pet_slices(), tmp_path / "scan")
    (folder / "again").symlink_to(folder, target_is_directory=True)
    assert read(folder).suv.shape == (7, 6, 5)
