"""BIDS data sets: which files are scans, what their names say, and where weight and keys stand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.io import read, read_static, read_suv
from petdiff.io.bids_dataset import bids_scan, find_bids_scans
from support.bids_factory import FACTOR, KEYS, add_scan, body, data_set


def names(folder: Path) -> list[str]:
    return [scan.name for scan in find_bids_scans(folder)]


def test_scans_are_found_with_and_without_sessions_in_order(tmp_path: Path) -> None:
    root = data_set(tmp_path / "raw")
    expected = [
        "sub-01",
        "sub-02_ses-a",
        "sub-02_ses-b_trc-FDG_rec-osem_run-1",
        "sub-02_ses-b_run-2",
    ]
    for name in expected:
        add_scan(root, name)
    found = find_bids_scans(root)
    assert sorted(scan.name for scan in found) == sorted(expected)
    assert [scan.path for scan in found] == sorted(scan.path for scan in found)
    assert names(root / "sub-02") == [n for n in [s.name for s in found] if n.startswith("sub-02")]
    assert names(root / "sub-02" / "ses-a") == ["sub-02_ses-a"]
    assert names(root / "sub-02" / "ses-a" / "pet") == ["sub-02_ses-a"]
    assert names(root / "sub-01") == ["sub-01"]


def test_the_labels_of_a_name_are_kept(tmp_path: Path) -> None:
    path = add_scan(data_set(tmp_path), "sub-02_ses-b_trc-FDG_rec-osem_run-1")
    scan = bids_scan(path)
    assert scan is not None
    assert scan.root == tmp_path
    assert scan.relative == f"sub-02/ses-b/pet/{path.name}"
    assert dict(scan.entities)["rec"] == "osem"
    assert scan.described("denoised") == "sub-02_ses-b_trc-FDG_rec-osem_run-1_desc-denoised"


def test_a_described_scan_keeps_its_description(tmp_path: Path) -> None:
    scan = bids_scan(add_scan(data_set(tmp_path), "sub-1_desc-mc"))
    assert scan is not None
    assert scan.described("denoised") == "sub-1_desc-mcDenoised"


def test_what_is_no_scan_of_the_data_set_is_left_out(tmp_path: Path) -> None:
    root = data_set(tmp_path)
    path = add_scan(root, "sub-01")
    content = path.read_bytes()
    for name in (
        "sub-01/pet/sub-01_desc-uncertainty_pet.nii.gz",  # no scan
        "sub-01/pet/sub-02_pet.nii.gz",  # of another subject
        "sub-01/pet/sub-01_ses-1_pet.nii.gz",  # of a session, outside its folder
        "sub-01/pet/scan_pet.nii.gz",
        "sub-01/pet/sub-01_pet.nii.gz.part",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "derivatives/other/sub-01/pet/sub-01_desc-mc_pet.nii.gz",
        "sourcedata/sub-01/pet/sub-01_pet.nii.gz",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    assert names(root) == ["sub-01"]
    assert names(root / "derivatives" / "other") == ["sub-01_desc-mc"]


def test_a_data_set_without_a_description_is_found_by_its_folders(tmp_path: Path) -> None:
    add_scan(tmp_path, "sub-01")
    assert names(tmp_path) == ["sub-01"]


def test_folders_of_other_things_hold_no_bids_scans(tmp_path: Path) -> None:
    (tmp_path / "pet").mkdir()
    (tmp_path / "pet" / "scan_pet.nii.gz").touch()
    assert names(tmp_path) == []
    assert names(tmp_path / "absent") == []


def test_a_folder_of_one_scan_is_read(tmp_path: Path) -> None:
    root = data_set(tmp_path)
    add_scan(root, "sub-01")
    image = read_static(root)
    assert image.in_suv
    np.testing.assert_allclose(image.values, body() * FACTOR, rtol=1e-5)
    assert read_suv(root / "sub-01").factor == pytest.approx(FACTOR)


def test_a_folder_of_several_scans_is_refused_with_their_names(tmp_path: Path) -> None:
    root = data_set(tmp_path)
    for number in range(30):
        add_scan(root, f"sub-{number:02d}")
    with pytest.raises(InputRefused, match=r"30 PET scans.*sub-00_pet\.nii\.gz.*and 10 more"):
        read(root)


def test_links_out_of_the_data_set_are_read_with_its_sidecars(tmp_path: Path) -> None:
    """DataLad keeps the content elsewhere; a link to what was not fetched is refused by name."""
    root = data_set(tmp_path / "raw")
    path = add_scan(root, "sub-01", None)
    (root / "pet.json").write_text(json.dumps(KEYS))
    content = tmp_path / "annex" / "object.nii.gz"
    content.parent.mkdir()
    path.rename(content)
    path.symlink_to(content)
    assert read_suv(path).factor == pytest.approx(FACTOR)
    content.unlink()
    assert names(root) == ["sub-01"]
    with pytest.raises(InputRefused, match="does not exist"):
        read(path)


def test_the_most_special_sidecar_wins(tmp_path: Path) -> None:
    root = data_set(tmp_path)
    path = add_scan(root, "sub-01_ses-1", {})
    for name, weight in (
        ("pet.json", 10), ("sub-01/sub-01_pet.json", 20), ("sub-01/ses-1/pet/sub-01_pet.json", 30),
    ):  # fmt: skip
        (root / name).write_text(json.dumps(KEYS | {"PatientWeight": weight}))
        assert read_suv(path).inputs["weight kg"] == weight
    path.with_name("sub-01_ses-1_pet.json").write_text('{"PatientWeight": 40}')
    assert read_suv(path).inputs["weight kg"] == 40


WITHOUT_WEIGHT = {key: value for key, value in KEYS.items() if key != "PatientWeight"}


@pytest.mark.parametrize(
    ("column", "text", "beside", "weight_kg"),
    [
        ("weight", "71.5", None, 71.5),
        ("Weight (kg)", "71.5", None, 71.5),
        ("body_weight_kg", "71.5", None, 71.5),
        ("patient_weight", "71.5", {"patient_weight": {"Units": "kg"}}, 71.5),
        ("weight", "71500", {"weight": {"Units": "g"}}, 71.5),
        ("weight_lb", "100", None, 45.359237),
        ("weight", "100", {"weight": {"Units": "stone"}}, None),
        ("weight", "n/a", None, None),
        ("birth_weight", "3.2", None, None),
    ],
)
def test_weight_from_the_table_of_participants(
    tmp_path: Path, column: str, text: str, beside: object, weight_kg: float | None
) -> None:
    root = data_set(tmp_path)
    path = add_scan(root, "sub-01", WITHOUT_WEIGHT)
    (root / "participants.tsv").write_text(
        f"participant_id\tage\t{column}\nsub-02\t40\t99\nsub-01\t50\t{text}\n"
    )
    if beside is not None:
        (root / "participants.json").write_text(json.dumps(beside))
    if weight_kg is None:
        assert "PatientWeight" in read_static(path).no_suv_reason
    else:
        assert read_suv(path).inputs["weight kg"] == pytest.approx(weight_kg)


def test_the_weight_of_the_session_comes_before_the_participants(tmp_path: Path) -> None:
    root = data_set(tmp_path)
    path = add_scan(root, "sub-01_ses-2", WITHOUT_WEIGHT | {"PatientWeight": "n/a"})
    (root / "participants.tsv").write_text("participant_id\tweight\nsub-01\t80\n")
    assert read_suv(path).inputs["weight kg"] == 80
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(
        "session_id\tweight\nses-1\t79\nses-2\t75\n"
    )
    assert read_suv(path).inputs["weight kg"] == 75
    (root / "sub-01" / "ses-2" / "sub-01_ses-2_scans.tsv").write_text(
        f"filename\tweight\npet/{path.name}\t74\n"
    )
    assert read_suv(path).inputs["weight kg"] == 74


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"participant_id\nsub-01\n", b"\t\t\n"])
def test_damaged_tables_give_no_weight(tmp_path: Path, content: bytes) -> None:
    root = data_set(tmp_path)
    path = add_scan(root, "sub-01", WITHOUT_WEIGHT)
    (root / "participants.tsv").write_bytes(content)
    assert "PatientWeight" in read_static(path).no_suv_reason
