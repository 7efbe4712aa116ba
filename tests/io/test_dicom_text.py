"""Text of derived series: valid in the character set that the source declares, or in none."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.tag import Tag

from petdiff.io import Derivation, read, write
from petdiff.io.dicom_text import ascii_text
from support.dicom_factory import pet_slices, save

BY = Derivation("flow3d · 1 step × Größe → 山 \\ \x1b[31m", "Größe-山", "ab" * 32)
DESCRIPTIONS = {
    "": "plain",
    "ISO_IR 100": "Müller ×·",
    "ISO_IR 101": "Łódź",
    "ISO_IR 126": "Αθήνα",
    "ISO_IR 144": "Борис",
    "ISO_IR 192": "Müller 山田 ·",
    "GB18030": "山田",
    "\\ISO 2022 IR 87": "山田",
    "\\ISO 2022 IR 149": "김희중",
}


def derive(folder: Path, character_set: str) -> tuple[Path, Path]:
    """Return a slice of a source that declares a character set, and its derived slice."""
    text, declared = DESCRIPTIONS[character_set], character_set.split("\\")
    attributes = {"SpecificCharacterSet": declared} if character_set else {}
    slices = pet_slices(SeriesDescription=text, PatientName=text, **attributes)
    source = save(slices, folder / "source")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom warns of text that it cannot encode
        write(read(source), folder / "derived", BY)
    return next(source.iterdir()), next((folder / "derived").iterdir())


@pytest.mark.parametrize("character_set", DESCRIPTIONS)
def test_text_of_the_source_stays_and_ours_is_ascii(tmp_path: Path, character_set: str) -> None:
    source, derived = (dcmread(file) for file in derive(tmp_path, character_set))
    assert derived.get("SpecificCharacterSet") == source.get("SpecificCharacterSet")
    assert derived.PatientName == source.PatientName
    assert derived.SeriesDescription == f"petdiff {DESCRIPTIONS[character_set]}"
    assert derived.DerivationDescription == "flow3d - 1 step x Grosse -> _ _ _[31m"
    equipment = derived.ContributingEquipmentSequence[-1]
    assert equipment.ManufacturerModelName == "Grosse-_"


def test_source_without_character_set_gives_ascii_only(tmp_path: Path) -> None:
    _, derived = derive(tmp_path, "")
    header = derived.read_bytes()[: -7 * 6 * 2]
    ds = dcmread(derived)
    texts = [str(e.value) for e in ds.iterall() if e.VR in ("LO", "SH", "ST", "PN", "UT", "LT")]
    assert all(text.isascii() for text in texts)
    assert "SpecificCharacterSet" not in ds
    assert b"\xc2\xb7" not in header


def test_undeclared_latin_letters_keep_their_bytes_and_are_declared(tmp_path: Path) -> None:
    save(pet_slices(PatientName="Mxller"), tmp_path / "source")
    for file in (tmp_path / "source").iterdir():
        file.write_bytes(file.read_bytes().replace(b"Mxller", b"M\xfcller"))
    write(read(tmp_path / "source"), tmp_path / "derived")
    derived = dcmread(tmp_path / "derived" / "00001.dcm")
    assert derived.SpecificCharacterSet == "ISO_IR 100"
    assert derived.PatientName == "Müller"
    assert b"M\xfcller" in (tmp_path / "derived" / "00001.dcm").read_bytes()


def test_text_that_is_wrongly_declared_as_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    """Otherwise the derived series would have a patient of another name and ID."""
    names = {"PatientName": "Mxller^Jxrg", "PatientID": "Mx1"}
    save(pet_slices(SpecificCharacterSet="ISO_IR 192", **names), tmp_path / "source")
    for file in (tmp_path / "source").iterdir():
        content = file.read_bytes()
        for text in names.values():
            content = content.replace(text.encode(), text.replace("x", "ü").encode("latin-1"))
        file.write_bytes(content)
    scan = read(tmp_path / "source")
    assert any("ISO_IR 192, UTF-8, and text is not" in one for one in scan.facts["warnings"])
    write(scan, tmp_path / "derived")
    derived = dcmread(tmp_path / "derived" / "00001.dcm")
    assert (derived.PatientName, derived.PatientID) == ("Müller^Jürg", "Mü1")
    assert b"M\xfcller^J\xfcrg" in (tmp_path / "derived" / "00001.dcm").read_bytes()


@pytest.mark.oracle
@pytest.mark.parametrize("character_set", DESCRIPTIONS)
@pytest.mark.parametrize("tool", ["dcm2xml", "dcm2json"])
def test_dcmtk_reads_what_it_reads_of_the_source(
    tmp_path: Path, character_set: str, tool: str
) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{tool} (dcmtk) is not installed")
    source, derived = derive(tmp_path, character_set)
    codes = [subprocess.run([tool, f], capture_output=True).returncode for f in (source, derived)]
    if codes[0] != 0:  # without iconv's tables dcmtk cannot convert some sets
        pytest.skip(f"{tool} does not read the source either")
    assert codes[1] == 0


def test_long_text_is_cut_to_its_limit() -> None:
    assert ascii_text("ß" * 40, 64) == "s" * 64
    assert ascii_text(" a\\b\n", 64) == "a_b_"


def test_damaged_element_of_the_source_does_not_lose_the_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a value can come from a header that breaks its VR, and is seen only when written."""
    image = read(save(pet_slices(), tmp_path / "source"))
    with warnings.catch_warnings(action="ignore"):
        image.source.headers[0].add_new(0x00181318, "US", "abc")
    write(image, tmp_path / "derived")
    assert str(Tag(0x00181318)) in caplog.text
    assert len(list((tmp_path / "derived").iterdir())) == 5
