"""Dynamic and gated DICOM series: each slice in its frame, with its time, in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from petdiff.errors import InputRefused
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.io import read, read_static, read_suv, write
from support.dicom_factory import (
    FRAME_SECONDS,
    HALF_LIFE_S,
    SUV_FACTOR,
    dynamic_slices,
    pet_slices,
    save,
    uids_of,
)

SPECIFIC = ("AcquisitionTime", "FrameReferenceTime", "ActualFrameDuration", "DecayFactor")


def pixels_of(slices: list[Dataset]) -> np.ndarray:
    """Bq/ml [frame, i, j, k] of a series in the order of frames and positions."""
    values = np.array([ds.pixel_array * float(ds.RescaleSlope) for ds in slices])
    count = len(FRAME_SECONDS)
    return values.reshape(count, -1, *values.shape[1:]).transpose(0, 3, 2, 1)


def values_of(scan: PETImage | PETFrames) -> np.ndarray:
    assert isinstance(scan, PETFrames)
    return np.array([frame.values for frame in scan])


def at_bed_times(n: int, k: int, ds: Dataset) -> None:
    """Two beds in three passes: the upper one is measured 100 s after the lower one."""
    seconds = 200 * n + 100 * (k >= 3)
    ds.AcquisitionTime = (
        f"{10 + seconds // 3600:02d}{50 + seconds // 60 % 60:02d}{seconds % 60:02d}"
    )
    ds.FrameReferenceTime = 1000.0 * (seconds + 50)
    ds.ActualFrameDuration = 100_000


def one_frame_time(n: int, k: int, ds: Dataset) -> None:
    ds.AcquisitionTime, ds.FrameReferenceTime = "105000", 0


def without_times(n: int, k: int, ds: Dataset) -> None:
    del ds.AcquisitionTime, ds.FrameReferenceTime


def past_midnight(n: int, k: int, ds: Dataset) -> None:
    """The clock passes midnight, and AcquisitionDate stays that of the start."""
    ds.AcquisitionTime = ("235950", "000000", "000020")[n]
    ds.SeriesTime, ds.FrameReferenceTime = "235950", 0
    ds.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime = "20240102220950"


@pytest.mark.parametrize("edit", [None, at_bed_times, without_times, past_midnight])
def test_each_slice_lies_in_its_frame(
    tmp_path: Path, edit: Callable[[int, int, Dataset], None] | None
) -> None:
    slices = dynamic_slices(edit=edit)
    shuffled = [slices[n] for n in np.random.default_rng(1).permutation(len(slices))]
    scan = read(save(shuffled, tmp_path), units="bqml", suv_factor=1)
    np.testing.assert_allclose(values_of(scan), pixels_of(slices), rtol=1e-6)
    assert isinstance(scan, PETFrames)
    assert scan.kind == "dynamic"


def test_frames_know_their_times(tmp_path: Path) -> None:
    scan = read(save(dynamic_slices(), tmp_path))
    assert isinstance(scan, PETFrames)
    assert [timing.start_s for timing in scan.timings] == [0, 10, 30]
    assert [timing.duration_s for timing in scan.timings] == list(FRAME_SECONDS)
    assert scan.facts["warnings"] == []


def test_reference_times_stand_in_for_a_missing_clock(tmp_path: Path) -> None:
    def edit(n: int, k: int, ds: Dataset) -> None:
        ds.AcquisitionTime = "105000"

    scan = read(save(dynamic_slices(edit=edit), tmp_path))
    assert isinstance(scan, PETFrames)
    starts = [timing.start_s for timing in scan.timings]
    assert starts == pytest.approx([0, 10, 30], abs=1e-3)


def test_passes_over_beds_start_with_their_first_bed(tmp_path: Path) -> None:
    scan = read(save(dynamic_slices(edit=at_bed_times), tmp_path))
    assert isinstance(scan, PETFrames)
    assert [timing.start_s for timing in scan.timings] == [0, 200, 400]


def test_midnight_is_passed_once(tmp_path: Path) -> None:
    scan = read(save(dynamic_slices(edit=past_midnight), tmp_path), units="bqml", suv_factor=1)
    assert isinstance(scan, PETFrames)
    assert [timing.start_s for timing in scan.timings] == [0, 10, 30]


def test_all_frames_have_the_factor_of_the_series_start(tmp_path: Path) -> None:
    folder = save(dynamic_slices(), tmp_path)
    assert read_suv(folder).factor == pytest.approx(SUV_FACTOR)
    scan = read(folder)
    assert isinstance(scan, PETFrames)
    for frame in scan:
        assert 1 / float(frame.stored_per_value) == pytest.approx(SUV_FACTOR)
    assert read_suv(folder).spread < 0.001


def test_frame_reference_time_counts_from_the_series_start(tmp_path: Path) -> None:
    """The frames' own times count where the series time is that of a later reconstruction."""
    found = read_suv(save(dynamic_slices(SeriesTime="113000"), tmp_path))
    assert found.rule == "frame reference time"
    assert found.factor == pytest.approx(SUV_FACTOR, rel=1e-5)


def test_frames_corrected_to_their_own_starts_are_doubted(tmp_path: Path) -> None:
    def own_start(n: int, k: int, ds: Dataset) -> None:
        frame = np.log(2) / HALF_LIFE_S * float(ds.ActualFrameDuration) / 1000
        ds.DecayFactor = round(float(frame / -np.expm1(-frame)), 8)

    scan = read(save(dynamic_slices((600, 600, 600), edit=own_start), tmp_path))
    [warning] = scan.facts["warnings"]
    assert "up to 20.0 min apart" in warning
    assert warning.endswith("wrong by 13.4%")  # 2^(1200 / 6600)


def test_decay_factors_are_believed_where_frames_have_no_clock_of_their_own(
    tmp_path: Path,
) -> None:
    def edit(n: int, k: int, ds: Dataset) -> None:
        ds.AcquisitionTime = "105000"

    scan = read(save(dynamic_slices((600, 600, 600), edit=edit), tmp_path))
    assert scan.facts["warnings"] == []


def over_beds(*, own_starts: bool) -> Callable[[int, Dataset], None]:
    """Three beds of 4 min every 5 min, decay corrected to the first start or to their own."""

    def edit(k: int, ds: Dataset) -> None:
        bed, rate = (0, 0, 1, 1, 2)[k], np.log(2) / HALF_LIFE_S
        mean_moment_s = np.log(rate * 240 / -np.expm1(-rate * 240)) / rate
        corrected_s = mean_moment_s + (0 if own_starts else 300 * bed)
        ds.AcquisitionTime = ("105000", "105500", "110000")[bed]
        ds.ActualFrameDuration = 240_000
        ds.FrameReferenceTime = round(1000 * (mean_moment_s + 300 * bed), 3)
        ds.DecayFactor = round(float(np.exp(rate * corrected_s)), 5)

    return edit


@pytest.mark.parametrize("own_starts", [False, True])
def test_beds_corrected_to_their_own_starts_are_doubted(tmp_path: Path, own_starts: bool) -> None:
    folder = save(pet_slices(edit=over_beds(own_starts=own_starts)), tmp_path)
    for warnings in (read(folder).facts["warnings"], read_suv(folder).warnings):
        assert [warning.partition(" apart")[0][-8:] for warning in warnings] == (
            ["10.0 min"] if own_starts else []
        )
    assert read_suv(folder).factor == pytest.approx(SUV_FACTOR)


@pytest.mark.parametrize("own_starts", [False, True])
def test_beds_with_the_start_of_their_range_are_judged_by_their_reference_times(
    tmp_path: Path, own_starts: bool
) -> None:
    """All slices of a range of continuous bed motion have the AcquisitionTime of its start."""
    by_bed = over_beds(own_starts=own_starts)

    def edit(k: int, ds: Dataset) -> None:
        by_bed(k, ds)
        ds.AcquisitionTime = "105000" if k < 4 else "110000"

    warnings = read(save(pet_slices(edit=edit), tmp_path)).facts["warnings"]
    assert len(warnings) == own_starts


def test_a_damaged_decay_factor_gives_a_short_warning(tmp_path: Path) -> None:
    by_bed = over_beds(own_starts=False)

    def edit(k: int, ds: Dataset) -> None:
        by_bed(k, ds)
        ds.DecayFactor = "1e300" if k == 2 else ds.DecayFactor

    [warning] = read(save(pet_slices(edit=edit), tmp_path)).facts["warnings"]
    assert warning.endswith("wrong many times over")
    assert len(warning) < 300


@pytest.mark.parametrize("factor", [1, None])
def test_a_decay_factor_that_was_left_out_raises_no_doubt(tmp_path: Path, factor: Any) -> None:
    def edit(n: int, k: int, ds: Dataset) -> None:
        ds.DecayFactor = factor

    scan = read(save(dynamic_slices((600, 600, 600), edit=edit), tmp_path))
    assert scan.facts["warnings"] == []


def test_frames_without_decay_correction_have_a_factor_each(tmp_path: Path) -> None:
    def edit(n: int, k: int, ds: Dataset) -> None:
        ds.DecayCorrection, ds.CorrectedImage = "NONE", ["ATTN", "SCAT"]

    scan = read(save(dynamic_slices((600, 600, 600), edit=edit), tmp_path))
    assert isinstance(scan, PETFrames)
    factors = [float(np.unique(1 / np.asarray(frame.stored_per_value))[0]) for frame in scan]
    assert factors[1] / factors[0] == pytest.approx(2 ** (600 / 6600))
    assert factors[2] / factors[0] == pytest.approx(2 ** (1200 / 6600))


def test_gates_are_distinguished_by_their_trigger_time(tmp_path: Path) -> None:
    def gate(n: int, k: int, ds: Dataset) -> None:
        one_frame_time(n, k, ds)
        ds.SeriesType, ds.NumberOfTimeSlots, ds.TriggerTime = ["GATED", "IMAGE"], 3, 250.0 * (2 - n)

    slices = dynamic_slices(edit=gate)
    scan = read(save(slices, tmp_path), units="bqml", suv_factor=1)
    assert isinstance(scan, PETFrames)
    assert scan.kind == "gated"
    assert [timing.trigger_s for timing in scan.timings] == [0, 0.25, 0.5]
    np.testing.assert_allclose(values_of(scan), pixels_of(slices)[::-1], rtol=1e-6)


def test_gates_of_each_frame_follow_one_another(tmp_path: Path) -> None:
    def gate(n: int, k: int, ds: Dataset) -> None:
        ds.AcquisitionTime, ds.FrameReferenceTime = ("105000", "105100")[n // 2], 0
        ds.TriggerTime = 400.0 * (n % 2)

    slices = dynamic_slices((60, 60, 60, 60), edit=gate)
    scan = read(save(slices, tmp_path), units="bqml", suv_factor=1)
    assert isinstance(scan, PETFrames)
    assert [timing.start_s for timing in scan.timings] == [0, 0, 60, 60]
    assert [timing.trigger_s for timing in scan.timings] == [0, 0.4, 0, 0.4]


def test_gates_without_any_time_are_in_the_order_of_their_index(tmp_path: Path) -> None:
    def gate(n: int, k: int, ds: Dataset) -> None:
        one_frame_time(n, k, ds)
        ds.SeriesType, ds.NumberOfTimeSlots = ["GATED", "IMAGE"], 3

    slices = dynamic_slices(edit=gate)
    scan = read(save(slices, tmp_path), units="bqml", suv_factor=1)
    np.testing.assert_allclose(values_of(scan), pixels_of(slices), rtol=1e-6)
    assert any("ImageIndex" in warning for warning in scan.facts["warnings"])


def test_copies_under_new_uids_are_no_frames(tmp_path: Path) -> None:
    slices = pet_slices()
    copies = pet_slices(**uids_of(slices[0]))
    for ds in copies:
        ds.SOPInstanceUID, ds.InstanceNumber = generate_uid(), ds.InstanceNumber + 5
    with pytest.raises(InputRefused, match=r"twice at one position.*tells them apart"):
        read(save([*slices, *copies], tmp_path))


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ((7,), r"3 frames: frame 2 lacks 1 at 108\.00 mm$"),
        ((0, 14), r"frame 1 lacks 1 at 100\.00 mm; frame 3 lacks 1 at 116\.00 mm$"),
        ((10, 11), r"frame 3 lacks 2 at 100\.00, 104\.00 mm$"),
        ((2, 7, 12), r"missing: 1 between 104\.00 mm"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, gone: tuple[int, ...], named: str) -> None:
    slices = [ds for n, ds in enumerate(dynamic_slices()) if n not in gone]
    with pytest.raises(InputRefused, match=named):
        read(save(slices, tmp_path))


def test_a_missing_slice_of_a_scan_over_beds_is_named_by_its_place(tmp_path: Path) -> None:
    slices = dynamic_slices(edit=at_bed_times)
    with pytest.raises(InputRefused, match=r"3 frames, but only 2 slices at 108\.00 mm$"):
        read(save(slices[:7] + slices[8:], tmp_path))


@pytest.mark.parametrize("moved", [range(5), [2]])
def test_frames_beside_each_other_are_refused(tmp_path: Path, moved: Sequence[int]) -> None:
    """The second frame, or one slice of it, is 1 mm beside the others in its own plane."""

    def aside(n: int, k: int, ds: Dataset) -> None:
        if n == 1 and k in moved:
            ds.ImagePositionPatient[0] += 1

    with pytest.raises(InputRefused, match=r"are of two frames.* differ by 1\.00 mm"):
        read(save(dynamic_slices(edit=aside), tmp_path))


def test_frames_whose_positions_and_directions_are_rounded_share_a_grid(tmp_path: Path) -> None:
    def rounded(n: int, k: int, ds: Dataset) -> None:
        if n == 1:
            ds.ImageOrientationPatient = [0.99999, 0, 0.00005, 0, 0.99999, 0]
            ds.ImagePositionPatient[2] += 0.005

    pixels = np.random.default_rng(0).integers(0, 3000, (3, 5, 600, 600), dtype=np.int16)
    scan = read(save(dynamic_slices(pixels=pixels, edit=rounded), tmp_path))
    np.testing.assert_array_equal(scan[1].affine, scan[0].affine)


def test_a_missing_frame_is_a_warning(tmp_path: Path) -> None:
    scan = read(save(dynamic_slices()[:10], tmp_path))
    assert any("NumberOfTimeSlices" in warning for warning in scan.facts["warnings"])


def test_static_readers_refuse_frames(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="3 dynamic frames, and one volume is needed"):
        read_static(save(dynamic_slices(), tmp_path))


def test_written_series_has_all_frames_and_their_times(tmp_path: Path) -> None:
    slices = dynamic_slices()
    scan = read(save(slices, tmp_path / "source"))
    write(scan, tmp_path / "derived")
    derived = sorted(
        (dcmread(path) for path in (tmp_path / "derived").iterdir()),
        key=lambda ds: ds.ImageIndex,
    )
    assert len({ds.SeriesInstanceUID for ds in derived}) == 1
    assert len({ds.SOPInstanceUID for ds in derived}) == len(slices)
    for source, made in zip(slices, derived, strict=True):
        for keyword in (*SPECIFIC, "NumberOfTimeSlices", "SeriesType", "ImagePositionPatient"):
            assert made[keyword].value == source[keyword].value
        referenced = made.SourceImageSequence[0].ReferencedSOPInstanceUID
        assert referenced == source.SOPInstanceUID
    back = read(tmp_path / "derived")
    assert isinstance(back, PETFrames)
    assert isinstance(scan, PETFrames)
    assert back.timings == scan.timings
    step = SUV_FACTOR * pixels_of(slices).max() / 65534
    np.testing.assert_allclose(values_of(back), values_of(scan), atol=1.01 * step)


def test_a_single_frame_can_be_written(tmp_path: Path) -> None:
    scan = read(save(dynamic_slices(), tmp_path / "source"))
    assert isinstance(scan, PETFrames)
    write(scan[1], tmp_path / "second")
    np.testing.assert_allclose(
        read_static(tmp_path / "second").values, scan[1].values, atol=1e-4 * scan[1].values.max()
    )
