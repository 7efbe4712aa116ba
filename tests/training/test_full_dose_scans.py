"""Full-dose scans alone become training volumes: judged once, thinned anew in every crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petdiff.data.array_store import Store
from petdiff.data.full_dose import FullDoseScan
from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.io import write
from petdiff.methods.flow3d import Flow3D
from petdiff.thinning.thin import MeasuredScan
from petdiff.training.data import find_data
from petdiff.training.recipe import Recipe
from petdiff.training.supply import full_dose, simulated
from petdiff.training.supply.full_dose import ThinnedCrops, store_full_dose, store_thinned
from petdiff.training.supply.own_pairs import stored_image
from petdiff.training.supply.paired_volumes import PairedVolumes
from petdiff.training.supply.simulated import MixedVolumes, with_simulated
from petdiff.volume.orientation import reoriented

SHAPE = (30, 26, 34)
METHOD = Flow3D.create("tiny")


@pytest.fixture(autouse=True)
def _one_dose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each crop is thinned to one dose instead of three, which is faster."""
    monkeypatch.setattr(full_dose, "_LOWS", 1)


def body(seed: int, shape: float = 60.0) -> np.ndarray:
    """A cylinder whose voxels are spread as a gamma distribution of this shape."""
    i, j, _ = np.indices(SHAPE) - np.array([15, 13, 17]).reshape(3, 1, 1, 1)
    suv = np.where(np.hypot(i, j) < 11, 1.0, 0.01)
    return (suv * np.random.default_rng(seed).gamma(shape, 1 / shape, SHAPE)).astype(np.float32)


def scan(folder: Path, name: str, values: np.ndarray, voxel_mm: float = 4.0) -> FullDoseScan:
    path = folder / f"{name}.nii.gz"
    write(PETImage(values, np.diag([voxel_mm, voxel_mm, voxel_mm, 1])), path)
    return FullDoseScan(name, name, path)


def test_a_folder_without_scans_is_refused_with_all_that_it_may_hold(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"supported are \(a\) .*; or full-dose scans alone"):
        find_data(tmp_path, Recipe(), notify=print)


def test_scans_that_cannot_be_used_are_named_with_the_reason(tmp_path: Path) -> None:
    good = [scan(tmp_path, f"good{n}", body(n)) for n in range(3)]
    bad = [
        scan(tmp_path, "copy", body(1)),
        scan(tmp_path, "empty", np.zeros(SHAPE, np.float32)),
        scan(tmp_path, "noisy", body(7, 1.0)),
        FullDoseScan("gone", "gone", tmp_path / "gone.nii.gz"),
    ]
    store = Store(tmp_path / "store")
    judged = store_full_dose(store, [*good, *bad], needs_suv=False)
    assert list(judged.names) == ["good0", "good1", "good2"]
    assert set(judged.left_out) == {one.name for one in bad}
    for name, why in (("copy", "the same as"), ("empty", "no activity"), ("noisy", "low dose")):
        assert why in judged.left_out[name]
    for one in good:
        one.path.unlink()  # what is stored is not read again
    again = store_full_dose(store, [*good, *bad], needs_suv=False)
    assert again.left_out == judged.left_out


def test_a_run_begun_before_the_texture_was_stored_has_to_start_anew(tmp_path: Path) -> None:
    one, store = scan(tmp_path, "one", body(0)), Store(tmp_path / "store")
    store_full_dose(store, [one], needs_suv=False)
    entry = store.get("scan-00000")
    assert entry is not None
    before = {key: array for key, array in entry.arrays.items() if not key.startswith("texture")}
    store.drop("scan-00000")
    store.put("scan-00000", before, entry.facts)
    with pytest.raises(InputRefused, match=r"older petdiff.*start the run anew"):
        store_full_dose(store, [one], needs_suv=False)


def test_a_crop_is_as_noisy_as_the_whole_scan_thinned_and_follows_its_number(
    tmp_path: Path,
) -> None:
    one = scan(tmp_path, "one", body(0))
    store = Store(tmp_path / "store")
    store_full_dose(store, [one], needs_suv=False)
    crops = ThinnedCrops(store, ["scan-00000"], 3, (60, 60, 60), METHOD)
    plain = np.sort(body(0).ravel())
    number, crop = next(
        (number, crop)
        for number in range(20)
        if np.array_equal(np.sort((crop := crops(number)).full.ravel()), plain)  # not rotated
    )
    again = crops(number)
    assert list(again.lows) == list(crop.lows) != list(crops(number + 1).lows)
    whole, inside = MeasuredScan(one.read()), body(0) > 0.5
    for factor, low in crop.lows.items():
        assert factor is not None
        assert 1.35 <= factor <= 50
        assert low.tobytes() == again.lows[factor].tobytes()
        added = (whole.thinned(factor, seed=99).image.values - body(0))[inside]
        assert (low - crop.full)[crop.full > 0.5].std() == pytest.approx(added.std(), rel=0.1)
        assert low[crop.full > 0.5].mean() == pytest.approx(body(0)[inside].mean(), rel=0.05)


def test_held_out_scans_are_thinned_as_thin_does_it(tmp_path: Path) -> None:
    one, store = scan(tmp_path, "one", body(0)), Store(tmp_path / "store")
    store_full_dose(store, [one], needs_suv=False)
    entry = store.get(store_thinned(store, "scan-00000"))
    assert entry is not None
    assert entry.facts["lows"] == {"low_4": 4.0, "low_20": 20.0}
    expected = MeasuredScan(one.read()).thinned(4.0, seed=0).image
    np.testing.assert_array_equal(
        reoriented(stored_image(entry, "low_4"), "RAS").values, expected.values
    )


def test_crops_of_voxels_that_the_method_does_not_know_are_resampled(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store_full_dose(store, [scan(tmp_path, "one", body(0), 7.0)], needs_suv=False)
    crop = ThinnedCrops(store, ["scan-00000"], 0, (20, 20, 20), METHOD)(0)
    assert crop.full.shape == (21, 21, 21)  # 18 voxels of 7 mm
    assert {low.shape for low in crop.lows.values()} == {crop.full.shape}


def test_simulated_volumes_are_mixed_in_from_all_their_sources() -> None:
    def named(name: str) -> object:
        return lambda number: name

    both = MixedVolumes(1, 0.5, named("patient"), named("randomized"))  # type: ignore[arg-type]
    mixed = with_simulated(named("own"), both, 0.5, 1)  # type: ignore[arg-type]
    drawn = [str(mixed(number)) for number in range(800)]
    # 400, 200 and 200 expected; four standard deviations
    assert abs(drawn.count("own") - 400) < 60
    assert abs(drawn.count("patient") - 200) < 50
    assert abs(drawn.count("randomized") - 200) < 50
    own = simulated.with_simulated(named("own"), both, 0.0, 1)  # type: ignore[arg-type]
    assert isinstance(own(0), str | PairedVolumes)
    assert {str(own(number)) for number in range(20)} == {"own"}
