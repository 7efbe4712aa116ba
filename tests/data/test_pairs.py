"""Own pairs: which layouts are found, what the checks refuse, and how patients are split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from petdiff.data.layouts import dose_in_name
from petdiff.data.pairs import (
    PairFiles,
    check_pairs,
    find_pairs,
    read_pair,
    split,
)
from petdiff.errors import InputRefused, UsageError
from petdiff.image import PETImage
from petdiff.io import read, write
from support.dicom_factory import SUV_FACTOR, pet_slices, save

Volume = NDArray[np.float32]
SHAPE = (24, 20, 32)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def full_dose(seed: int = 0) -> Volume:
    """A body of mean SUV 1 with four organs of its own."""
    rng = np.random.default_rng(seed)
    body, organs = np.zeros(SHAPE), np.zeros(SHAPE)
    body[3:-3, 3:-3] = 0.7
    organs[tuple(rng.integers((6, 6, 4), (18, 14, 28), (4, 3)).T)] = 1
    body += gaussian_filter(organs, 2.5) * 300
    return (body / body[3:-3, 3:-3].mean()).astype(np.float32)


def low_dose(full: Volume, factor: float = 20, seed: int = 1) -> Volume:
    """Noise of variance ∝ activity × factor, and mean 0."""
    noise = np.random.default_rng(seed).standard_normal(full.shape) * np.sqrt(full * factor) * 0.03
    return (full + noise).astype(np.float32)


def put(path: Path, suv: Volume, affine: NDArray[np.float64] = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(PETImage(suv, affine), path)
    return path


def patient(folder: Path, seed: int = 0, **scans: Volume) -> PairFiles:
    """A sound patient in layout (a), but for the scans that are given."""
    full = full_dose(seed)
    scans = {"full": full, "low_drf20": low_dose(full, 20, seed)} | scans
    paths = {name: put(folder / f"{name}.nii", suv) for name, suv in scans.items()}
    lows = {float(n.removeprefix("low_drf")): p for n, p in paths.items() if n != "full"}
    return PairFiles(folder.name, folder.name, paths["full"], lows)


@pytest.mark.parametrize(
    ("name", "before", "factor"),
    [
        ("full", "", 1),
        ("low_drf20", "", 20),
        ("low_drf2.5", "", 2.5),
        ("Full_dose", "", 1),
        ("NORMAL", "", 1),
        ("1-100 dose", "", 100),  # which also ends in `100 dose`
        ("1-2 dose", "", 2),
        ("1_20", "", 20),
        ("D2", "", 2),
        ("DRF_10", "", 10),
        ("drf20", "", 20),
        ("DRF 1", "", 1),
        ("2.886 x 600 WB DRF_100", "2.886 x 600 wb", 100),
        ("2.886 x 150 WB D4", "2.886 x 150 wb", 4),
        ("2.886 x 600 WB normal", "2.886 x 600 wb", 1),
        ("Anonymous-01_DRF-100", "anonymous 01", 100),
        ("p7_low_drf4", "p7", 4),
    ],
)
def test_names_tell_the_dose(name: str, before: str, factor: float) -> None:
    assert dose_in_name(name) == (before, factor)


@pytest.mark.parametrize(
    "name",
    ["Subject_1-6", "070722_2_20220707", "truth", "labels", "20", "abnormal", "drf0.5", "low"],
)
def test_other_names_tell_none(name: str) -> None:
    assert dose_in_name(name) is None


def test_simulated_patients_are_found(tmp_path: Path) -> None:
    for n in range(2):
        folder = tmp_path / f"patient_{n:04d}"
        for name in ("truth", "full", "low_drf4", "low_drf20", "labels"):
            put(folder / f"{name}.nii.gz", full_dose())
    said: list[str] = []
    pairs = find_pairs(tmp_path, notify=said.append)
    assert [p.patient for p in pairs] == ["patient_0000", "patient_0001"]
    folder = tmp_path / "patient_0001"
    assert pairs[1].full == folder / "full.nii.gz"
    lows = {4.0: folder / "low_drf4.nii.gz", 20.0: folder / "low_drf20.nii.gz"}
    assert pairs[1].lows == lows
    assert "2 patients as (a)" in said[0]
    assert "1/4 dose (2), 1/20 dose (2)" in said[0]


def test_one_patients_own_folder_is_a_data_set(tmp_path: Path) -> None:
    patient(tmp_path / "anna")
    assert [p.patient for p in find_pairs(tmp_path / "anna")] == ["anna"]


def dicom(folder: Path, scale: float = 1.0, noise: float = 0.0) -> None:
    rng = np.random.default_rng(3)
    pixels = np.full((8, 16, 16), 1500 * scale) + noise * rng.standard_normal((8, 16, 16))
    folder.mkdir(parents=True)
    save(pet_slices(pixels.astype(np.int16), slopes=[2.0] * 8), folder)


def test_the_challenges_folders_are_found_and_read(tmp_path: Path) -> None:
    quadra = tmp_path / "Subject_1-6" / "070722_2_20220707_163946"
    dicom(quadra / "Full_dose")
    dicom(quadra / "1-20 dose" / "20220707")
    explorer = tmp_path / "Anonymous_ANO_1703593"
    dicom(explorer / "2.886 x 600 WB NORMAL")
    dicom(explorer / "2.886 x 150 WB D4", noise=90)
    dicom(explorer / "2.886 x 600 WB DRF_100", noise=300)
    said: list[str] = []
    pairs = find_pairs(tmp_path, notify=said.append)
    assert [(p.patient, list(p.lows)) for p in pairs] == [
        ("Anonymous_ANO_1703593", [4.0, 100.0]),
        ("Subject_1-6/070722_2_20220707_163946", [20.0]),
    ]
    assert "2 patients as (b)" in said[0]
    low, full = read_pair(pairs[0], 4)
    np.testing.assert_allclose(full.suv, 3000 * SUV_FACTOR, rtol=1e-6)
    assert low.suv.std() > 0
    with pytest.raises(UsageError, match="no scan at 1/20 dose, only 1/4 dose, 1/100 dose"):
        read_pair(pairs[0], 20)


def test_several_series_in_a_folder_are_refused_with_a_remedy_that_pairs_have(
    tmp_path: Path,
) -> None:
    dicom(tmp_path / "a" / "full")
    dicom(tmp_path / "a" / "low_drf20", noise=90)
    dicom(tmp_path / "a" / "low_drf20" / "another", noise=80)
    with pytest.raises(InputRefused) as refusal:
        check_pairs(find_pairs(tmp_path))
    assert "holds 2 PET series: keep one, and move" in str(refusal.value)
    assert "`series`" not in str(refusal.value)


def test_the_published_npz_holds_both(tmp_path: Path) -> None:
    full = full_dose()
    np.savez(tmp_path / "s1.npz", np.stack([low_dose(full), full]).astype(np.float64))
    (pair,) = find_pairs(tmp_path)
    assert (pair.patient, list(pair.lows), pair.full) == ("s1", [None], tmp_path / "s1.npz")
    low, again = read_pair(pair, None)
    np.testing.assert_array_equal(low.suv, low_dose(full))
    np.testing.assert_array_equal(again.suv, full)
    np.testing.assert_array_equal(read(tmp_path / "s1.npz").suv, low.suv)
    assert "low-dose scan was read" in low.facts["warnings"][1]


def test_a_broken_npz_is_not_passed_over(tmp_path: Path) -> None:
    patient(tmp_path / "a")
    (tmp_path / "s1.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputRefused, match=r"s1\.npz is not a valid \.npz"):
        find_pairs(tmp_path)


def test_published_subjects_at_several_doses_are_one_patient(tmp_path: Path) -> None:
    full = full_dose()
    for factor in (4, 20):
        (tmp_path / f"drf{factor}").mkdir()
        np.savez(tmp_path / f"drf{factor}" / "s1.npz", np.stack([low_dose(full, factor), full]))
    (pair,) = find_pairs(tmp_path)
    assert (pair.patient, list(pair.lows)) == ("s1", [4.0, 20.0])
    low, again = read_pair(pair, 20)
    np.testing.assert_array_equal(low.suv, low_dose(full, 20))
    np.testing.assert_array_equal(again.suv, full)


def test_files_named_after_patients_may_share_a_folder(tmp_path: Path) -> None:
    for name in ("Anonymous-01", "Anonymous-02"):
        for dose in ("full", "DRF-4"):
            put(tmp_path / f"{name}_{dose}.nii", full_dose())
    pairs = find_pairs(tmp_path)
    assert [p.patient for p in pairs] == [f"{tmp_path.name}/anonymous {n}" for n in ("01", "02")]
    assert pairs[1].full.name == "Anonymous-02_full.nii"
    assert pairs[1].lows[4.0].name == "Anonymous-02_DRF-4.nii"


def test_a_patient_without_a_scan_is_said(tmp_path: Path) -> None:
    patient(tmp_path / "a")
    put(tmp_path / "b" / "full.nii", full_dose())
    put(tmp_path / "c" / "low_drf4.nii", full_dose())
    with pytest.raises(InputRefused, match=r"b has no low-dose .*; c has no full-dose"):
        find_pairs(tmp_path)
    said: list[str] = []
    assert [p.patient for p in find_pairs(tmp_path, notify=said.append)] == ["a"]
    assert [line for line in said if "left out" in line] == said[1:]
    assert len(said) == 3


def test_what_is_not_understood_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="it is empty; supported are"):
        find_pairs(tmp_path)
    put(tmp_path / "ldct_17.nii", full_dose())
    with pytest.raises(InputRefused, match=r"found ldct_17\.nii; supported are .* low_drfN"):
        find_pairs(tmp_path)
    with pytest.raises(InputRefused, match="not a folder"):
        find_pairs(tmp_path / "ldct_17.nii")


def test_two_scans_of_one_dose_are_refused(tmp_path: Path) -> None:
    patient(tmp_path / "a")
    put(tmp_path / "a" / "D20.nii", full_dose())
    with pytest.raises(InputRefused, match=r"two scans of one dose, D20\.nii and low_drf20\.nii"):
        find_pairs(tmp_path)


def test_hidden_files_and_links_upwards_are_passed_over(tmp_path: Path) -> None:
    patient(tmp_path / "a")
    (tmp_path / "a" / "._full.nii").write_bytes(b"resource fork")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert [p.patient for p in find_pairs(tmp_path)] == ["a"]


def test_sound_pairs_pass(tmp_path: Path) -> None:
    pairs = [patient(tmp_path / name, seed) for seed, name in enumerate("abc")]
    done: list[tuple[int, int]] = []
    assert check_pairs(pairs, progress=lambda *at: done.append(at)) == []
    assert done == [(1, 3), (2, 3), (3, 3)]


def _nan(suv: Volume) -> Volume:
    suv = suv.copy()
    suv[tuple(n // 2 for n in suv.shape)] = np.nan
    return suv


F = full_dose()
L = low_dose(F, 20, 0)


@pytest.mark.parametrize(
    ("scans", "says"),
    [
        ({"low_drf20": F}, "equals the full-dose scan voxel by voxel"),
        ({"low_drf20": L[:-1]}, "23 × 20 × 32 voxels, full dose 24 × 20 × 32"),
        ({"low_drf20": np.full_like(L, 0.7)}, "every voxel is 0.7"),
        ({"full": np.zeros_like(L)}, "every voxel is 0"),
        ({"full": F * 4000, "low_drf20": L * 4000}, "Bq/ml"),
        ({"full": F / 16, "low_drf20": L / 16}, "divided by 16"),
        ({"full": F / 1000, "low_drf20": L / 1000}, "wrong unit, weight or dose"),
        ({"low_drf20": L / 20}, r"not scaled up to full dose: multiply it by 20"),
        ({"low_drf20": L * 1.7}, "1.7 times the activity"),
        ({"low_drf20": L[:, :, ::-1].copy()}, "another patient, turned"),
        ({"low_drf20": low_dose(full_dose(11))}, "another patient, turned"),
        ({"full": L, "low_drf20": F}, "no noisier than full dose"),
        ({"low_drf4": L}, "are one scan"),
    ],
)
def test_what_would_spoil_the_training_is_refused(
    tmp_path: Path, scans: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputRefused, match=says) as refusal:
        check_pairs([patient(tmp_path / "a", **scans), patient(tmp_path / "b", 5)])
    lines = str(refusal.value).split("; ")
    assert all(line.startswith(("a", "scans must be SUV")) for line in lines)


@pytest.mark.parametrize(
    ("scans", "says"),
    [
        ({"low_drf20": L * 1.2}, "1.2 times the activity"),
        ({"full": F * 5, "low_drf20": L * 5}, "mean SUV of the body is 3.9"),
        ({"low_drf4": low_dose(F, 90)}, "doses mixed up"),
        ({"low_drf20": low_dose(full_dose(5))}, "correlates with full dose by 0.8"),
        ({"full": F.clip(0, 1.5), "low_drf20": L.clip(0, 1.5)}, "clipped"),
    ],
)
def test_what_may_be_right_is_a_warning(tmp_path: Path, scans: dict[str, Any], says: str) -> None:
    warnings = check_pairs([patient(tmp_path / "a", **scans), patient(tmp_path / "b", 5)])
    assert any(says in line for line in warnings)
    assert all(line.startswith("a") for line in warnings)


def test_pairs_in_bqml_are_read_with_a_factor_or_a_sidecar(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    patient(folder, full=F * 4000, low_drf20=L * 4000)
    with pytest.raises(InputRefused, match="probably Bq/ml"):
        read_pair(find_pairs(tmp_path)[0], 20)
    low, full = read_pair(find_pairs(tmp_path, units="bqml", suv_factor=1 / 4000)[0], 20)
    np.testing.assert_allclose(low.suv, L, rtol=1e-5)
    np.testing.assert_allclose(full.suv, F, rtol=1e-5)
    sidecar = {
        "Units": "Bq/mL", "PatientWeight": 70, "InjectedRadioactivity": 280,
        "InjectedRadioactivityUnits": "MBq", "TracerRadionuclide": "F18",
        "DecayCorrection": "ADMIN",
    }  # fmt: skip
    for name in ("full", "low_drf20"):
        (folder / f"{name}.json").write_text(json.dumps(sidecar))
    np.testing.assert_allclose(read_pair(find_pairs(tmp_path)[0], 20)[1].suv, F, rtol=1e-5)


def test_pairs_in_any_one_unit_are_sound_for_a_method_that_needs_no_suv(tmp_path: Path) -> None:
    counts = patient(tmp_path / "a", full=F * 4000, low_drf20=L * 4000)
    small = patient(tmp_path / "b", full=full_dose(3) / 16, low_drf20=low_dose(full_dose(3)) / 16)
    warnings = check_pairs([counts, small], needs_suv=False)
    assert ["divided by 16" in line for line in warnings] == [True, True]
    low, full = read_pair(counts, 20, needs_suv=False)
    assert not low.in_suv
    np.testing.assert_allclose(full.values, F * 4000, rtol=1e-5)
    mixed = patient(tmp_path / "c", full=F * 4000, low_drf20=L)
    with pytest.raises(InputRefused, match="in SUV, full dose in"):
        check_pairs([counts, mixed], needs_suv=False)


def test_unreadable_scans_are_named_and_come_first(tmp_path: Path) -> None:
    pairs = [patient(tmp_path / "a", full=F * 4000), patient(tmp_path / "b", 5)]
    import nibabel as nib

    nib.save(nib.Nifti1Image(_nan(L), AFFINE), pairs[0].lows[20.0])
    pairs[1].full.write_bytes(b"")
    with pytest.raises(InputRefused) as refusal:
        check_pairs(pairs)
    one_line = str(refusal.value)
    starts = [
        "a, 1/20 dose: low_drf20.nii holds NaN",
        "; b, full dose: full.nii is not NIfTI",
        "; a, full dose: nothing states the unit of full.nii",
        "; scans must be SUV: give `units`",
    ]
    places = [one_line.index(start) for start in starts]
    assert places[0] == 0
    assert places == sorted(places)
    assert "\n" not in one_line


def test_a_shifted_grid_is_refused_beyond_the_tolerance(tmp_path: Path) -> None:
    files = patient(tmp_path / "a")
    pairs = [files, patient(tmp_path / "b", 5)]

    def shift(mm: float) -> None:
        files.lows[20.0].unlink()
        shifted = AFFINE.copy()
        shifted[2, 3] = mm
        put(files.lows[20.0], low_dose(full_dose()), shifted)

    shift(0.09)
    assert check_pairs(pairs) == []
    shift(0.11)
    with pytest.raises(InputRefused, match=r"voxels lie up to 0\.11 mm"):
        check_pairs(pairs)


def test_a_renamed_copy_is_found_in_another_form(tmp_path: Path) -> None:
    first, second = patient(tmp_path / "a"), patient(tmp_path / "b", 5)
    second.full.unlink()
    copy = put(tmp_path / "b" / "full.nii.gz", full_dose())
    second = replace(second, full=copy)
    second.lows[20.0].unlink()
    put(second.lows[20.0], low_dose(full_dose(), seed=8))
    with pytest.raises(InputRefused, match=r"b, full dose: equals a, full dose"):
        check_pairs([first, second])


def test_twenty_lines_are_enough(tmp_path: Path) -> None:
    pairs = [PairFiles(f"p{n:02d}", f"p{n:02d}", tmp_path / f"{n}.nii", {}) for n in range(23)]
    with pytest.raises(InputRefused) as refusal:
        check_pairs(pairs)
    lines = str(refusal.value).split("; ")
    assert len(lines) == 21
    assert lines[-1] == "and 3 more"


def test_one_patient_is_no_data_set(tmp_path: Path) -> None:
    pair = patient(tmp_path / "a")
    assert "only patient" in check_pairs([pair])[0]
    with pytest.raises(InputRefused, match="give two or more"):
        split([pair], 0.2, 0)
    with pytest.raises(InputRefused, match="no pairs"):
        check_pairs([])


def test_units_reach_every_scan(tmp_path: Path) -> None:
    for s, n in enumerate("ab"):
        patient(tmp_path / n, s, full=F * 2000 + s, low_drf20=L * 2000 + s)
    pairs = find_pairs(tmp_path, units="bqml", suv_factor=0.0005)
    assert check_pairs(pairs) == []
    low, full = read_pair(pairs[0], 20)
    np.testing.assert_allclose(full.suv, F, rtol=1e-5)
    np.testing.assert_allclose(low.suv, L, rtol=1e-5)


def some(count: int) -> list[PairFiles]:
    return [PairFiles(f"p{n:03d}", f"p{n:03d}", Path(f"p{n}"), {}) for n in range(count)]


def test_the_split_is_whole_deterministic_and_of_the_wanted_size() -> None:
    pairs = some(50)
    train, validation = split(pairs, 0.2, 7)
    assert len(validation) == 10
    assert sorted(train + validation, key=lambda p: p.patient) == pairs
    assert split(pairs[::-1], 0.2, 7) == (train, validation)
    assert split(pairs, 0.2, 8) != (train, validation)


def test_a_folder_whose_name_is_not_utf8_is_split_like_any_other() -> None:
    odd = PairFiles("caf\udce9", "caf\udce9", Path("caf\udce9"), {})
    train, validation = split([*some(3), odd], 0.5, 0)
    assert odd in train + validation


@pytest.mark.parametrize(("share", "count"), [(0.001, 1), (0.999, 9)])
def test_neither_side_is_empty(share: float, count: int) -> None:
    assert len(split(some(10), share, 0)[1]) == count


def test_a_patient_who_joins_hardly_changes_the_split() -> None:
    before, after = ({p.patient for p in split(some(n), 0.2, 0)[1]} for n in (50, 51))
    assert len(before - after) <= 1


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_that_is_none_is_wrong_usage(share: float) -> None:
    with pytest.raises(UsageError, match="validation share"):
        split(some(3), share, 0)


def test_nrrd_and_metaimage_pairs_are_found(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK", reason="the extra `formats` is not installed")
    for n, suffix in enumerate((".nrrd", ".mha")):
        (tmp_path / f"p{n}").mkdir()
        for name, volume in (("full", F), ("low_drf20", L)):
            write(PETImage(volume, AFFINE), tmp_path / f"p{n}" / f"{name}{suffix}")
        np.testing.assert_array_equal(read_pair(find_pairs(tmp_path)[n], 20)[0].suv, L)
