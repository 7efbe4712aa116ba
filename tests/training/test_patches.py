"""Supply: patches and boxes that depend on seed and number alone, and hold what they should."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from petdiff.data.array_store import Store
from petdiff.data.fingerprint import fingerprint
from petdiff.data.pairs import PairFiles
from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.methods.flow3d import Flow3D
from petdiff.training.supply.examples import (
    ExampleMaker,
    coarse_uptake,
    entry_name,
    without_networks,
)
from petdiff.training.supply.own_pairs import (
    PairCrops,
    store_pairs,
    stored_fingerprints,
    stored_image,
)
from petdiff.training.supply.paired_volumes import PairedVolumes, VolumeSource
from petdiff.training.supply.patches import PatchCutter, volume_numbers
from petdiff.training.supply.workers import ExampleSupply
from support.little_training import Little, little_volumes

POOL, PER_VOLUME = 3, 5


def patches(
    folder: Path, source: VolumeSource | None = None, seed: int = 0, hot_share: float = 0.3
) -> PatchCutter:
    method = Little()
    source = source or partial(little_volumes, seed)
    maker = ExampleMaker(Store(folder), source, method.example, method.patch)
    supply = ExampleSupply(maker, 0, 0)
    return PatchCutter(supply, seed, method.patch, POOL, PER_VOLUME, hot_share)


def test_a_patch_does_not_depend_on_what_was_cut_before(tmp_path: Path) -> None:
    one, other = patches(tmp_path / "a"), patches(tmp_path / "b")
    forwards = [one.cut(p) for p in range(20)]
    for p in reversed(range(20)):
        assert torch.equal(other.cut(p), forwards[p])
    assert len({cut.numpy().tobytes() for cut in forwards}) == 20
    assert not torch.equal(patches(tmp_path / "c", seed=1).cut(0), forwards[0])


def test_windows_move_by_a_volume_and_hold_no_more_than_the_pool() -> None:
    assert volume_numbers(0, POOL, PER_VOLUME) == range(1)
    assert volume_numbers(PER_VOLUME, POOL, PER_VOLUME) == range(2)
    assert volume_numbers(100 * PER_VOLUME + 4, POOL, PER_VOLUME) == range(98, 101)


def test_patches_are_cut_where_the_activity_is(tmp_path: Path) -> None:
    def corner(number: int) -> PairedVolumes:
        full = np.zeros((40, 40, 40), np.float32)
        full[-4:, -4:, -4:] = 1
        return PairedVolumes(full, {None: full})

    supply = patches(tmp_path, corner)
    shares = [supply.cut(p)[0].mean().item() for p in range(40)]
    assert np.mean(shares) > 10 * 4**3 / 40**3


def test_low_and_full_dose_are_cut_flipped_and_turned_alike(tmp_path: Path) -> None:
    def alike(number: int) -> PairedVolumes:
        full = little_volumes(0, number).full
        return PairedVolumes(full, {None: full})

    cuts = [patches(tmp_path, alike).cut(p) for p in range(12)]
    assert all(torch.equal(cut[0], cut[1]) for cut in cuts)
    falling = [cut[0, 0].mean() > cut[0, -1].mean() for cut in cuts]  # the ramp runs along i
    assert 0 < sum(falling) < len(cuts)


def test_a_volume_smaller_than_a_patch_is_mirrored(tmp_path: Path) -> None:
    volume = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((1, 9, 9), np.float32) + 1
    source = lambda number: PairedVolumes(volume, {None: volume})  # noqa: E731
    maker = ExampleMaker(Store(tmp_path), source, Little().example, (8, 8, 6))
    maker.make(0)
    entry = maker.store.get(entry_name(0))
    assert entry is not None
    line = entry.arrays["examples"][0, 0, :, 0, 0]
    assert line.tolist() == [1, 2, 3, 4, 4, 3, 2, 1]


def test_uptake_is_relative_to_the_scan() -> None:
    low = torch.rand(16, 16, 16, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(coarse_uptake(low), coarse_uptake(7 * low), rtol=1e-5)
    assert coarse_uptake(torch.ones(16, 16, 16)) == pytest.approx(np.ones((4, 4, 4)))
    assert coarse_uptake(torch.zeros(8, 8, 8)).sum() == 0


def test_settings_travel_without_the_networks() -> None:
    method = Little()
    bare = without_networks(method)
    assert (bare.network, bare.critic, bare.patch) == (None, None, method.patch)
    assert method.network is not None


def test_an_entry_is_whole_or_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.get("a") is None
    store.put("a", {"x": np.arange(3)}, {"n": 1})
    store.put("a", {"x": np.zeros(3)}, {"n": 2})  # a second writer comes too late
    entry = store.get("a")
    assert entry is not None
    assert (entry.arrays["x"].tolist(), entry.facts) == ([0, 1, 2], {"n": 1})
    assert isinstance(entry.arrays["x"], np.memmap)
    (tmp_path / ".b.123").mkdir()
    store.sweep()
    assert store.names() == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    store.drop("a")
    assert "a" not in store


def test_a_full_disk_leaves_no_entry(small_disk: Path) -> None:
    from petdiff.errors import PetdiffError

    with pytest.raises(PetdiffError, match=r"disk of .* is full"):
        Store(small_disk).put("a", {"x": np.zeros(1_000_000)}, {})
    assert list(small_disk.iterdir()) == []


def write_pair(folder: Path, seed: int, *, nan: bool = False) -> PairFiles:
    from petdiff.io import write

    rng = np.random.default_rng(seed)
    index = np.indices((30, 28, 26)) - np.array([15, 14, 13])[:, None, None, None]
    truth = 0.02 + ((index**2).sum(0) < 100) * rng.uniform(0.8, 1.2)
    files = {}
    for name, counts in (("full", 200), ("low_drf10", 20)):
        suv = (rng.poisson(counts * truth) / counts).astype(np.float32)
        if nan and name != "full":
            suv[15, 14, 13] = np.nan  # within the body
        files[name] = folder / f"patient{seed}" / f"{name}.nii.gz"
        files[name].parent.mkdir(parents=True, exist_ok=True)
        if np.isfinite(suv).all():
            write(PETImage(suv, np.diag([-4.0, 4.0, 4.0, 1.0])), files[name])
        else:  # petdiff itself writes no such file
            nib.save(nib.Nifti1Image(suv, np.diag([-4.0, 4.0, 4.0, 1.0])), files[name])
    name = f"patient{seed}"
    return PairFiles(name, name, files["full"], {10.0: files["low_drf10"]})


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[PairFiles]:
    folder = tmp_path_factory.mktemp("pairs")
    return [write_pair(folder, seed) for seed in range(2)]


def test_stored_scans_are_those_of_the_files_turned_for_the_method(
    pairs: list[PairFiles], tmp_path: Path
) -> None:
    from petdiff.io import read

    store = Store(tmp_path)
    names = store_pairs(store, pairs, Flow3D.create("tiny"))
    entry = store.get(names[1])
    assert entry is not None
    assert entry.facts["lows"] == {"low_10": 10.0}
    assert stored_fingerprints(store, names)["patient1"] == fingerprint(read(pairs[1].full))
    kept, file = stored_image(entry, "low_10"), read(pairs[1].lows[10.0])
    np.testing.assert_array_equal(kept.suv, file.suv[::-1])  # i ran to the patient's left
    assert kept.affine[0, 0] == 4


def test_crops_depend_on_seed_and_number_and_keep_low_and_full_dose_together(
    pairs: list[PairFiles], tmp_path: Path
) -> None:
    store = Store(tmp_path)
    names = store_pairs(store, pairs, Flow3D.create("tiny"))
    crops = PairCrops(store, names, 0, (20, 20, 40))
    for index in range(8):
        crop = crops(index)
        assert crop.full.shape == crop.lows[10.0].shape == (20, 20, 26)
        assert crop.full.tobytes() == crops(index).full.tobytes()
        inside = crop.full > 0.4
        assert inside.mean() > 0.05
        assert crop.lows[10.0][inside].mean() == pytest.approx(crop.full[inside].mean(), rel=0.1)
    assert crops(0).full.tobytes() != PairCrops(store, names, 1, (20, 20, 40))(0).full.tobytes()


def test_a_rotated_and_scaled_crop_keeps_level_and_noise() -> None:
    from petdiff.training.supply.crops import draw_transform, transformed

    rng = np.random.default_rng(0)
    noisy = (2 + 0.2 * rng.standard_normal((40, 40, 40))).astype(np.float32)
    same = transformed(noisy, np.eye(3))
    np.testing.assert_allclose(same, noisy, atol=1e-4)
    transform = next(t for _ in range(9) if (t := draw_transform(rng)) is not None)
    scale = np.cbrt(np.linalg.det(transform))
    np.testing.assert_allclose(transform @ transform.T, scale**2 * np.eye(3), atol=1e-9)
    moved = transformed(noisy, transform)[8:-8, 8:-8, 8:-8]
    assert moved.mean() == pytest.approx(2, rel=0.01)
    assert 0.7 < moved.std() / 0.2 < 1.05


def test_nan_and_air_in_a_scan_are_refused_by_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(InputRefused, match=r"low_drf10.*NaN"):
        store_pairs(store, [write_pair(tmp_path, 7, nan=True)], Flow3D.create("tiny"))
    assert store.names() == []
