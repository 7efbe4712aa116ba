"""A published checkpoint is converted, loaded, and denoises scans of any shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import petdiff
from petdiff.methods.convert import convert
from petdiff.methods.model import Model
from petdiff.methods.published_ddpm import Process


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory, published_weights: dict[str, torch.Tensor]
) -> Model:
    """The reference weights, through the converter, with a field small enough for a test."""
    folder = tmp_path_factory.mktemp("published")
    torch.save(published_weights, folder / "published.pt")
    convert(folder / "published.pt", folder / "model.safetensors")
    loaded = petdiff.load_model(folder / "model.safetensors")
    loaded.method.constants = Process(field=(16, 16), slab=16, overlap=4)
    return loaded


def scan(voxel_mm: float = 1.65) -> petdiff.PETImage:
    rng = np.random.default_rng(1)
    suv = rng.gamma(2, 1.0, (12, 10, 16)).astype(np.float32)
    suv[5:8, 4:7, 7:10] = 40.0
    return petdiff.PETImage(suv, np.diag([-voxel_mm, -voxel_mm, voxel_mm, 1.0]))


@pytest.mark.parametrize("voxel_mm", [1.65, 2.5])
def test_it_runs_on_any_volume_in_few_steps(model: Model, voxel_mm: float) -> None:
    image = scan(voxel_mm)
    result = petdiff.denoise(image, model, steps=2)
    assert result.image.suv.shape == image.suv.shape
    assert np.isfinite(result.image.suv).all()
    assert result.record.working_voxel_mm == pytest.approx([1.65] * 3)
    assert result.record.precision == "float32"


def test_hot_uptake_beyond_its_clip_is_preserved(model: Model) -> None:
    denoised = petdiff.denoise(scan(), model, steps=2).image.suv
    assert denoised[5:8, 4:7, 7:10].min() >= 40 - 16 - 16  # 16 off, and x0 is at least −1


def test_how_a_scan_is_stored_does_not_matter(model: Model) -> None:
    image = scan()
    turned = petdiff.PETImage(
        np.ascontiguousarray(image.suv[::-1].transpose(2, 0, 1)),
        np.array(
            [[0, 1.65, 0, -1.65 * 11], [0, 0, -1.65, 0], [1.65, 0, 0, 0], [0, 0, 0, 1]],
            dtype=np.float64,
        ),
    )
    expected = petdiff.denoise(image, model, steps=2).image.suv
    denoised = petdiff.denoise(turned, model, steps=2).image.suv
    np.testing.assert_array_equal(denoised, expected[::-1].transpose(2, 0, 1))
