"""Units by evidence: the caller's word, the sidecar, then what the values look like."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from petdiff.errors import SUVRefused
from petdiff.frames import PETFrames
from petdiff.io import read, read_in_suv, read_static, read_suv, write
from petdiff.io.sidecar import bqml_per_unit, is_suv, read_sidecar
from petdiff.suv.header import SliceHeader
from petdiff.suv.result import explain
from petdiff.suv.rules import suv_from_headers

AFFINE = np.diag([-4.0, 4, 4, 1])
F18_S = 6586.2
BIDS: dict[str, Any] = {
    "Units": "Bq/mL",
    "PatientWeight": 70,
    "InjectedRadioactivity": 350,
    "InjectedRadioactivityUnits": "MBq",
    "TracerRadionuclide": "F18",
    "TimeZero": "10:00:00",
    "InjectionStart": -3600,
    "ScanStart": 0,
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0,
}
FACTOR = 70_000 / (350e6 * 2 ** (-3600 / F18_S))


def body(mean: float) -> np.ndarray:
    """A body of a mean in air, with 10 % of noise [12, 12, 8]."""
    x, y = np.meshgrid(np.arange(12) - 5.5, np.arange(12) - 5.5, indexing="ij")
    inside = np.repeat((x**2 + y**2 < 20)[:, :, None], 8, axis=2)
    noise = np.random.default_rng(0).normal(1, 0.1, inside.shape)
    return np.where(inside, mean * noise, 0).astype(np.float32)


def saved(
    folder: Path, mean: float, sidecar: Any = None, name: str = "sub-01_ses-1_pet.nii.gz"
) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(body(mean), AFFINE), path)
    if sidecar is not None:
        text = sidecar if isinstance(sidecar, str) else json.dumps(sidecar)
        (path.parent / f"{name.removesuffix('.nii.gz')}.json").write_text(text)
    return path


def changed(**keys: Any) -> dict[str, Any]:
    return {key: value for key, value in (BIDS | keys).items() if value is not None}


def told(path: Path, **options: Any) -> list[str]:
    return list(read(path, **options).facts["suv"]["warnings"])


def test_a_bids_sidecar_gives_the_factor_of_the_dicom_rules(tmp_path: Path) -> None:
    image = read(saved(tmp_path, 4000, BIDS))
    assert image.in_suv
    assert image.unit == "BQML"
    np.testing.assert_allclose(image.values, body(4000) * FACTOR, rtol=1e-6)
    fields = {
        "Units": "BQML", "DecayCorrection": "START", "CorrectedImage": ["ATTN", "DECY"],
        "PatientWeight": "70", "RadionuclideTotalDose": "350000000",
        "RadionuclideHalfLife": str(F18_S), "SeriesDate": "20240102", "SeriesTime": "100000",
        "AcquisitionDate": "20240102", "AcquisitionTime": "100000",
        "RadiopharmaceuticalStartDateTime": "20240102090000",
    }  # fmt: skip
    by_dicom = suv_from_headers([SliceHeader.from_fields(fields)])
    assert read_suv(tmp_path / "sub-01_ses-1_pet.nii.gz").factor == pytest.approx(by_dicom.factor)
    assert "not SUV: SUV = value × 0.000292127" in told(tmp_path / "sub-01_ses-1_pet.nii.gz")[0]


@pytest.mark.parametrize(
    ("keys", "times"),
    [
        ({"Units": "kBq/ml"}, 1000.0),
        ({"Units": "nCi/cc"}, 37.0),
        ({"Units": "BQML"}, 1.0),
        ({"InjectedRadioactivityUnits": "mCi"}, 1 / 37),
        ({"InjectedRadioactivity": 3.5e8, "InjectedRadioactivityUnits": "Bq"}, 1.0),
        ({"PatientWeight": 70_000}, 1.0),
        ({"PatientWeight": None, "BodyWeight": "70"}, 1.0),
        ({"TracerRadionuclide": "[18F]"}, 1.0),
        ({"TracerRadionuclide": None, "RadionuclideHalfLife": F18_S}, 1.0),
        ({"InjectionStart": [-3600]}, 1.0),
        ({"InjectionStart": 0, "ScanStart": 3600, "ImageDecayCorrectionTime": 3600}, 1.0),
        ({"InjectionStart": 0, "ScanStart": 3600, "ImageDecayCorrectionTime": None}, 1.0),
        ({"ImageDecayCorrectionTime": -3600}, 2 ** (-3600 / F18_S)),
        ({"ImageDecayCorrected": None, "DecayCorrection": "ADMIN"}, 2 ** (-3600 / F18_S)),
        ({"ImageDecayCorrected": None, "DecayCorrection": "START"}, 1.0),
        ({"TracerRadionuclide": "Ga68"}, 2 ** (3600 / (67.71 * 60) - 3600 / F18_S)),
    ],
)
def test_other_ways_to_say_it(tmp_path: Path, keys: dict[str, Any], times: float) -> None:
    result = read_suv(saved(tmp_path, 4000, changed(**keys)))
    assert result.factor == pytest.approx(FACTOR * times, rel=1e-6)


def test_without_decay_correction_the_frames_mean_counts(tmp_path: Path) -> None:
    """Activity falls within the frame: the mean over it is the integral, done here by summing."""
    keys = changed(ImageDecayCorrected=False, FrameDuration=[1200], FrameTimesStart=[0])
    moments_s = (np.arange(100_000) + 0.5) * 1200 / 100_000
    mean_left = float(np.mean(2 ** (-(3600 + moments_s) / F18_S)))
    result = read_suv(saved(tmp_path, 4000, keys))
    assert result.factor == pytest.approx(70_000 / (350e6 * mean_left), rel=1e-6)


def test_frames_without_decay_correction_have_factors_of_their_own(tmp_path: Path) -> None:
    keys = changed(ImageDecayCorrected=False, FrameTimesStart=[0, 600], FrameDuration=[600, 1800])
    path = tmp_path / "sub-01_pet.nii.gz"
    values = np.stack([body(4000), body(3000)], axis=3)
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    path.with_name("sub-01_pet.json").write_text(json.dumps(keys))
    scan = read(path)
    assert isinstance(scan, PETFrames)
    for n, (start_s, duration_s) in enumerate([(0, 600), (600, 1800)]):
        moments_s = start_s + (np.arange(10_000) + 0.5) * duration_s / 10_000
        factor = 70_000 / (350e6 * float(np.mean(2 ** (-(3600 + moments_s) / F18_S))))
        np.testing.assert_allclose(scan[n].suv, values[..., n] * factor, rtol=1e-5)
    write(scan, tmp_path / "again.nii.gz")
    np.testing.assert_allclose(nib.load(tmp_path / "again.nii.gz").get_fdata(), values, rtol=1e-5)


@pytest.mark.parametrize(
    "times",
    [
        {"FrameDuration": [600]},
        {"FrameDuration": [600, "long"]},
        {"FrameDuration": [600, 600], "FrameTimesStart": None},
    ],
    ids=str,
)
def test_frames_without_decay_correction_need_a_time_each(
    tmp_path: Path, times: dict[str, Any]
) -> None:
    path = tmp_path / "sub-01_pet.nii.gz"
    nib.save(nib.Nifti1Image(np.stack([body(4000)] * 2, axis=3), AFFINE), path)
    keys = changed(ImageDecayCorrected=False, FrameTimesStart=[0, 600]) | times
    path.with_name("sub-01_pet.json").write_text(json.dumps(keys))
    scan = read(path)
    assert isinstance(scan, PETFrames)
    assert "for each of 2 frames" in scan.first.no_suv_reason


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"PatientWeight": None}, "PatientWeight"),
        ({"PatientWeight": 0}, "PatientWeight"),
        ({"PatientWeight": "heavy"}, "PatientWeight"),
        ({"InjectedRadioactivity": None}, "InjectedRadioactivity"),
        ({"InjectedRadioactivity": 370_000}, "InjectedRadioactivity"),  # kBq, said to be MBq
        ({"InjectedRadioactivityUnits": None}, "InjectedRadioactivity"),
        ({"InjectedRadioactivityUnits": "drops"}, "InjectedRadioactivity"),
        ({"TracerRadionuclide": "n/a"}, "TracerRadionuclide"),
        ({"ImageDecayCorrected": None}, "ImageDecayCorrected"),
        ({"ImageDecayCorrected": "yes"}, "ImageDecayCorrected"),
        ({"InjectionStart": None}, "InjectionStart"),
        ({"ScanStart": math.nan}, "ScanStart"),
        ({"InjectionStart": -1e9}, "after the injection"),
        ({"InjectionStart": 7200}, "after the injection"),
        ({"ImageDecayCorrected": False}, "FrameDuration"),
    ],
)
def test_what_a_sidecar_lacks_is_named_and_values_stay_as_stored(
    tmp_path: Path, keys: dict[str, Any], named: str
) -> None:
    path = saved(tmp_path, 4000, changed(**keys))
    image = read(path)
    assert (image.in_suv, image.unit_name) == (False, "Bq/ml")
    np.testing.assert_array_equal(image.values, body(4000))
    assert named in image.no_suv_reason
    assert "`suv_factor`" in told(path)[0]
    with pytest.raises(SUVRefused, match=f"{named}.*`suv_factor`"):
        read_in_suv(path)


def test_values_far_too_large_are_no_suv(tmp_path: Path) -> None:
    path = saved(tmp_path, 4000)
    image = read(path)
    assert not image.in_suv
    assert "probably Bq/ml" in image.no_suv_reason
    assert "to have SUV, give `units`" in told(path)[0]
    assert read(path, suv_factor=FACTOR).in_suv
    assert not read(path, units="bqml").in_suv
    np.savez(tmp_path / "scan.npz", body(4000))
    assert not read(tmp_path / "scan.npz").in_suv


@pytest.mark.parametrize("mean", [0.1, 1.0, 3.0, 15.0])
def test_values_that_can_be_suv_pass_in_silence(tmp_path: Path, mean: float) -> None:
    path = saved(tmp_path, mean)
    assert read(path).in_suv
    assert told(path) == []
    assert told(saved(tmp_path, mean, {"Units": "SUV"}, "b_pet.nii.gz")) == []


@pytest.mark.parametrize("mean", [0.01, 40.0])
def test_unusual_suv_is_reported(tmp_path: Path, mean: float) -> None:
    path = saved(tmp_path, mean)
    assert read(path).in_suv
    assert "is the unit right?" in told(path)[0]
    assert "is the unit right?" in told(saved(tmp_path, 4000, BIDS), suv_factor=1.0)[0]


@pytest.mark.parametrize("unit", ["counts", "SUVlbm", "cm2/ml", "%ID/g", "unitless", "mystery"])
def test_units_without_a_way_to_suv_are_kept(tmp_path: Path, unit: str) -> None:
    image = read(saved(tmp_path, 3, changed(Units=unit)))
    assert (image.in_suv, image.unit) == (False, unit)


def test_a_sidecar_that_the_values_contradict_is_not_believed(tmp_path: Path) -> None:
    path = saved(tmp_path, 4000, {"Units": "SUV"})
    assert not read(path).in_suv
    assert "the mean of the body is" in read(path).no_suv_reason
    assert "is the unit right?" in told(saved(tmp_path, 1.0, BIDS, "b_pet.nii.gz"))[-1]


def test_the_callers_word_comes_last(tmp_path: Path) -> None:
    path = saved(tmp_path, 4000, BIDS)
    np.testing.assert_array_equal(read(path, units="suv").values, body(4000))
    assert read_suv(path, suv_factor=0.5).factor == 0.5
    assert read_suv(path, units="bqml").factor == pytest.approx(FACTOR)


@pytest.mark.parametrize(
    ("content", "units", "unit"),
    [
        ({"Units": "kBq/mL"}, None, "kBq/mL"),
        ({"Units": "Bq/mL"}, None, "BQML"),
        ({"Units": "SUV"}, None, "GML"),
        ({}, None, ""),
        ({"Units": "kBq/mL"}, "bqml", "BQML"),
    ],
)
def test_a_factor_does_not_change_the_unit_of_the_stored_values(
    tmp_path: Path, content: dict[str, object], units: Any, unit: str
) -> None:
    path = saved(tmp_path, 4, content)
    image = read(path, units=units, suv_factor=0.25)
    assert (image.unit, image.in_suv) == (unit, True)
    np.testing.assert_allclose(image.values, body(4) / 4, rtol=1e-6)
    result = read_suv(path, units=units, suv_factor=0.25)
    shown = f" ({unit})" if unit else ""
    assert explain(result).startswith(f"SUV = stored value{shown} × 0.25\n")


def test_sidecars_above_and_the_participants_table(tmp_path: Path) -> None:
    """The inheritance principle of BIDS: the nearest file wins."""
    (tmp_path / "dataset_description.json").write_text("{}")
    above = {k: v for k, v in BIDS.items() if k not in ("PatientWeight", "ScanStart")}
    (tmp_path / "pet.json").write_text(json.dumps(above | {"InjectionStart": -7200}))
    (tmp_path / "task-rest_pet.json").write_text('{"Units": "counts"}')
    table = "participant_id\tage\tweight\nsub-02\t50\t99\nsub-01\t60\t70\n"
    (tmp_path / "participants.tsv").write_text(table)
    own = {"ScanStart": 0, "InjectionStart": -3600}
    path = saved(tmp_path / "sub-01" / "ses-1" / "pet", 4000, own)
    assert read_suv(path).factor == pytest.approx(FACTOR)
    sidecar, warnings = read_sidecar(path)
    assert sidecar is not None
    assert sidecar.name == "sub-01_ses-1_pet.json"
    assert warnings == []


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[1]", "3", "\x00"])
def test_a_damaged_sidecar_is_reported_and_ignored(tmp_path: Path, text: str) -> None:
    image = read(saved(tmp_path, 1.0, text))
    assert image.in_suv
    assert any("ignored" in warning for warning in image.facts["warnings"])


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("Bq/mL", 1), ("BQML", 1), ("bq/cc", 1), ("Bq/cm3", 1), ("Bq/cm³", 1), ("Bq mL^-1", 1),
        ("[Bq/ml]", 1), ("kBq/mL", 1e3), ("KBQ/ML", 1e3), ("MBq/ml", 1e6), ("MBQML", 1e6),
        ("mBq/ml", 1e-3), ("nCi/ml", 37), ("µCi/cc", 3.7e4), ("uCi/cc", 3.7e4), ("mCi/ml", 3.7e7),
        ("Bq", None), ("SUV", None), ("counts", None), ("", None), ("g/ml", None),
    ],
)  # fmt: skip
def test_units_of_activity(unit: str, size: float | None) -> None:
    assert bqml_per_unit(unit) == size
    assert is_suv(unit) == (unit in ("SUV", "g/ml"))


def test_a_scan_that_starts_with_the_injection_is_doubted(tmp_path: Path) -> None:
    """Converters write 0 for both where they do not know the injection."""
    path = saved(tmp_path, 4000, changed(InjectionStart=0, FrameDuration=[600]))
    doubt = f"{2 ** (3600 / F18_S) - 1:.0%} higher"
    assert any("same InjectionStart and ScanStart" in one and doubt in one for one in told(path))
    frames = changed(InjectionStart=0, FrameTimesStart=[0, 10], FrameDuration=[10, 10])
    dynamic = saved(tmp_path, 4000, frames, "sub-02_pet.nii.gz")
    assert not any("same InjectionStart" in one for one in told(dynamic))


def test_dcm2niix_states_administration_beside_the_key_of_bids(tmp_path: Path) -> None:
    keys = changed(DecayCorrection="ADMIN", InjectionStart=None, ImageDecayCorrectionTime=-3600)
    result = read_suv(saved(tmp_path, 4000, keys))
    assert result.factor == pytest.approx(70_000 / 350e6)


def test_the_half_life_of_the_header_counts_where_it_is_that_of_the_nuclide(tmp_path: Path) -> None:
    near = read_suv(saved(tmp_path, 4000, changed(RadionuclideHalfLife=6600)))
    assert near.inputs["half-life s"] == 6600
    far = read_suv(saved(tmp_path, 4000, changed(RadionuclideHalfLife=1224)))
    assert far.inputs["half-life s"] == F18_S
    assert any("not that of F18" in warning for warning in far.warnings)


def test_a_dose_that_was_divided_twice_is_repaired_and_reported(tmp_path: Path) -> None:
    """A header in MBq, which a converter took for Bq."""
    result = read_suv(saved(tmp_path, 4000, changed(InjectedRadioactivity=350e-6)))
    assert result.factor == pytest.approx(FACTOR)
    assert any("taken as 350 MBq" in warning for warning in result.warnings)
    for dose, unit in ((0.5, "MBq"), (5000, "Bq")):
        keys = changed(InjectedRadioactivity=dose, InjectedRadioactivityUnits=unit)
        small = read_suv(saved(tmp_path, 4000, keys))
        assert not any("divided" in warning for warning in small.warnings)


def test_suv_by_another_measure_than_weight_is_not_taken_for_it(tmp_path: Path) -> None:
    path = saved(tmp_path, 1.0, {"Units": "GML", "SUVType": "LBM"})
    assert "SUVType LBM" in read_static(path).no_suv_reason
    assert read(saved(tmp_path, 1.0, {"Units": "GML", "SUVType": "BW"})).in_suv
