"""Every PET scan below a folder is found once, and a damaged file concerns its own folder only."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.io import read
from petdiff.io.scan_search import FoundScan, find_scans, with_unique_names
from support.bids_factory import add_scan, data_set
from support.dicom_factory import pet_slices, save, uids_of
from support.many_scans import cohort, volume

CT = "1.2.840.10008.5.1.4.1.1.2"


def names(folder: Path) -> list[str]:
    return [scan.name for scan in find_scans(folder).scans]


def test_dicom_in_any_nesting_and_volume_files_are_found(tmp_path: Path) -> None:
    found = find_scans(cohort(tmp_path / "in"))
    assert [scan.name for scan in found.scans] == ["late_p1", "p2", "p3_study_series", "p4"]
    assert [file.name for file in found.left_out] == ["p1_mask.nii.gz"]


def test_several_series_of_a_folder_are_told_apart_by_their_number_and_not_by_their_text(
    tmp_path: Path,
) -> None:
    for number in (4, 7):
        slices = pet_slices(SeriesNumber=number, SeriesDescription="DOE JOHN")
        save(slices, tmp_path / "p1", prefix=str(number))
    found = find_scans(tmp_path).scans
    assert [scan.name for scan in found] == ["p1_series-4", "p1_series-7"]
    assert len({scan.series for scan in found}) == 2


def test_series_without_a_number_have_names_that_follow_from_their_uid(tmp_path: Path) -> None:
    for part in "ab":
        save(pet_slices(SeriesNumber=None), tmp_path / "p1", prefix=part)
    first = names(tmp_path)
    assert len(set(first)) == 2
    assert first == names(tmp_path)


def test_series_in_several_folders_is_one_scan(tmp_path: Path) -> None:
    slices = pet_slices()
    for n, part in enumerate((slices[:3], slices[3:])):
        save(part, tmp_path / "p1" / f"part{n}")
    (scan,) = find_scans(tmp_path).scans
    whole = read(scan.path, series=scan.series, recursive=scan.recursive)
    assert whole.shape[2] == len(slices)


def test_equal_images_in_two_folders_are_two_scans(tmp_path: Path) -> None:
    slices = pet_slices()
    for name in ("p1", "p2"):
        save(slices, tmp_path / name)
    assert names(tmp_path) == ["p1", "p2"]


@pytest.mark.parametrize("other", [{"PatientID": "T2"}, {"StudyInstanceUID": "1.2.3"}])
def test_scans_of_two_patients_or_studies_with_one_series_uid_are_two_scans(
    tmp_path: Path, other: dict[str, str]
) -> None:
    first = pet_slices()
    save(first, tmp_path / "p1")
    pixels = np.ones((3, 6, 7), dtype=np.int16)
    save(pet_slices(pixels, **uids_of(first[0]) | other), tmp_path / "p2")
    found = find_scans(tmp_path).scans
    assert [scan.name for scan in found] == ["p1", "p2"]
    read_again = [read(s.path, series=s.series, recursive=s.recursive) for s in found]
    assert [image.shape[2] for image in read_again] == [5, 3]


def test_projections_of_a_scan_are_no_scans(tmp_path: Path) -> None:
    """A turning MIP lies beside its scan, in a folder of its own, or in the zip of both."""
    slices, mip = pet_slices(), pet_slices(SeriesType=["REPROJECTION", "IMAGE"])
    save(mip, save(slices, tmp_path / "in" / "p1"), prefix="mip")
    save(mip, tmp_path / "in" / "p1_mip")
    shutil.make_archive(str(tmp_path / "in" / "p2"), "zip", tmp_path / "in" / "p1")
    found = find_scans(tmp_path / "in").scans
    assert [scan.name for scan in found] == ["p1", "p2"]
    assert {scan.series for scan in found} == {slices[0].SeriesInstanceUID}


def test_zips_beside_loose_series_are_found(tmp_path: Path) -> None:
    save(pet_slices(), tmp_path / "in" / "p1")
    packed = save(pet_slices(), tmp_path / "packed")
    shutil.make_archive(str(tmp_path / "in" / "p2"), "zip", packed)
    (tmp_path / "in" / "p3.zip").write_bytes(b"PK\x03\x04 broken")
    found = find_scans(tmp_path / "in")
    assert [scan.name for scan in found.scans] == ["p1", "p2", "p3"]
    assert [scan.name for scan in found.readable] == ["p1", "p2"]


def test_subjects_of_a_bids_data_set_are_found_and_its_derivatives_are_not(tmp_path: Path) -> None:
    root = data_set(tmp_path / "set")
    for subject in ("01", "02"):
        add_scan(root, f"sub-{subject}")
    volume(root / "derivatives" / "old" / "x.nii.gz")
    assert [scan.path.name.split("_")[0] for scan in find_scans(root).scans] == ["sub-01", "sub-02"]


def test_ct_results_hidden_files_and_the_output_are_no_scans(tmp_path: Path) -> None:
    save(pet_slices(SOPClassUID=CT, Modality="CT"), tmp_path / "ct")
    for folder in ("done", ".hidden", "out"):
        (tmp_path / folder).mkdir()
        volume(tmp_path / folder / "denoised.nii.gz")
    (tmp_path / "done" / "run.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("no scan")
    assert find_scans(tmp_path, without=tmp_path / "out").scans == []


def test_damaged_file_refuses_the_scans_of_its_folder_only(tmp_path: Path) -> None:
    sound, broken = save(pet_slices(), tmp_path / "a"), save(pet_slices(), tmp_path / "b")
    first = min(broken.iterdir())
    first.write_bytes(first.read_bytes()[:-20])
    outcomes = {}
    for scan in find_scans(tmp_path).scans:
        try:
            read(scan.path, series=scan.series, recursive=scan.recursive)
            outcomes[scan.path] = "read"
        except InputRefused as problem:
            outcomes[scan.path] = str(problem)
    assert outcomes[sound] == "read"
    assert first.name in outcomes[broken]


def test_folder_of_files_that_are_only_named_like_dicom_is_found_as_damaged(tmp_path: Path) -> None:
    (tmp_path / "p1").mkdir()
    (tmp_path / "p1" / "IM1.dcm").write_bytes(b"")
    (scan,) = find_scans(tmp_path).scans
    assert scan.is_damaged
    with pytest.raises(InputRefused, match=r"IM1\.dcm"):
        read(scan.path, series=scan.series, recursive=scan.recursive)


def test_linked_folders_are_followed_without_a_circle(tmp_path: Path) -> None:
    volume(tmp_path / "elsewhere" / "p1.nii.gz")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    assert names(tmp_path / "in") == ["link_p1"]


def test_no_two_names_are_equal_whatever_the_case_and_none_is_too_long() -> None:
    paths = ["a/x", "A/X", "b/y", "b/" + "ä" * 200]
    scans = [FoundScan(path.replace("/", "_"), Path(path)) for path in paths]
    named = [scan.name for scan in with_unique_names(scans)]
    assert len({name.casefold() for name in named}) == len(scans)
    assert named[2] == "b_y"
    assert max(len(name.encode()) for name in named) < 170


def test_read_without_recursion_leaves_out_the_folders_below(tmp_path: Path) -> None:
    save(pet_slices(), tmp_path / "below")
    upper = save(pet_slices(np.ones((3, 6, 7), np.int16)), tmp_path)
    assert read(upper, recursive=False).shape[2] == 3
