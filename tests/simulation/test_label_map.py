"""Anatomy from a label map: regions have their volumes in the map and the patient's uptake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.simulation.anatomy import NAMES, Grid
from petdiff.simulation.anatomy.description import Patient
from petdiff.simulation.labels.label_file import read_names
from petdiff.simulation.labels.label_map import LabelMap, draw_labelled_patient, render_labels
from petdiff.simulation.labels.label_names import structure_names, unknown_labels

LABEL = {name: label for label, name in NAMES.items()}
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
GRID = Grid((30, 26, 20), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0))  # the grid of `two_organs`


@pytest.fixture(scope="module")
def two_organs() -> LabelMap:
    labels = np.zeros((30, 26, 20), np.uint8)
    labels[5:14, 8:18, 5:15] = 1
    labels[18:25, 8:18, 5:15] = 7
    return LabelMap(labels, AFFINE, {1: "liver", 7: "lung_upper_lobe_left", 9: "spleen"})


@pytest.fixture(scope="module")
def patient(two_organs: LabelMap) -> Patient:
    return draw_labelled_patient(1, two_organs, lesions=False)


def test_regions_have_their_volume_and_uptake(patient: Patient, two_organs: LabelMap) -> None:
    phantom = render_labels(patient, two_organs, GRID)
    liver = phantom.labels == LABEL["liver"]
    assert liver.sum() == pytest.approx(9 * 10 * 10, rel=0.05)
    inner = phantom.activity_suv[7:12, 10:16, 7:13]
    assert inner.mean() == pytest.approx(patient.uptake["liver"], rel=0.15)
    lung = phantom.mu_per_cm[20:23, 10:16, 7:13]
    np.testing.assert_allclose(lung, 0.030, atol=1e-4)


def test_mean_activity_does_not_depend_on_the_voxel_size(
    patient: Patient, two_organs: LabelMap
) -> None:
    coarse = Grid((10, 8, 6), (8.0, 8.0, 8.0), (30.0, 40.0, 34.0))
    fine = Grid((40, 32, 24), (2.0, 2.0, 2.0), (27.0, 37.0, 31.0))
    a, b = (render_labels(patient, two_organs, grid) for grid in (coarse, fine))
    assert a.activity_suv.mean() == pytest.approx(b.activity_suv.mean(), rel=0.02)


@pytest.mark.parametrize(
    ("order", "flipped"), [((0, 1, 2), (0, 1)), ((1, 0, 2), ()), ((2, 0, 1), (0, 2))]
)
def test_the_phantom_does_not_depend_on_the_order_and_direction_of_a_maps_axes(
    patient: Patient, two_organs: LabelMap, order: tuple[int, ...], flipped: tuple[int, ...]
) -> None:
    expected = render_labels(patient, two_organs, two_organs.grid((6.0, 6.0, 6.0)))
    labels = np.flip(two_organs.labels, flipped)
    affine = two_organs.affine.copy()
    for axis in flipped:
        affine[:3, 3] += affine[:3, axis] * (labels.shape[axis] - 1)
        affine[:3, axis] *= -1
    turned = LabelMap(labels.transpose(order), affine[:, [*order, 3]], two_organs.names)
    grid = turned.grid((6.0, 6.0, 6.0))
    assert grid == two_organs.grid((6.0, 6.0, 6.0))
    phantom = render_labels(patient, turned, grid)
    np.testing.assert_allclose(phantom.activity_suv, expected.activity_suv, atol=1e-5)
    np.testing.assert_array_equal(phantom.labels, expected.labels)


def test_organs_of_a_tilted_map_have_their_position_and_volume(
    patient: Patient, two_organs: LabelMap
) -> None:
    angle = np.radians(20)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilted = LabelMap(two_organs.labels, tilt @ AFFINE, two_organs.names)
    grid = tilted.grid((4.0, 4.0, 4.0))
    liver = render_labels(patient, tilted, grid).labels == LABEL["liver"]
    assert liver.sum() == pytest.approx(9 * 10 * 10, rel=0.05)
    middle_mm = np.argwhere(liver).mean(axis=0) * 4 + grid.origin_mm
    np.testing.assert_allclose(middle_mm, (tilt @ AFFINE @ (9, 12.5, 9.5, 1))[:3], atol=1)


def test_grid_of_the_maps_voxel_size_is_the_maps_own(two_organs: LabelMap) -> None:
    padded = LabelMap(np.pad(two_organs.labels, 3), AFFINE, two_organs.names)
    grid = padded.grid((4.0, 4.0, 4.0))
    assert grid.shape == padded.labels.shape
    np.testing.assert_allclose(grid.affine, AFFINE)


def test_the_body_extends_beyond_the_first_and_last_slice(patient: Patient) -> None:
    labels = np.ones((20, 20, 12), np.uint8)
    cut = LabelMap(labels, AFFINE, {1: "liver"})
    grid = cut.grid((4.0, 4.0, 4.0))
    phantom = render_labels(patient, cut, grid)
    assert grid.shape[2] == 12  # the body extends further, but the image does not
    middle = (grid.shape[0] // 2, grid.shape[1] // 2)
    assert (phantom.mu_per_cm[middle] > 0.096).all()
    assert (phantom.labels[middle] == LABEL["liver"]).all()
    across_mm = (phantom.labels[:, middle[1], 6] > 0).sum() * 4
    # At the sides, the grid includes the assumed body.
    assert across_mm == pytest.approx(20 * 4 + 2 * (14 + 8), abs=8)
    assert not phantom.labels[0].any()
    np.testing.assert_allclose(np.mod(np.array(grid.origin_mm) / 4, 1), 0, atol=1e-9)


def test_no_body_is_assumed_around_a_map_with_skin(patient: Patient) -> None:
    labels = np.zeros((24, 24, 10), np.uint8)
    labels[6:18, 6:18] = 1
    labels[8:16, 8:16] = 2
    whole = LabelMap(labels, AFFINE, {1: "skin", 2: "liver"})
    phantom = render_labels(patient, whole, whole.grid((4.0, 4.0, 4.0)))
    np.testing.assert_array_equal(phantom.labels > 0, labels > 0)


def test_lymph_nodes_lie_next_to_their_vessels() -> None:
    labels = np.zeros((40, 40, 20), np.uint8)
    labels[5:35, 5:35] = 1
    labels[18:22, 18:22] = 2
    trunk = LabelMap(labels, AFFINE, {1: "muscle", 2: "iliac_artery_left"})
    found = draw_labelled_patient(7, trunk, tracer="psma").lesions
    assert len(found) == 3
    for node in found:
        assert node.organ == "iliac_node"
        away_mm = np.maximum(np.abs(np.array(node.centre_mm[:2]) - 78) - 8, 0)
        assert 3 < np.linalg.norm(away_mm) < 20


def test_a_body_is_assumed_around_the_labels(patient: Patient, two_organs: LabelMap) -> None:
    phantom = render_labels(patient, two_organs, GRID)
    assert {NAMES[label] for label in np.unique(phantom.labels) if label} == {
        "liver", "lung_left", "muscle", "subcutaneous_fat"
    }  # fmt: skip
    assert phantom.labels[15, 13, 10] == LABEL["muscle"]


def test_unnamed_and_unknown_labels_become_soft_tissue_and_are_reported() -> None:
    present = {1: "livr", 2: "flux_capacitor", 3: "", 4: "Left Lung", 5: "Vertebrae T1"}
    assert structure_names(present) == {
        1: "muscle", 2: "muscle", 3: "muscle", 4: "muscle", 5: "vertebrae_T1"
    }  # fmt: skip
    unknown = unknown_labels(present)
    assert list(unknown) == [1, 2, 3, 4]
    assert unknown[1] == "livr (did you mean liver?)"
    assert unknown[2] == "flux_capacitor"


def test_a_map_of_unknown_labels_only_is_refused() -> None:
    with pytest.raises(InputRefused, match="none of the 2 labels has a name that is known"):
        structure_names({1: "a", 2: "b"})


@pytest.mark.parametrize(
    ("file", "text"),
    [("n.json", '{"1": "liver", "7": "spleen"}'), ("n.csv", "1,liver\n7,spleen\n"),
     ("n.txt", "1 liver\n7 spleen\n"), ("n.tsv", "1\tliver\n\n7\tspleen"),
     ("n.tsv", "index\tname\tcolour\n1\tliver\tred\n7\tspleen\tblue\n"),
     ("n.csv", 'label;name\n1; "liver"\n7;spleen\n')],
)  # fmt: skip
def test_names_are_read_from_json_and_lines(tmp_path: Path, file: str, text: str) -> None:
    path = tmp_path / file
    path.write_text(text)
    assert read_names(path) == {1: "liver", 7: "spleen"}


@pytest.mark.parametrize("text", ["liver", "[1, 2]", ""])
def test_files_without_label_names_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(InputRefused, match=r"names\.json: no label names"):
        read_names(path)


@pytest.mark.real
def test_segmented_ct_becomes_a_patient(test_data: Path) -> None:
    import nibabel as nib

    file = nib.load(test_data / "torso_ct" / "totalsegmentator_example_seg.nii.gz")
    # Numbers of some of TotalSegmentator's classes; labels that are not named here are removed.
    names = {1: "spleen", 2: "kidney_right", 3: "kidney_left", 5: "liver", 51: "heart", 52: "aorta"}
    labels = np.asarray(file.dataobj)
    labelled = np.where(np.isin(labels, list(names)), labels, 0)
    label_map = LabelMap(labelled, np.asarray(file.affine, float), names)
    patient = draw_labelled_patient(2, label_map, tracer="dotatate")
    phantom = render_labels(patient, label_map, label_map.grid((5.0, 5.0, 5.0)))
    for label, name in names.items():
        volume_mm3 = float((labelled == label).sum()) * 27
        assert (phantom.labels == LABEL[name]).sum() * 125 == pytest.approx(volume_mm3, rel=0.12), (
            name
        )
