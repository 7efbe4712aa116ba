"""Finding the scan among whatever lies in a folder, without shortening it in silence."""

from __future__ import annotations

import errno
import json
import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import (
    CTImageStorage,
    JPEG2000Lossless,
    RawDataStorage,
    RLELossless,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from petdiff.errors import InputRefused
from petdiff.io import entries, read, read_suv
from petdiff.io.dicom_start import find_start
from support.dicom_factory import bare, pet_slices, save

Spoil = Callable[[Path], object]


def copies(folder: Path) -> list[str]:
    return [w for w in read(folder).facts["warnings"] if "copies" in w]


def test_files_that_are_there_twice_are_read_once(tmp_path: Path) -> None:
    slices = pet_slices()
    once = read(save(slices, tmp_path / "once")).values
    save(slices, tmp_path / "twice" / "a")
    save(slices, tmp_path / "twice" / "b")
    np.testing.assert_array_equal(read(tmp_path / "twice").values, once)
    (warning,) = copies(tmp_path / "twice")
    assert warning.startswith("5 of 10 files are copies of others")
    assert "copies of others" in read_suv(tmp_path / "twice").warnings[-1]


def test_copies_beside_one_file_and_some_of_them_only(tmp_path: Path) -> None:
    slices = pet_slices()
    save(slices, tmp_path)
    save(slices[1:3], tmp_path, prefix="copy ")
    assert read(tmp_path / "03.dcm").values.shape == (7, 6, 5)
    assert "2 of 7 files are copies" in copies(tmp_path)[0]


def test_copy_in_another_transfer_syntax_is_a_copy(tmp_path: Path) -> None:
    slices = pet_slices(np.arange(2 * 32 * 32, dtype=np.int16).reshape(2, 32, 32))
    save(slices, tmp_path / "a")
    for ds in slices:
        ds.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    save(slices, tmp_path / "b")
    assert len(copies(tmp_path)) == 1


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"RescaleSlope": 7}, "RescaleSlope"),
        ({"PixelData": bytes(84)}, "their pixels"),
        ({"PatientWeight": 71}, "PatientWeight"),
        ({"ImagePositionPatient": [0, 0, 1]}, "ImagePositionPatient"),
    ],
)
def test_two_images_of_one_identity_are_refused(
    tmp_path: Path, change: dict[str, object], what: str
) -> None:
    slices = pet_slices()
    save(slices, tmp_path, prefix="a")
    for keyword, value in change.items():
        setattr(slices[2], keyword, value)
    save(slices, tmp_path, prefix="b")
    with pytest.raises(InputRefused, match=rf"a17\.dcm and b17\.dcm are one image.*{what}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("implicit", "little"), [(True, True), (False, True), (False, False)], ids=["I", "E", "B"]
)
@pytest.mark.parametrize("before", [b"", bytes(128), b"DICM"], ids=["bare", "zeros", "DICM"])
def test_slices_without_file_header_are_read(
    tmp_path: Path, implicit: bool, little: bool, before: bytes
) -> None:
    if before == b"DICM" and not little:
        pytest.skip("the encoding is told from group 0002, which is little endian")
    slices = pet_slices()
    whole = read(save(slices, tmp_path / "whole"))
    (tmp_path / "bare").mkdir()
    for k, ds in enumerate(slices):
        content = before + bare(ds, implicit=implicit, little=little)
        (tmp_path / "bare" / f"PAT.PT.{k}.IMA").write_bytes(content)
    image = read(tmp_path / "bare")
    np.testing.assert_array_equal(image.values, whole.values)
    np.testing.assert_array_equal(read(tmp_path / "bare" / "PAT.PT.2.IMA").values, whole.values)


def test_compressed_slice_without_file_header_is_refused_with_the_reason(tmp_path: Path) -> None:
    ds = pet_slices(np.arange(2 * 32 * 32, dtype=np.int16).reshape(2, 32, 32))[0]
    ds.compress(RLELossless, generate_instance_uid=False)
    (tmp_path / "a.dcm").write_bytes(bare(ds, implicit=False))
    with pytest.raises(InputRefused, match=r"no file header .* says how"):
        read(tmp_path)


@pytest.mark.parametrize("start", [128, 132])
def test_slices_without_preamble_or_with_a_damaged_one_are_read(tmp_path: Path, start: int) -> None:
    save(pet_slices(), tmp_path / "whole")
    expected = read(tmp_path / "whole").values
    for file in (tmp_path / "whole").iterdir():
        content = file.read_bytes()
        changed = content[start:] if start == 128 else content[:128] + b"XXXX" + content[132:]
        file.write_bytes(changed)
    np.testing.assert_array_equal(read(tmp_path / "whole").values, expected)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 20_000,
        b"Patient: Doe\nDICM is mentioned here\n" * 300,
        b"\0\0\0\1Bud1" + bytes(6000),
        b"\x89PNG\r\n\x1a\n" + bytes(500),
        b"PK\x03\x04" + bytes(500),
        (348).to_bytes(4, "little") + bytes(344) + b"n+1\0",
        b"\x08\0\x16\0UI\x04\0text" + bytes(100),
        b"\x08\0\x05\0" + b"\x08\0\0\0ISO_IR 6" + b"\x20\0\x0d\0" + bytes(50),
    ],
)
def test_other_files_are_not_taken_for_dicom(content: bytes) -> None:
    assert find_start(content) is None


def test_random_bytes_are_not_taken_for_dicom() -> None:
    rng = np.random.default_rng(0)
    assert all(find_start(b"\x08\0" + rng.bytes(2000)) is None for _ in range(2000))


def test_a_study_with_everything_in_it(tmp_path: Path) -> None:
    slices = pet_slices()
    save(slices, tmp_path / "PET")
    for n, (modality, sop) in enumerate(
        [
            ("CT", CTImageStorage),
            ("PT", SecondaryCaptureImageStorage),
            ("PT", RawDataStorage),
            ("RTSTRUCT", RTStructureSetStorage),
            ("SR", "1.2.840.10008.5.1.4.1.1.88.11"),
            ("PT", "1.3.12.2.1107.5.9.1"),
        ]
    ):
        save(pet_slices(Modality=modality, SOPClassUID=sop)[:2], tmp_path / f"other{n}")
    for name in ("DICOMDIR.txt", ".DS_Store", "Thumbs.db", "__MACOSX/._03.dcm", "PET/._03.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7" + bytes(60))
    (tmp_path / "empty").mkdir()
    image = read(tmp_path)
    assert image.values.shape == (7, 6, 5)
    assert image.facts["warnings"] == []


def test_a_picture_saved_into_the_series_is_left_out_with_a_warning(tmp_path: Path) -> None:
    slices = pet_slices()
    capture = pet_slices(SOPClassUID=SecondaryCaptureImageStorage)[0]
    capture.SeriesInstanceUID = slices[0].SeriesInstanceUID
    save([*slices, capture], tmp_path)
    image = read(tmp_path)
    assert image.values.shape == (7, 6, 5)
    assert "Secondary Capture" in image.facts["warnings"][0]


def _zeros(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def _no_pixels(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: content.index(b"\xe0\x7f\x10\0OW")])


SPOILT: dict[str, Spoil] = {
    "empty": lambda file: file.write_bytes(b""),
    "zeros": _zeros,
    "a web page": lambda file: file.write_text("<html>404 not found</html>"),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-10]),
    "cut in its header": lambda file: file.write_bytes(file.read_bytes()[:700]),
    "without pixels": _no_pixels,
}


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_damaged_end_slice_is_refused_by_name(tmp_path: Path, how: str, suffix: str) -> None:
    """At the end of the stack no gap would tell that a slice is missing."""
    for k, ds in enumerate(pet_slices(NumberOfSlices=None)):
        ds.save_as(tmp_path / f"IM{k:04d}{suffix}", enforce_file_format=True)
    SPOILT[how](tmp_path / f"IM0004{suffix}")
    with pytest.raises(InputRefused, match=rf"IM0004{suffix}"):
        read(tmp_path)


def test_damaged_file_of_another_series_does_no_harm(tmp_path: Path) -> None:
    save(pet_slices(), tmp_path / "PET")
    save(pet_slices(Modality="CT", SOPClassUID=CTImageStorage), tmp_path / "CT")
    file = tmp_path / "CT" / "03.dcm"
    content = file.read_bytes()
    file.write_bytes(content[: content.index(b"\x28\0\x10\0US") + 8])
    assert read(tmp_path).values.shape == (7, 6, 5)


def test_damaged_neighbour_of_one_file_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(pet_slices(), tmp_path)
    (tmp_path / "old.dat").write_bytes(bytes(128) + b"DICM" + b"\x02\0\x10\0UI\x40\0")
    with caplog.at_level(logging.INFO, "petdiff"):
        (warning,) = read(tmp_path / "03.dcm").facts["warnings"]
    assert warning.startswith("1 file beside the scan cannot be read")
    assert "old.dat" in caplog.text
    with pytest.raises(InputRefused, match=r"old\.dat"):
        read(tmp_path)


def test_neighbours_of_one_file_that_are_no_dicom_are_a_warning(tmp_path: Path) -> None:
    """Public test sets keep single slices beside files that are damaged on purpose."""
    save(pet_slices(np.ones((1, 3, 3), dtype=np.int16)), tmp_path)
    (tmp_path / "empty.dcm").write_bytes(b"")
    warnings = read(tmp_path / "03.dcm").facts["warnings"]
    assert any("1 file beside the scan cannot be read" in warning for warning in warnings)
    with pytest.raises(InputRefused, match=r"empty\.dcm is named like a slice"):
        read(tmp_path)


def test_long_names_and_many_series_stay_readable(tmp_path: Path) -> None:
    for n in range(40):
        save(pet_slices(np.ones((1, 3, 3), dtype=np.int16)), tmp_path / str(n))
    with pytest.raises(InputRefused, match=r"40 PET series.*and 20 more"):
        read(tmp_path)
    with zipfile.ZipFile(tmp_path / "long.zip", "w") as out:
        out.writestr("x" * 60_000, b"")
    with pytest.raises(InputRefused) as refusal:
        read(tmp_path / "long.zip")
    assert len(str(refusal.value)) < 500


def test_unreadable_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As os.walk tells of it: the tests may run as a user whom no permission stops."""
    save(pet_slices(), tmp_path / "PET")
    walk = os.walk

    def walked(folder: Path, onerror: Callable[[OSError], None]) -> object:
        onerror(PermissionError(errno.EACCES, "Permission denied", str(folder / closed)))
        return walk(folder)

    monkeypatch.setattr(entries.os, "walk", walked)
    closed = "System Volume Information"
    assert read(tmp_path).values.shape == (7, 6, 5)
    closed = "PET2"
    with pytest.raises(InputRefused, match="PET2 cannot be read"):
        read(tmp_path)


def test_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(pet_slices(), tmp_path)
    opened = Path.open

    def refused(self: Path, mode: str = "r") -> object:
        if self.name == "10.dcm":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return opened(self, mode)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(InputRefused, match=r"10\.dcm cannot be read: Permission denied"):
        read(tmp_path)


def test_links_to_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    """As git-annex leaves them where a file was not fetched, or as a loop."""
    save(pet_slices(), tmp_path)
    (tmp_path / "24.dcm").unlink()
    (tmp_path / "24.dcm").symlink_to("nowhere")
    with pytest.raises(InputRefused, match=r"24\.dcm cannot be read"):
        read(tmp_path)
    (tmp_path / "24.dcm").unlink()
    (tmp_path / "24.dcm").symlink_to("24.dcm")
    with pytest.raises(InputRefused, match=r"24\.dcm cannot be read"):
        read(tmp_path)


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    save(pet_slices(), tmp_path)
    os.mkfifo(tmp_path / "pipe.dcm")
    assert read(tmp_path).values.shape == (7, 6, 5)


def test_warnings_name_no_file_and_quote_no_value(tmp_path: Path) -> None:
    """They are recorded, and names of files and values of headers may hold a patient's name."""
    slices = pet_slices(PatientName="Doe^J", SpecificCharacterSet="ISO_IR 192")
    save(slices, tmp_path / "Doe", prefix="Doe")
    save(slices, tmp_path / "Doe again", prefix="Doe")
    capture = pet_slices(SOPClassUID=SecondaryCaptureImageStorage)[:1]
    capture[0].SeriesInstanceUID = slices[0].SeriesInstanceUID
    save(capture, tmp_path / "Doe", prefix="Doe capture")
    for file in tmp_path.rglob("*.dcm"):
        file.write_bytes(file.read_bytes().replace(b"Doe^J", b"Do\xebJn"))  # no UTF-8
    facts = read(tmp_path).facts
    assert len(facts["warnings"]) == 3
    assert "Do" not in json.dumps(facts, ensure_ascii=False)


def test_escape_sequences_do_not_reach_messages(tmp_path: Path) -> None:
    evil = "\x1b[31mred\x1b[0m\x07"
    for _ in range(2):
        ds = pet_slices(SeriesDescription=evil, SeriesInstanceUID=generate_uid())
        save(ds, tmp_path, prefix=f"{evil}{len(list(tmp_path.iterdir()))}")
    with pytest.raises(InputRefused) as refusal:
        read(tmp_path)
    assert str(refusal.value).isprintable()
    (tmp_path / f"{evil}.dcm").write_bytes(bytes(128) + b"DICM\x02\0\x10\0UI\x40\0")
    with pytest.raises(InputRefused) as refusal:
        read(tmp_path, series=generate_uid())
    assert str(refusal.value).isprintable()


def test_a_file_that_only_names_its_pixels_class_is_no_scan(tmp_path: Path) -> None:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
    (tmp_path / "a").write_bytes(bare(ds))
    with pytest.raises(InputRefused, match="lacks SOPInstanceUID, SeriesInstanceUID"):
        read(tmp_path)
