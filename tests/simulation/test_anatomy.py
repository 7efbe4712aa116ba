"""Virtual patients: reproducible, rendered consistently on any grid, with real organ volumes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from petdiff.errors import UsageError
from petdiff.simulation.anatomy import NAMES, Grid, Phantom, patient_grid, render, structures
from petdiff.simulation.anatomy.balance import fatness_for_weight
from petdiff.simulation.anatomy.description import Lengths, Patient
from petdiff.simulation.anatomy.frame import Frame
from petdiff.simulation.anatomy.render import _texture, displaced
from petdiff.simulation.patient.draw import ORGAN_VOLUME, draw_patient, with_uptake

LABEL = {name: label for label, name in NAMES.items()}
MALE_ONLY = {"prostate", "seminal_vesicles", "testes"}
FEMALE_ONLY = {"uterus", "ovaries", "breast_glands"}

# Masses of the reference man and woman in grams, with contents if the label includes them (ICRP
# Publication 89, 2002, table 2.8). All densities are within 5 % of 1 g/ml.
ICRP_89_G = {
    "brain": (1450, 1300),
    "liver": (1800, 1400),
    "spleen": (150, 130),
    "kidney": (310, 275),
    "pancreas": (140, 120),
    "heart": (840, 620),
    "stomach": (400, 370),
    "gallbladder": (68, 56),
    "thyroid_gland": (20, 17),
    "parotid_gland": (50, 41),
    "eyes": (15, 15),
}
PARTS = {
    "brain": ("cerebrum", "cerebellum", "brainstem", "deep_nuclei"),
    "heart": ("heart_",),  # wall and chambers, not the fat around them
}


@pytest.fixture(scope="module")
def woman() -> Patient:
    return draw_patient(1, lesions=False)


@pytest.fixture(scope="module")
def man() -> Patient:
    return draw_patient(3, tracer="psma")


def reference(patient: Patient, sex: str) -> Patient:
    """Return the patient in a body of reference size, with every organ of its mean volume."""
    female = sex == "female"
    height, weight = (1630.0, 60.0) if female else (1760.0, 73.0)
    head = 270 * (0.965 if female else 1.0)
    trunk = (height - head) * 0.379
    stature = height / 1760
    body = patient.model_copy(
        update={
            "sex": sex,
            "height_mm": height,
            "weight_kg": weight,
            "lengths_mm": Lengths(legs=height - head - trunk, trunk=trunk, head=head),
            "width": stature**0.8 * (0.95 if female else 1.0),
            "depth": stature**0.6 * (0.97 if female else 1.0),
            "head": 0.965 if female else 1.0,
            "build": 0.985 if female else 1.03,
            "volume": {name: ratio if female else 1.0 for name, (ratio, _) in ORGAN_VOLUME.items()},
            "shift_mm": {},
            "lesions": (),
        }
    )
    return body.model_copy(update={"fatness": fatness_for_weight(body)})


@pytest.fixture(scope="module")
def references(woman: Patient) -> dict[str, tuple[Grid, Phantom]]:
    return {sex: whole(reference(woman, sex), 4.0) for sex in ("male", "female")}


def whole(patient: Patient, voxel_mm: float) -> tuple[Grid, Phantom]:
    grid = patient_grid(patient, (voxel_mm, voxel_mm, voxel_mm))
    return grid, render(patient, grid)


def volume_ml(phantom: Phantom, grid: Grid, *starts: str) -> float:
    labels = [label for label, name in NAMES.items() if name.startswith(starts)]
    return float(np.isin(phantom.labels, labels).sum() * np.prod(grid.voxel_mm)) / 1000


def test_same_seed_gives_same_description_and_bytes(man: Patient) -> None:
    again = draw_patient(3, tracer="psma")
    assert again == man
    grid = Grid((40, 30, 20), (6.0, 6.0, 6.0), (-120.0, -90.0, 1150.0))
    a, b = render(man, grid), render(again, grid)
    assert a.activity_suv.tobytes() == b.activity_suv.tobytes()
    assert a.mu_per_cm.tobytes() == b.mu_per_cm.tobytes()
    assert a.labels.tobytes() == b.labels.tobytes()


def test_json_reproduces_the_images(man: Patient) -> None:
    replayed = Patient.model_validate(json.loads(man.model_dump_json()))
    assert replayed == man
    grid = Grid((40, 30, 12), (6.0, 6.0, 6.0), (-120.0, -90.0, 1400.0))
    np.testing.assert_array_equal(
        render(replayed, grid).activity_suv, render(man, grid).activity_suv
    )


def test_another_seed_gives_another_body(man: Patient, woman: Patient) -> None:
    assert woman.sex == "female"
    assert woman.height_mm != man.height_mm
    assert set(woman.volume.values()).isdisjoint(man.volume.values())


@pytest.mark.parametrize("start", [0, 7, 33])
def test_rendered_part_equals_the_crop_of_the_whole(man: Patient, start: int) -> None:
    grid = Grid((44, 32, 48), (5.5, 5.5, 4.0), (-118.0, -85.0, 1080.0))
    whole_phantom, part = render(man, grid), render(man, grid.part(start, start + 9))
    crop = whole_phantom.part(start, start + 9)
    np.testing.assert_allclose(part.activity_suv, crop.activity_suv, rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(part.mu_per_cm, crop.mu_per_cm, atol=1e-4)
    assert np.mean(part.labels != crop.labels) < 1e-3


def test_activity_does_not_depend_on_the_voxel_size(man: Patient) -> None:
    """A coarse voxel has the mean of the fine voxels inside it, because edges are soft."""
    coarse = Grid((50, 40, 10), (4.0, 4.0, 4.0), (-98.0, -78.0, 1102.0))
    fine = Grid((100, 80, 20), (2.0, 2.0, 2.0), (-99.0, -79.0, 1101.0))
    a, b = render(man, coarse), render(man, fine)
    assert a.activity_suv.mean() == pytest.approx(b.activity_suv.mean(), rel=0.02)
    assert a.mu_per_cm.mean() == pytest.approx(b.mu_per_cm.mean(), rel=0.01)


def test_every_structure_is_present(references: dict[str, tuple[Grid, Phantom]]) -> None:
    for sex, missing in (("female", MALE_ONLY), ("male", FEMALE_ONLY)):
        found = {NAMES[label] for label in np.unique(references[sex][1].labels) if label}
        assert set(NAMES.values()) - found - missing <= {"lesion"}
        assert not found & missing


def test_there_are_about_sixty_structures_or_more() -> None:
    assert len(NAMES) == len(set(NAMES.values())) >= 60


def test_nothing_lies_outside_the_skin(man: Patient) -> None:
    grid, phantom = whole(man, 6.0)
    outline = structures(man)[0].shape.distance(displaced(man, grid))
    assert not phantom.activity_suv[outline > 3.0].any()
    assert np.all(phantom.labels[outline < -3.0] > 0)
    organs = ~np.isin(phantom.labels, [0, LABEL["skin"], LABEL["subcutaneous_fat"]])
    assert np.all(outline[organs] < 0)


def test_volume_of_the_body_is_that_of_its_weight(woman: Patient) -> None:
    grid, phantom = whole(woman, 6.0)
    litres = volume_ml(phantom, grid, "") / 1000
    assert litres == pytest.approx(woman.weight_kg, rel=0.03)


def test_activity_in_the_body_is_the_injected_less_the_excreted(woman: Patient) -> None:
    grid, phantom = whole(woman, 5.0)
    activity_suv_l = phantom.activity_suv.sum(dtype=np.float64) * np.prod(grid.voxel_mm) * 1e-6
    assert activity_suv_l / woman.weight_kg == pytest.approx(1 - woman.excreted_fraction, rel=0.02)


def test_another_uptake_keeps_the_activity_of_the_body(woman: Patient) -> None:
    hot = with_uptake(woman, woman.uptake | {"marrow": 5 * woman.uptake["marrow"]})
    grid, phantom = whole(hot, 7.0)
    activity_suv_l = phantom.activity_suv.sum(dtype=np.float64) * np.prod(grid.voxel_mm) * 1e-6
    assert activity_suv_l / woman.weight_kg == pytest.approx(1 - woman.excreted_fraction, rel=0.02)
    assert hot.activity_scale < woman.activity_scale
    assert (
        hot.model_copy(update={"uptake": woman.uptake, "activity_scale": woman.activity_scale})
        == woman
    )


@pytest.mark.parametrize("sex", ["male", "female"])
def test_reference_bodies_have_the_organ_volumes_of_icrp_89(
    references: dict[str, tuple[Grid, Phantom]], sex: str
) -> None:
    grid, phantom = references[sex]
    for organ, grams in ICRP_89_G.items():
        starts = PARTS.get(organ, (organ,))
        expected = grams[sex == "female"]
        assert volume_ml(phantom, grid, *starts) == pytest.approx(expected, rel=0.2), organ
    muscle, fat = volume_ml(phantom, grid, "muscle"), volume_ml(phantom, grid, "subcut", "visceral")
    assert muscle / 1000 == pytest.approx(29.0 if sex == "male" else 17.5, rel=0.15)
    assert fat / 1000 == pytest.approx(18.2 if sex == "male" else 22.5, rel=0.15)


def test_attenuation_is_that_of_the_tissues(man: Patient) -> None:
    grid = Grid((60, 40, 30), (5.0, 5.0, 5.0), (-147.0, -97.0, 1280.0))
    phantom = render(man, grid)
    assert phantom.mu_per_cm.min() >= 0
    assert phantom.mu_per_cm.max() <= 0.155
    lung = phantom.mu_per_cm[phantom.labels == LABEL["lung_right"]]
    assert np.median(lung) == pytest.approx(0.030, abs=1e-4)


def test_cortex_has_higher_uptake_than_white_matter_and_is_folded(woman: Patient) -> None:
    patient = woman
    top = patient.height_mm
    grid = Grid((40, 48, 40), (4.0, 4.0, 4.0), (-78.0, -94.0, top - 180))
    phantom = render(patient, grid)
    grey, white = (phantom.labels == LABEL[f"cerebrum_{m}"] for m in ("grey", "white"))
    assert phantom.activity_suv[grey].mean() > 1.8 * phantom.activity_suv[white].mean()
    assert 0.6 < grey.sum() / white.sum() < 1.7


def test_arms_have_the_position_of_the_description(man: Patient) -> None:
    up, down = (man.model_copy(update={"arms": arms}) for arms in ("up", "down"))
    reach_up, reach_down = (structures(p)[0].shape.bounds[1][2] for p in (up, down))
    assert reach_up > man.height_mm + 80
    assert reach_down < man.height_mm + 30


def test_extent_limits_the_grid(man: Patient) -> None:
    torso = patient_grid(man.model_copy(update={"extent": "torso"}), (4.0, 4.0, 4.0))
    body = patient_grid(man, (4.0, 4.0, 4.0))
    assert torso.shape[2] < 0.8 * body.shape[2]


def test_unknown_extent_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="unknown extent 'leg'"):
        draw_patient(1, extent="leg")


def test_breathing_blurs_only_near_the_dome_of_the_liver(man: Patient) -> None:
    no_breathing, deep_breathing = (
        man.model_copy(update={"breathing_mm": mm}) for mm in (0.0, 16.0)
    )
    grid = Grid((50, 40, 60), (4.0, 4.0, 4.0), (-20.0, -80.0, 1090.0))
    still, breathing = render(no_breathing, grid), render(deep_breathing, grid)
    changed = np.abs(breathing.activity_suv - still.activity_suv).max(axis=(0, 1))
    heights = grid.origin_mm[2] + 4.0 * np.arange(60)
    top = heights[(still.labels == LABEL["liver"]).any(axis=(0, 1))].max()
    assert changed[np.abs(heights - top) < 12].max() > 0.3
    assert changed[heights < top - 160].max(initial=0) < 1e-3
    # The edge is soft, but the total activity is unchanged.
    total = float(still.activity_suv.sum())
    assert float(breathing.activity_suv.sum()) == pytest.approx(total, rel=0.01)


def test_hands_have_fingers(woman: Patient) -> None:
    down = woman.model_copy(update={"arms": "down"})
    low, high = (float(Frame(down).z(z)) for z in (690, 760))
    x = float(Frame(down).point((236.0, 0.0, 700.0))[0])
    grid = Grid((40, 64, 28), (2.5, 2.5, 2.5), (x - 50, -60.0, low))
    phantom = render(down, grid)
    assert low + 28 * 2.5 == pytest.approx(high, abs=10)
    fingers = [ndimage.label(phantom.labels[:, :, k] > 0)[1] for k in range(28)]
    assert max(fingers) >= 4


def test_fat_lies_between_the_muscles_of_the_thigh(woman: Patient) -> None:
    lean = structures(woman)[2].shape
    z = float(Frame(woman).z(720))
    grid = Grid((110, 70, 4), (4.0, 4.0, 4.0), (-218.0, -138.0, z))
    phantom = render(woman, grid)
    inside = lean.distance(displaced(woman, grid)) < -4
    fat, muscle = (phantom.labels[inside] == LABEL[n] for n in ("subcutaneous_fat", "muscle"))
    assert 0.02 < fat.mean() < 0.4
    assert muscle.mean() > 0.4


def test_texture_has_no_dominant_spatial_frequency(man: Patient) -> None:
    """No spatial frequency has a large part of the texture's power."""
    liver = next(s for s in structures(man) if s.name == "liver")
    grid = Grid((64, 64, 64), (4.0, 4.0, 4.0), (-128.0, -128.0, 1000.0))
    texture = _texture(man, liver, displaced(man, grid, 0.0)) - 1
    window = np.hanning(64)
    spectrum = np.abs(np.fft.rfftn(texture * np.multiply.outer(np.outer(window, window), window)))
    peak = (
        ndimage.uniform_filter(spectrum**2, 3).max() * 27
    )  # a wave spreads over neighbouring frequencies
    assert peak < 0.12 * 2 * (spectrum**2).sum()
