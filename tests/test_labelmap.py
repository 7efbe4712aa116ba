"""Anatomy from a label map: its regions keep their volumes and get the patient's uptake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petdiff.clinic.anatomy import NAMES, Grid
from petdiff.clinic.labelfile import read_names
from petdiff.clinic.labelmap import LabelMap, draw_labelled_patient, render_labels
from petdiff.clinic.labelnames import structure_names, unknown_labels
from petdiff.errors import InputRefused

LABEL = {name: label for label, name in NAMES.items()}
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


@pytest.fixture(scope="module")
def two_organs() -> LabelMap:
    labels = np.zeros((30, 26, 20), np.uint8)
    labels[5:14, 8:18, 5:15] = 1
    labels[18:25, 8:18, 5:15] = 7
    return LabelMap(labels, AFFINE, {1: "liver", 7: "lung_upper_lobe_left", 9: "spleen"})


def test_regions_keep_their_volume_and_uptake(two_organs: LabelMap) -> None:
    patient = draw_labelled_patient(1, two_organs, lesions=False)
    phantom = render_labels(patient, two_organs, two_organs.grid((4.0, 4.0, 4.0)))
    liver = phantom.labels == LABEL["liver"]
    assert liver.sum() == pytest.approx(9 * 10 * 10, rel=0.05)
    inner = phantom.activity_suv[7:12, 10:16, 7:13]
    assert inner.mean() == pytest.approx(patient.uptake["liver"], rel=0.15)
    lung = phantom.mu_per_cm[20:23, 10:16, 7:13]
    np.testing.assert_allclose(lung, 0.030, atol=1e-4)


def test_finer_voxels_hold_the_same_activity(two_organs: LabelMap) -> None:
    patient = draw_labelled_patient(1, two_organs, lesions=False)
    coarse = Grid((10, 8, 6), (8.0, 8.0, 8.0), (30.0, 40.0, 34.0))
    fine = Grid((40, 32, 24), (2.0, 2.0, 2.0), (27.0, 37.0, 31.0))
    a, b = (render_labels(patient, two_organs, grid) for grid in (coarse, fine))
    assert a.activity_suv.mean() == pytest.approx(b.activity_suv.mean(), rel=0.02)


def test_body_is_guessed_around_the_labels(two_organs: LabelMap) -> None:
    patient = draw_labelled_patient(1, two_organs, lesions=False)
    phantom = render_labels(patient, two_organs, two_organs.grid((4.0, 4.0, 4.0)))
    assert {NAMES[label] for label in np.unique(phantom.labels) if label} == {
        "liver", "lung_left", "muscle", "subcutaneous_fat"
    }  # fmt: skip
    assert phantom.labels[15, 13, 10] == LABEL["muscle"]


def test_unnamed_and_unknown_labels_become_soft_tissue_and_are_told() -> None:
    present = {1: "livr", 2: "flux_capacitor", 3: "", 4: "Left Lung", 5: "Vertebrae T1"}
    assert structure_names(present) == {
        1: "muscle", 2: "muscle", 3: "muscle", 4: "muscle", 5: "vertebrae_T1"
    }  # fmt: skip
    told = unknown_labels(present)
    assert list(told) == [1, 2, 3, 4]
    assert told[1] == "livr (did you mean liver?)"
    assert told[2] == "flux_capacitor"


def test_a_map_of_unknown_labels_only_is_refused() -> None:
    with pytest.raises(InputRefused, match="none of the 2 labels has a name that is known"):
        structure_names({1: "a", 2: "b"})


@pytest.mark.parametrize(
    ("file", "text"),
    [("n.json", '{"1": "liver", "7": "spleen"}'), ("n.csv", "1,liver\n7,spleen\n"),
     ("n.txt", "1 liver\n7 spleen\n"), ("n.tsv", "1\tliver\n\n7\tspleen")],
)  # fmt: skip
def test_names_are_read_from_json_and_lines(tmp_path: Path, file: str, text: str) -> None:
    path = tmp_path / file
    path.write_text(text)
    assert read_names(path) == {1: "liver", 7: "spleen"}


@pytest.mark.parametrize("text", ["liver", "[1, 2]", ""])
def test_names_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(InputRefused, match=r"names\.json: no label names"):
        read_names(path)


@pytest.mark.real
def test_segmented_ct_becomes_a_patient(test_data: Path) -> None:
    import nibabel as nib

    file = nib.load(test_data / "torso_ct" / "totalsegmentator_example_seg.nii.gz")
    # TotalSegmentator's numbers of a few classes; what is not named here is left out.
    names = {1: "spleen", 2: "kidney_right", 3: "kidney_left", 5: "liver", 51: "heart", 52: "aorta"}
    labels = np.asarray(file.dataobj)
    kept = np.where(np.isin(labels, list(names)), labels, 0)
    label_map = LabelMap(kept, np.asarray(file.affine, float), names)
    patient = draw_labelled_patient(2, label_map, tracer="dotatate")
    phantom = render_labels(patient, label_map, label_map.grid((5.0, 5.0, 5.0)))
    for label, name in names.items():
        litres = float((kept == label).sum()) * 27
        assert (phantom.labels == LABEL[name]).sum() * 125 == pytest.approx(litres, rel=0.12), name
