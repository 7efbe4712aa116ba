"""Derived DICOM series: the same scan to every reader, new only where it must be."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from petdiff.errors import PetdiffError, UsageError
from petdiff.image import PETImage
from petdiff.io import Derivation, read, read_suv, write
from support.dicom_factory import bare, pet_slices, save
from support.pacs import fetch, orthanc, system_program

UNTOUCHED = (
    "StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "AccessionNumber",
    "StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime",
    "FrameReferenceTime", "ActualFrameDuration", "Units", "DecayCorrection", "CorrectedImage",
    "RadiopharmaceuticalInformationSequence", "PatientWeight", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "InstanceNumber", "Rows",
    "Columns", "SeriesType", "NumberOfSlices", "LossyImageCompression", "PatientPosition",
)  # fmt: skip


def named_by_position(folder: Path) -> list[Path]:
    files = folder.iterdir()
    return sorted(files, key=lambda file: float(dcmread(file).ImagePositionPatient[2]))


def by_position(folder: Path) -> list[Dataset]:
    return [dcmread(file) for file in named_by_position(folder)]


def stored(ds: Dataset) -> np.ndarray:
    return ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)


def assert_identity_within_half_a_step(source: Path, derived: Path) -> None:
    before, after = by_position(source), by_position(derived)
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        step = float(new.RescaleSlope)
        assert step == pytest.approx(np.abs(stored(old)).max() / 32767 or 1, rel=1e-6)
        # SUV is float32 in between, which is good to 0.002 of a 16-bit step.
        assert np.abs(stored(new) - stored(old)).max() <= 0.502 * step
        for keyword in UNTOUCHED:
            if keyword in old:
                assert new[keyword].value == old[keyword].value, keyword


def test_identity_comes_back_within_half_a_step(tmp_path: Path) -> None:
    source = save(pet_slices(), tmp_path / "source")
    write(read(source), tmp_path / "derived")
    assert_identity_within_half_a_step(source, tmp_path / "derived")
    np.testing.assert_array_equal(read(tmp_path / "derived").affine, read(source).affine)
    original, derived = read_suv(source), read_suv(tmp_path / "derived")
    assert (derived.factor, derived.rule) == (original.factor, original.rule)


@pytest.fixture(
    scope="module",
    params=["sts_fdg/STS_035/dicom", "suv_dro/DRO_3_3/PT", "nema_iq/pet_recon_1"],
)
def real_pair(
    request: pytest.FixtureRequest, test_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A real series and what an identity denoiser writes of it."""
    source, derived = test_data / request.param, tmp_path_factory.mktemp("real") / "derived"
    write(read(source, units="bqml", suv_factor=1), derived)
    return source, derived


@pytest.mark.real
def test_identity_of_real_series(real_pair: tuple[Path, Path]) -> None:
    assert_identity_within_half_a_step(*real_pair)


@pytest.mark.real
@pytest.mark.oracle
@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed")
def test_dciodvfy_finds_no_new_error(real_pair: tuple[Path, Path]) -> None:
    source, derived = (named_by_position(folder) for folder in real_pair)
    for n in (0, len(source) // 2, -1):
        assert dciodvfy_errors(derived[n]) - dciodvfy_errors(source[n]) == set()


def dciodvfy_errors(file: Path) -> set[str]:
    report = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False)
    lines = (report.stdout + report.stderr).splitlines()
    return {line for line in lines if line.startswith("Error")}


def test_negative_values_and_empty_slices_survive(tmp_path: Path) -> None:
    image = read(save(pet_slices(), tmp_path / "source"))
    suv = image.suv.copy()
    suv[:, :, 1] = -suv[:, :, 1]
    suv[:, :, 2] = 0
    suv[:, :, 3] *= 1000
    write(image.with_values(suv), tmp_path / "derived")
    back = read(tmp_path / "derived").suv
    step = np.abs(suv).max(axis=(0, 1)) / 32767
    assert (np.abs(back - suv) <= 0.502 * step + 1e-12).all()


def test_new_identity_and_provenance(tmp_path: Path) -> None:
    slices = pet_slices(
        WindowCenter=100, WindowWidth=50, SmallestImagePixelValue=0, SeriesDescription="x" * 64
    )
    by = Derivation("denoised by a test", "flow3d", "ab" * 32, series_prefix="low noise ")
    write(read(save(slices, tmp_path / "source")), tmp_path / "derived", by)
    derived = by_position(tmp_path / "derived")
    assert len({ds.SOPInstanceUID for ds in derived}) == len(slices)
    assert len({ds.SeriesInstanceUID for ds in derived}) == 1
    assert derived[0].SeriesInstanceUID != slices[0].SeriesInstanceUID
    for old, new in zip(slices, derived, strict=True):
        assert list(new.ImageType) == ["DERIVED", "PRIMARY", "AXIAL", "DENOISED"]
        assert new.SeriesNumber == 1003
        assert new.SeriesDescription == "low noise " + "x" * 54
        assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert new.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        equipment = new.ContributingEquipmentSequence[-1]
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert equipment.ManufacturerModelName == "flow3d"
        assert "ab" * 32 in equipment.ContributionDescription
        assert new.DerivationDescription == "denoised by a test"
        assert (new.ContentQualification, new.BurnedInAnnotation) == ("RESEARCH", "NO")
        assert "WindowCenter" not in new
        assert new.LargestImagePixelValue == new.pixel_array.max()
        assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID


def first_written(folder: Path, **header: Any) -> Dataset:
    """Write a series with these attributes, and return one slice of the derived series."""
    write(read(save(pet_slices(**header), folder / "in")), folder / "out")
    return dcmread(next((folder / "out").iterdir()))


@pytest.mark.parametrize("burned_in", [None, "", "NO", "YES"])
def test_text_in_the_pixels_of_the_source_is_not_denied(
    tmp_path: Path, burned_in: str | None
) -> None:
    """Programs that remove a patient's name go by BurnedInAnnotation."""
    derived = first_written(tmp_path, BurnedInAnnotation=burned_in)
    assert derived.BurnedInAnnotation == (burned_in or "NO")


@pytest.mark.parametrize(
    ("number", "expected"), [(7, 1007), (2**31 - 1001, 2**31 - 1), (2**31 - 1, 2**31 - 1)]
)
def test_a_series_number_stays_in_the_range_of_an_is(
    tmp_path: Path, number: int, expected: int
) -> None:
    assert first_written(tmp_path, SeriesNumber=number).SeriesNumber == expected


@pytest.mark.parametrize("zone", ["+1300", "-1100", None])
def test_times_of_writing_are_in_the_zone_that_the_header_states(
    tmp_path: Path, zone: str | None
) -> None:
    derived = first_written(tmp_path, TimezoneOffsetFromUTC=zone)
    hours = None if zone is None else timezone(timedelta(hours=int(zone) // 100))
    now = datetime.now(hours).replace(tzinfo=None)
    for what in ("Content", "InstanceCreation"):
        text = derived[f"{what}Date"].value + derived[f"{what}Time"].value
        assert abs(datetime.strptime(text, "%Y%m%d%H%M%S.%f") - now) < timedelta(minutes=10)
    made = derived.ContributingEquipmentSequence[-1].ContributionDateTime
    assert abs(datetime.strptime(str(made), "%Y%m%d%H%M%S.%f") - now) < timedelta(minutes=10)


def test_source_headers_stay_as_they_were(tmp_path: Path) -> None:
    image = read(save(pet_slices(ContributingEquipmentSequence=[Dataset()]), tmp_path / "source"))
    before = [header.to_json() for header in image.source.headers]
    write(image, tmp_path / "derived")
    assert [header.to_json() for header in image.source.headers] == before


def test_philips_counts_keep_their_unit_and_their_factor(tmp_path: Path) -> None:
    def philips(k: int, ds: Dataset) -> None:
        block = ds.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "0.0005")

    image = read(save(pet_slices(Units="CNTS", edit=philips), tmp_path / "source"))
    write(image, tmp_path / "derived")
    derived = by_position(tmp_path / "derived")[0]
    assert derived.Units == "CNTS"
    assert float(derived[0x7053, 0x1000].value) == 0.0005
    back = read(tmp_path / "derived")
    step = np.abs(image.suv).max(axis=(0, 1)) / 32767
    assert (np.abs(back.suv - image.suv) <= 0.502 * step).all()


def test_private_elements_of_a_big_endian_file_are_read_and_written_in_little_endian(
    tmp_path: Path,
) -> None:
    words = [("US", 258), ("OW", pack(">2H", 1, 2)), ("OF", pack(">f", 1.5)), ("OB", b"\1\2")]

    def vendors(k: int, ds: Dataset) -> None:
        ds.private_block(0x7053, "Philips PET Private Group", create=True).add_new(
            0, "DS", "0.0005"
        )
        ds.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20240102100000")
        block = ds.private_block(0x0011, "NOBODY", create=True)
        for n, (vr, value) in enumerate([*words, ("UN", pack(">H", 7))]):
            block.add_new(n, vr, value)
        item = Dataset()
        item.private_block(0x0011, "NOBODY", create=True).add_new(0, "OW", pack(">H", 3))
        block.add_new(0x20, "SQ", [item])

    (tmp_path / "source").mkdir()
    for k, ds in enumerate(pet_slices(Units="CNTS", edit=vendors)):
        content = bare(ds, implicit=False, little=False)
        (tmp_path / "source" / f"{k}.dcm").write_bytes(content)
    image = read(tmp_path / "source")
    assert image.facts["suv"]["factor"] == 0.0005
    write(image, tmp_path / "derived")
    derived = by_position(tmp_path / "derived")[0]
    assert derived.private_block(0x0009, "GEMS_PETD_01")[0x0D].value == "20240102100000"
    block = derived.private_block(0x0011, "NOBODY")
    assert [block[n].value for n in range(4)] == [258, pack("<2H", 1, 2), pack("<f", 1.5), b"\1\2"]
    assert 4 not in block, "the byte order of a value of unknown VR is unknown"
    assert block[0x20].value[0].private_block(0x0011, "NOBODY")[0].value == pack("<H", 3)


def test_a_private_value_that_does_not_fit_the_dictionary_keeps_its_bytes(tmp_path: Path) -> None:
    """The VR in an implicit file is that of pydicom's dictionary: FL, of 4 bytes."""

    def vendor(k: int, ds: Dataset) -> None:
        block = ds.private_block(0x2001, "Philips Imaging DD 001", create=True)
        block.add_new(0x03, "LO", "ten bytes.")

    (tmp_path / "source").mkdir()
    for k, ds in enumerate(pet_slices(edit=vendor)):
        (tmp_path / "source" / f"{k}.dcm").write_bytes(bare(ds))
    image = read(tmp_path / "source")
    assert image.facts["warnings"] == []
    write(image, tmp_path / "derived")
    raw = by_position(tmp_path / "derived")[0].get_item(0x20011003)
    assert (raw.VR, raw.value) == ("UN", b"ten bytes.")


def test_factor_a_slice_goes_both_ways(tmp_path: Path) -> None:
    def beds(k: int, ds: Dataset) -> None:
        ds.AcquisitionTime = f"11{10 * k:02d}00"

    source = save(pet_slices(DecayCorrection="NONE", edit=beds), tmp_path / "source")
    write(read(source), tmp_path / "derived")
    assert_identity_within_half_a_step(source, tmp_path / "derived")


def test_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    image = read(save(pet_slices(), tmp_path / "source"))
    with pytest.raises(UsageError, match="headers"):
        write(replace(image, source=None), tmp_path / "derived")
    cropped = PETImage(image.suv[1:], image.affine, source=image.source)
    with pytest.raises(UsageError, match="grid"):
        write(cropped, tmp_path / "derived")
    with pytest.raises(PetdiffError, match="NaN"):
        write(image.with_values(np.full_like(image.suv, np.nan)), tmp_path / "derived")
    with pytest.raises(UsageError, match="not empty"):
        write(image, tmp_path / "source")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = read(save(pet_slices(), tmp_path / "source"))
    saved, calls = Dataset.save_as, iter(range(9))

    def stopped(self: Dataset, *args: object, **kwargs: object) -> None:
        if next(calls) == 3:
            raise KeyboardInterrupt
        saved(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Dataset, "save_as", stopped)
    with pytest.raises(KeyboardInterrupt):
        write(image, tmp_path / "derived")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


@pytest.mark.oracle
def test_pixels_survive_a_pacs(tmp_path: Path) -> None:
    storescu = system_program("storescu")
    write(read(save(pet_slices(), tmp_path / "source")), tmp_path / "derived")
    files = sorted((tmp_path / "derived").iterdir())
    with orthanc(tmp_path) as (dicom_port, http_port):
        subprocess.run([storescu, "127.0.0.1", str(dicom_port), *files], check=True)
        (tmp_path / "back").mkdir()
        for n, instance in enumerate(json.loads(fetch(http_port, "instances"))):
            content = fetch(http_port, f"instances/{instance}/file")
            (tmp_path / "back" / f"{n}.dcm").write_bytes(content)
    sent, returned = by_position(tmp_path / "derived"), by_position(tmp_path / "back")
    assert [ds.PixelData for ds in returned] == [ds.PixelData for ds in sent]
    assert [ds.SOPInstanceUID for ds in returned] == [ds.SOPInstanceUID for ds in sent]
    np.testing.assert_array_equal(read(tmp_path / "back").suv, read(tmp_path / "derived").suv)
