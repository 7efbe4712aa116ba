"""Lesions have the position, size and uptake of their record, and change nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from petdiff.simulation.anatomy import NAMES, Grid, patient_grid, render
from petdiff.simulation.anatomy.description import Lesion, Patient
from petdiff.simulation.anatomy.lesions import DISEASES, RADIUS_MM, draw_lesions
from petdiff.simulation.patient.draw import draw_patient

LESION = next(label for label, name in NAMES.items() if name == "lesion")
SEED = 4  # the patient of this seed has lesions
CENTRE = (75.0, 0.0, 1200.0)


@pytest.fixture(scope="module")
def patient() -> Patient:
    return draw_patient(SEED, tracer="dotatate")


@pytest.fixture(scope="module")
def coarse(patient: Patient) -> tuple[Grid, NDArray[np.uint8]]:
    without_lesions = patient.model_copy(update={"lesions": ()})
    grid = patient_grid(without_lesions, (8.0, 8.0, 8.0))
    return grid, render(without_lesions, grid).labels


def with_lesion(patient: Patient, **values: object) -> Patient:
    lesion = Lesion(centre_mm=CENTRE, radius_mm=15.0, suv=20.0, organ="liver", **values)  # type: ignore[arg-type]
    return patient.model_copy(update={"lesions": (lesion,)})


def around(voxel_mm: float = 2.0) -> Grid:
    low = tuple(c - 26 for c in CENTRE)
    high = tuple(c + 26 for c in CENTRE)
    return Grid.around(low, high, (voxel_mm, voxel_mm, voxel_mm))  # type: ignore[arg-type]


def test_the_patient_without_lesions_is_otherwise_the_same(patient: Patient) -> None:
    without_lesions = draw_patient(patient.seed, tracer="dotatate", lesions=False)
    assert without_lesions.lesions == ()
    assert without_lesions == patient.model_copy(update={"lesions": ()})


def test_images_with_and_without_lesions_differ_only_at_the_lesions(patient: Patient) -> None:
    grid = patient_grid(patient, (6.0, 6.0, 6.0))
    with_lesions, without_lesions = (
        render(patient, grid),
        render(patient.model_copy(update={"lesions": ()}), grid),
    )
    changed = with_lesions.activity_suv != without_lesions.activity_suv
    assert changed.any()
    points = np.stack(np.meshgrid(*grid.axes_mm, indexing="ij"), axis=-1)
    near = np.zeros(grid.shape, bool)
    for lesion in patient.lesions:
        distance_mm = np.linalg.norm(points - np.array(lesion.centre_mm), axis=-1)
        near |= distance_mm < 1.8 * lesion.radius_mm + 12
    assert not np.any(changed & ~near)
    assert set(np.unique(with_lesions.labels[with_lesions.labels != without_lesions.labels])) == {
        LESION
    }


def test_round_lesion_has_its_radius_and_uptake(patient: Patient) -> None:
    phantom = render(with_lesion(patient), around())
    inside = phantom.labels == LESION
    assert inside.sum() * 8 == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.05)
    assert phantom.activity_suv[inside].mean() == pytest.approx(20, rel=0.1)
    centre = np.array([np.average(a, weights=inside.sum(axis=tuple({0, 1, 2} - {n})))
                       for n, a in enumerate(around().axes_mm)])  # fmt: skip
    np.testing.assert_allclose(centre, CENTRE, atol=1.0)


def test_cold_centre_is_cold(patient: Patient) -> None:
    phantom = render(with_lesion(patient, shape="cold-centre"), around())
    assert phantom.activity_suv[13, 13, 13] < 0.3 * phantom.activity_suv.max()


def test_lobed_lesion_is_not_a_sphere_and_depends_on_its_seed(patient: Patient) -> None:
    round_lesion, a, b = (
        render(with_lesion(patient, shape=shape, seed=seed), around()).labels == LESION
        for shape, seed in (("round", 0), ("lobed", 1), ("lobed", 2))
    )
    assert 0.6 < a.sum() / round_lesion.sum() < 1.6
    assert np.mean(a[round_lesion | a] != round_lesion[round_lesion | a]) > 0.05
    assert np.any(a != b)


@pytest.mark.parametrize("tracer", DISEASES)
def test_lesions_are_drawn_within_the_tracers_range(
    patient: Patient, coarse: tuple[Grid, NDArray[np.uint8]], tracer: str
) -> None:
    base = patient.model_copy(update={"tracer": tracer})
    grid, labels = coarse
    found = []
    for seed in range(40):
        found += draw_lesions(base.model_copy(update={"seed": seed}), grid, labels)
    low, high = DISEASES[tracer].suv_range
    assert all(low <= lesion.suv <= high for lesion in found)
    assert all(RADIUS_MM[0] <= lesion.radius_mm <= RADIUS_MM[1] for lesion in found)
    assert {lesion.shape for lesion in found} == {"round", "lobed", "cold-centre"}
    for lesion in found:
        voxel = np.rint((np.array(lesion.centre_mm) - grid.origin_mm) / grid.voxel_mm).astype(int)
        assert labels[tuple(voxel)] > 0
    assert len({lesion.organ for lesion in found}) > 4


def test_the_number_of_lesions_varies_from_none_to_many(
    patient: Patient, coarse: tuple[Grid, NDArray[np.uint8]]
) -> None:
    grid, labels = coarse
    counts = [
        len(draw_lesions(patient.model_copy(update={"seed": seed}), grid, labels))
        for seed in range(60)
    ]
    assert min(counts) == 0
    assert max(counts) >= 15
