"""Enhanced multi-frame PET: the same scan as its classic slices, whatever stands in which group."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    LegacyConvertedEnhancedPETImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    generate_uid,
)

from petdiff.errors import InputRefused
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.io import read, read_static, read_suv, write
from support.dicom_factory import SUV_FACTOR, dynamic_slices, pet_slices, save, tracer
from support.enhanced_factory import enhanced, item, unit_item

Edit = Callable[[Dataset, list[Dataset]], None]


def saved(ds: Dataset, folder: Path, name: str = "enhanced.dcm") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    ds.save_as(folder / name, enforce_file_format=True)
    return folder


def same_scan(found: PETImage | PETFrames, expected: PETImage | PETFrames) -> None:
    if isinstance(expected, PETFrames):
        assert isinstance(found, PETFrames)
        assert found.timings == expected.timings
        for one, other in zip(found, expected, strict=True):
            same_scan(one, other)
        return
    assert isinstance(found, PETImage)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-6)
    assert (found.unit, found.in_suv) == (expected.unit, expected.in_suv)


@pytest.mark.parametrize("groups", ["shared", "each"])
def test_a_static_scan_is_that_of_its_slices(tmp_path: Path, groups: Any) -> None:
    slices = pet_slices()  # each with a slope of its own
    found = read(saved(enhanced(slices, groups=groups), tmp_path / "e"))
    same_scan(found, read(save(slices, tmp_path / "c")))
    assert found.facts["multi_frame"]
    assert found.facts["corrections"] == ["DECY", "ATTN", "SCAT"]
    assert found.facts["warnings"] == []


def test_one_file_is_given_by_its_name(tmp_path: Path) -> None:
    saved(enhanced(pet_slices()), tmp_path)
    assert read_static(tmp_path / "enhanced.dcm").shape == (7, 6, 5)


def test_frames_in_any_order_are_stacked_by_position(tmp_path: Path) -> None:
    slices = pet_slices()
    shuffled = [slices[n] for n in (3, 0, 4, 1, 2)]
    found = read(saved(enhanced(shuffled), tmp_path / "e"))
    same_scan(found, read(save(slices, tmp_path / "c")))


def temporal(ds: Dataset, frames: list[Dataset]) -> None:
    """Only the index in time distinguishes the frames."""
    for n, frame in enumerate(frames):
        content = frame.FrameContentSequence[0]
        del content.FrameAcquisitionDateTime, content.FrameReferenceDateTime
        content.TemporalPositionIndex = n // 5 + 1


def offsets(ds: Dataset, frames: list[Dataset]) -> None:
    """Frames start at an offset from the start of the acquisition."""
    for n, frame in enumerate(frames):
        del frame.FrameContentSequence[0].FrameAcquisitionDateTime
        start_s = float((0, 10, 30)[n // 5])
        frame.TemporalPositionSequence = [item(TemporalPositionTimeOffset=start_s)]


@pytest.mark.parametrize("edit", [None, offsets])
def test_a_dynamic_scan_is_that_of_its_slices(tmp_path: Path, edit: Edit | None) -> None:
    slices = dynamic_slices()
    file = enhanced(slices, edit=edit, ImageType=["ORIGINAL", "PRIMARY", "DYNAMIC", "NONE"])
    same_scan(read(saved(file, tmp_path / "e")), read(save(slices, tmp_path / "c")))


def test_frames_without_times_are_in_the_order_of_their_temporal_position(tmp_path: Path) -> None:
    slices = dynamic_slices()
    scan = read(saved(enhanced(slices, edit=temporal), tmp_path / "e"))
    classic = read(save(slices, tmp_path / "c"))
    assert isinstance(scan, PETFrames)
    assert isinstance(classic, PETFrames)
    for one, other in zip(scan, classic, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-6)
    assert any("ImageIndex" in warning for warning in scan.facts["warnings"])


def test_frames_may_lie_in_files_of_their_own(tmp_path: Path) -> None:
    slices = dynamic_slices()
    for n in range(3):
        saved(enhanced(slices[5 * n : 5 * n + 5]), tmp_path / "e", f"{n}.dcm")
    same_scan(read(tmp_path / "e"), read(save(slices, tmp_path / "c")))


def test_gates_have_their_trigger_delay(tmp_path: Path) -> None:
    def gate(ds: Dataset, frames: list[Dataset]) -> None:
        for n, frame in enumerate(frames):
            frame.CardiacSynchronizationSequence = [
                item(NominalCardiacTriggerDelayTime=250.0 * (n // 5))
            ]
            frame.FrameContentSequence[0].FrameAcquisitionDateTime = "20240102105000"

    kind = ["ORIGINAL", "PRIMARY", "GATED", "NONE"]
    scan = read(saved(enhanced(dynamic_slices(), edit=gate, ImageType=kind), tmp_path))
    assert isinstance(scan, PETFrames)
    assert scan.kind == "gated"
    assert [timing.trigger_s for timing in scan.timings] == [0, 0.25, 0.5]
    write(scan, tmp_path / "out")
    derived = dcmread(next((tmp_path / "out").iterdir()))
    assert (derived.SeriesType[0], derived.NumberOfTimeSlots) == ("GATED", 3)


def by_map(code: str, factor: float, keep: bool = True) -> Edit:
    """Add a map to the real world beside a scale without a unit, as Philips does."""

    def edit(ds: Dataset, frames: list[Dataset]) -> None:
        for frame in frames:
            scale = frame.PixelValueTransformationSequence[0]
            slope = float(scale.RescaleSlope) / factor
            frame.RealWorldValueMappingSequence = [unit_item(code, slope)]
            scale.RescaleSlope, scale.RescaleType = 1, "US"
            if not keep:
                del frame.PixelValueTransformationSequence

    return edit


def by_units(ds: Dataset, frames: list[Dataset]) -> None:
    ds.Units = "BQML"
    for frame in frames:
        frame.PixelValueTransformationSequence[0].RescaleType = "US"


def in_kilobecquerel(ds: Dataset, frames: list[Dataset]) -> None:
    for frame in frames:
        scale = frame.PixelValueTransformationSequence[0]
        scale.RescaleType = "kBq/ml"
        scale.RescaleSlope = float(scale.RescaleSlope) / 1000


def two_maps(ds: Dataset, frames: list[Dataset]) -> None:
    """Activity and SUV: the stored unit of the result is that of activity."""
    by_map("Bq/ml", 1.0)(ds, frames)
    ds.RealWorldValueMappingSequence = [unit_item("{SUVbw}g/ml", 0.5)]


def two_maps_of_each_frame(ds: Dataset, frames: list[Dataset]) -> None:
    """The functional group has an item per map: first SUV, then activity."""
    by_map("Bq/ml", 1.0)(ds, frames)
    for frame in frames:
        frame.RealWorldValueMappingSequence.insert(0, unit_item("{SUVbw}g/ml", 0.5))


def a_map_without_a_unit_first(ds: Dataset, frames: list[Dataset]) -> None:
    by_map("Bq/ml", 1.0)(ds, frames)
    for frame in frames:
        frame.RealWorldValueMappingSequence.insert(0, unit_item("1", 0.5))


def counts_with_a_map(ds: Dataset, frames: list[Dataset]) -> None:
    """Units is that of the stored counts, and the only scale is a map to activity."""
    by_map("Bq/ml", 1.0, keep=False)(ds, frames)
    ds.Units = "CNTS"


@pytest.mark.parametrize(
    "edit",
    [
        by_map("Bq/ml", 1.0),
        by_map("Bq/ml", 1.0, keep=False),
        by_map("kBq/ml", 1e3),
        by_units,
        in_kilobecquerel,
        two_maps,
        two_maps_of_each_frame,
        a_map_without_a_unit_first,
        counts_with_a_map,
    ],
)
def test_the_unit_may_be_named_in_several_places(tmp_path: Path, edit: Edit) -> None:
    slices = pet_slices()
    found = read(saved(enhanced(slices, edit=edit), tmp_path / "e"))
    same_scan(found, read(save(slices, tmp_path / "c")))


@pytest.mark.parametrize("code", ["{SUVbw}g/ml", "g/ml{SUVbw}", "g/ml"])
def test_stored_suv_is_kept(tmp_path: Path, code: str) -> None:
    slices = pet_slices()
    found = read_static(saved(enhanced(slices, edit=by_map(code, 1.0)), tmp_path))
    assert found.unit == "GML"
    expected = slices[2].pixel_array.T * float(slices[2].RescaleSlope)
    np.testing.assert_allclose(found.suv[:, :, 2], expected, rtol=1e-6)


def test_decay_corrected_to_the_injection(tmp_path: Path) -> None:
    found = read_suv(
        saved(enhanced(pet_slices(), DecayCorrectionDateTime="20240102090000"), tmp_path)
    )
    assert found.rule == "administered"
    assert found.factor == pytest.approx(70_000 / 3.5e8)


def test_decay_corrected_to_the_start_in_another_time_zone(tmp_path: Path) -> None:
    file = enhanced(
        pet_slices(),
        TimezoneOffsetFromUTC="+0100",
        DecayCorrectionDateTime="20240102095000.000000+0000",
    )
    assert read_suv(saved(file, tmp_path)).factor == pytest.approx(SUV_FACTOR)


def test_without_decay_correction_each_frame_has_its_factor(tmp_path: Path) -> None:
    file = enhanced(pet_slices(), DecayCorrected="NO", DecayCorrectionDateTime=None)
    found = read_suv(saved(file, tmp_path))
    assert found.rule == "uncorrected"
    rate = np.log(2) / 6600
    within = rate * 600 / -np.expm1(-rate * 600)
    np.testing.assert_allclose(found.factor, SUV_FACTOR * within, rtol=1e-6)


def test_without_attenuation_correction_there_is_no_suv(tmp_path: Path) -> None:
    folder = saved(enhanced(pet_slices(), AttenuationCorrected="NO"), tmp_path)
    with pytest.raises(InputRefused, match="not attenuation corrected"):
        read_suv(folder)


def of_tracers(*numbers: int) -> Edit:
    """A file of two tracers, of which each frame names those of these numbers."""

    def edit(ds: Dataset, frames: list[Dataset]) -> None:
        own = tracer(ds)
        own.RadiopharmaceuticalAgentNumber = 2
        other = item(RadionuclideTotalDose=1e8, RadionuclideHalfLife=100.0)
        other.RadiopharmaceuticalAgentNumber = 1
        ds.RadiopharmaceuticalInformationSequence = [other, own]
        for frame in frames:
            frame.RadiopharmaceuticalUsageSequence = [
                item(RadiopharmaceuticalAgentNumber=number) for number in numbers
            ]

    return edit


def test_a_frame_names_its_tracer_among_several(tmp_path: Path) -> None:
    folder = saved(enhanced(pet_slices(), edit=of_tracers(2)), tmp_path)
    assert read_suv(folder).factor == pytest.approx(SUV_FACTOR)


@pytest.mark.parametrize("numbers", [(), (1, 2)])
def test_a_frame_of_several_tracers_has_no_suv(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    folder = saved(enhanced(pet_slices(), edit=of_tracers(*numbers)), tmp_path)
    with pytest.raises(InputRefused, match="lists 2 administrations"):
        read_suv(folder)


def test_legacy_converted_files_keep_their_classic_attributes(tmp_path: Path) -> None:
    slices = dynamic_slices()

    def converted(ds: Dataset, frames: list[Dataset]) -> None:
        ds.SOPClassUID = LegacyConvertedEnhancedPETImageStorage
        for keyword in ("DecayCorrected", "DecayCorrectionDateTime", "AttenuationCorrected"):
            delattr(ds, keyword)
        ds.SeriesDate, ds.SeriesTime = slices[0].SeriesDate, slices[0].SeriesTime
        shared = item(
            Units="BQML", DecayCorrection="START", CorrectedImage=["ATTN", "DECY", "SCAT"],
            SeriesType=["DYNAMIC", "IMAGE"], NumberOfTimeSlices=3,
        )  # fmt: skip
        ds.SharedFunctionalGroupsSequence[0].UnassignedSharedConvertedAttributesSequence = [shared]
        for frame, source in zip(frames, slices, strict=True):
            del frame.FrameContentSequence
            frame.PixelValueTransformationSequence[0].RescaleType = "US"
            own = item(
                AcquisitionDate=source.AcquisitionDate, AcquisitionTime=source.AcquisitionTime,
                FrameReferenceTime=source.FrameReferenceTime,
                ActualFrameDuration=source.ActualFrameDuration,
            )  # fmt: skip
            frame.UnassignedPerFrameConvertedAttributesSequence = [own]

    found = read(saved(enhanced(slices, edit=converted), tmp_path / "e"))
    same_scan(found, read(save(slices, tmp_path / "c")))


def test_compressed_frames_are_decoded(tmp_path: Path) -> None:
    slices = pet_slices()
    file = enhanced(slices)
    file.compress(RLELossless, generate_instance_uid=False)
    same_scan(read(saved(file, tmp_path / "e")), read(save(slices, tmp_path / "c")))


def test_a_copy_is_left_out(tmp_path: Path) -> None:
    slices = pet_slices()
    file = enhanced(slices)
    saved(file, tmp_path / "e", "one.dcm")
    saved(file, tmp_path / "e", "two.dcm")
    found = read(tmp_path / "e")
    same_scan(found, read(save(slices, tmp_path / "c")))
    assert any("copies" in warning for warning in found.facts["warnings"])


def without(keyword: str) -> Edit:
    def edit(ds: Dataset, frames: list[Dataset]) -> None:
        for frame in frames:
            if keyword in frame:
                delattr(frame, keyword)

    return edit


def broken_off(ds: Dataset, frames: list[Dataset]) -> None:
    ds.PixelData = ds.PixelData[:-4]


def enormous(ds: Dataset, frames: list[Dataset]) -> None:
    ds.Rows = ds.Columns = 65535


def text_for_number(ds: Dataset, frames: list[Dataset]) -> None:
    frames[1].FrameContentSequence[0].FrameAcquisitionDuration = float("nan")


@pytest.mark.parametrize(
    ("edit", "attributes", "named"),
    [
        (None, {"PerFrameFunctionalGroupsSequence": None}, r"NumberOfFrames.*describes 0"),
        (None, {"NumberOfFrames": 6}, "is 6, and .* describes 5"),
        (None, {"NumberOfFrames": None}, "is 0, and"),
        (None, {"SharedFunctionalGroupsSequence": None}, "frame 1.*ImageOrientationPatient"),
        (without("PlanePositionSequence"), {}, "frame 1.*ImagePositionPatient"),
        (without("PixelValueTransformationSequence"), {}, "frame 1 has neither PixelValueTransf"),
        (broken_off, {}, "5 frames of 6 × 7 pixels.*truncated"),
        (enormous, {}, "65535 × 65535"),
        (text_for_number, {}, "functional groups cannot be read"),
    ],
)
def test_what_is_missing_or_damaged_is_named(
    tmp_path: Path, edit: Edit | None, attributes: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputRefused, match=named):
        read(saved(enhanced(pet_slices(), edit=edit, **attributes), tmp_path))


def test_the_derived_series_is_classic_and_names_the_frames(tmp_path: Path) -> None:
    slices = dynamic_slices()
    file = enhanced(slices, ImageType=["ORIGINAL", "PRIMARY", "DYNAMIC", "NONE"])
    scan = read(saved(file, tmp_path / "e"))
    write(scan, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        derived = dcmread(path)
        source = slices[int(derived.ImageIndex) - 1]
        assert derived.SOPClassUID == PositronEmissionTomographyImageStorage
        assert derived.file_meta.MediaStorageSOPClassUID == derived.SOPClassUID
        reference = derived.SourceImageSequence[0]
        assert reference.ReferencedSOPInstanceUID == file.SOPInstanceUID
        assert reference.ReferencedFrameNumber == derived.ImageIndex
        assert derived.Units == "BQML"
        assert (derived.DecayCorrection, derived.SeriesTime) == ("START", "105000.000000")
        assert derived.NumberOfTimeSlices == 3
        for keyword in ("FrameReferenceTime", "DecayFactor", "ActualFrameDuration"):
            assert float(derived[keyword].value) == pytest.approx(
                float(source[keyword].value), abs=1e-3
            )
        for keyword in ("DecayCorrected", "NumberOfFrames", "SharedFunctionalGroupsSequence"):
            assert keyword not in derived
    back = read(tmp_path / "out")
    assert isinstance(back, PETFrames)
    assert isinstance(scan, PETFrames)
    assert back.timings == scan.timings
    assert read_suv(tmp_path / "out").factor == pytest.approx(SUV_FACTOR, rel=1e-6)
    assert not back.facts["multi_frame"]


@pytest.mark.oracle
def test_dciodvfy_finds_no_error_that_a_classic_source_had_not(tmp_path: Path) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")

    def errors(path: Path) -> set[str]:
        done = subprocess.run([program, path], capture_output=True)
        lines = (done.stdout + done.stderr).decode("latin-1").splitlines()
        return {line for line in lines if line.startswith("Error")}

    slices = dynamic_slices(PatientBirthDate="19700101")
    before = errors(next(save(slices, tmp_path / "c").iterdir()))
    for name, edit in (("plain", None), ("mapped", by_map("Bq/ml", 1.0))):
        scan = read(saved(enhanced(slices, edit=edit), tmp_path / name / "e"))
        write(scan, tmp_path / name / "out")
        for path in sorted((tmp_path / name / "out").iterdir())[::7]:
            assert errors(path) <= before


def test_two_series_of_one_study_are_listed(tmp_path: Path) -> None:
    saved(enhanced(pet_slices()), tmp_path, "a.dcm")
    saved(enhanced(pet_slices(), SeriesInstanceUID=generate_uid()), tmp_path, "b.dcm")
    with pytest.raises(InputRefused, match=r"2 PET series.*5 slices\)"):
        read(tmp_path)
