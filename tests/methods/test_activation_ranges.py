"""Precision int8 is set, recorded, and refused for a model without ranges."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import petdiff
from petdiff.commands.info import describe_installation
from petdiff.errors import InputRefused, UsageError
from petdiff.image import PETImage
from petdiff.methods.activation_ranges import ranges_path
from petdiff.methods.weights_files import weights_path

pytestmark = pytest.mark.skipif(not torch._C._has_mkldnn, reason="this PyTorch has no oneDNN")


@pytest.fixture
def scan() -> PETImage:
    rng = np.random.default_rng(0)
    values = np.zeros((40, 40, 24), np.float32)
    values[6:34, 8:32] = 1
    values[15:20, 15:20, 8:14] = 5
    noisy = values * rng.gamma(4, 1 / 4, values.shape).astype(np.float32)
    return PETImage(noisy, np.diag([4.0, 4, 4, 1]))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return a copy of the default's weights, with the ranges beside it."""
    shipped = weights_path("flow3d")
    for path in (shipped, ranges_path(shipped)):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / shipped.name


def test_estimates_in_integers_are_near_those_in_float32(scan: PETImage) -> None:
    exact = petdiff.denoise(scan, "flow3d", precision="float32")
    rounded = petdiff.denoise(scan, "flow3d", precision="int8")
    assert rounded.record.precision == "int8"
    change = exact.image.values - scan.values
    error = rounded.image.values - exact.image.values
    assert 0 < np.square(error).mean() < 0.1**2 * np.square(change).mean()
    body = scan.values > 0.1
    assert rounded.image.values[body].mean() == pytest.approx(
        exact.image.values[body].mean(), rel=0.005
    )


def test_the_environment_variable_sets_int8(
    scan: PETImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETDIFF_PRECISION", "int8")
    assert petdiff.denoise(scan, "flow3d").record.precision == "int8"
    assert describe_installation()["precision"] == "int8"


def test_a_model_without_ranges_is_refused(scan: PETImage) -> None:
    with pytest.raises(UsageError, match=r"unet3d has no ranges of its activations \(unet3d.int8"):
        petdiff.denoise(scan, "unet3d", precision="int8")


def test_ranges_of_other_weights_are_refused(scan: PETImage, own: Path) -> None:
    path = ranges_path(own)
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, "weights_sha256": "0" * 64}))
    with pytest.raises(InputRefused, match=r"flow3d.int8.json is of other weights"):
        petdiff.denoise(scan, str(own), precision="int8")


def test_ranges_of_another_network_are_refused(scan: PETImage, own: Path) -> None:
    path = ranges_path(own)
    held = json.loads(path.read_text())
    held["layers"].popitem()
    path.write_text(json.dumps(held))
    with pytest.raises(InputRefused, match=r"flow3d.int8.json is of other weights"):
        petdiff.denoise(scan, str(own), precision="int8")


def test_a_damaged_file_of_ranges_is_refused(scan: PETImage, own: Path) -> None:
    ranges_path(own).write_text('{"weights_sha256": 1}')
    with pytest.raises(InputRefused, match="no ranges of activations"):
        petdiff.denoise(scan, str(own), precision="int8")
