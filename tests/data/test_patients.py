"""Pairs of one patient are recognised, so that the split leaks no patient."""

from __future__ import annotations

from pathlib import Path

import pytest

from petdiff.data.pairs import find_pairs, split
from support.dicom_factory import pet_slices, save


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def pair(root: Path, *folders: str) -> None:
    files(root, *(f"{folder}/{n}.nii.gz" for folder in folders for n in ("full", "low_drf4")))


def same(root: Path) -> list[set[str]]:
    """Return the names of the pairs, a set for each patient."""
    pairs = find_pairs(root)
    patients = dict.fromkeys(one.patient for one in pairs)
    return [{one.name for one in pairs if one.patient == patient} for patient in patients]


@pytest.mark.parametrize(
    ("folders", "patients"),
    [
        (["P0/visit1", "P0/visit2", "P1"], [{"P0/visit1", "P0/visit2"}, {"P1"}]),
        (["P0", "P0/late", "P1/a/b"], [{"P0", "P0/late"}, {"P1/a/b"}]),
        (["sub-1/ses-1/pet", "sub-1/ses-2/pet"], [{"sub-1/ses-1/pet", "sub-1/ses-2/pet"}]),
        (["raw/sub-1/ses-1", "raw/sub-2"], [{"raw/sub-1/ses-1"}, {"raw/sub-2"}]),
    ],
)
def test_visits_of_a_patient_are_of_one_patient(
    tmp_path: Path, folders: list[str], patients: list[set[str]]
) -> None:
    pair(tmp_path, *folders)
    assert same(tmp_path) == patients


def test_files_named_after_patients_or_bids_subjects_share_a_folder(tmp_path: Path) -> None:
    names = ["p01", "p02", "sub-1_ses-1", "sub-1_ses-2"]
    files(tmp_path, *(f"in/{name}_{dose}.nii" for name in names for dose in ("full", "drf4")))
    assert same(tmp_path) == [
        {"in/p01"}, {"in/p02"}, {"in/sub 1 ses 1", "in/sub 1 ses 2"},
    ]  # fmt: skip


def test_a_patient_with_two_visits_is_in_one_part_of_the_split(tmp_path: Path) -> None:
    pair(tmp_path, *(f"P{n}/visit{v}" for n in range(4) for v in range(3)))
    said: list[str] = []
    pairs = find_pairs(tmp_path, notify=said.append)
    assert "4 patients with 12 full-dose scans as (a)" in said[0]
    for seed in range(5):
        train, held_out = split(pairs, 0.25, seed)
        assert len(train) == 9
        assert len({one.name.split("/")[0] for one in held_out}) == 1


def dicom(root: Path, **patients: str) -> None:
    for folder, patient in patients.items():
        for dose in ("full", "low_drf4"):
            save(pet_slices(PatientID=patient), root / folder.replace("_", "/") / dose)


def test_patient_ids_decide_if_they_differ(tmp_path: Path) -> None:
    dicom(tmp_path, first="DOE", again="DOE", site_1="ROE", site_2="POE")
    assert same(tmp_path) == [{"first", "again"}, {"site/1"}, {"site/2"}]


def test_equal_patient_ids_decide_nothing(tmp_path: Path) -> None:
    dicom(tmp_path, first="ANONYMOUS", second_1="ANONYMOUS", second_2="ANONYMOUS")
    assert same(tmp_path) == [{"first"}, {"second/1", "second/2"}]
