"""Fixtures that every test may ask for."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

# Several workers (pytest -n) share the cores: one thread each, in their child processes too. This
# stands above numpy and torch, which read it when they are imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch

from petdiff.networks.published import PublishedUNet, read_architecture


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real scans; tests that need it skip where it is absent."""
    beside_the_checkout = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PETDIFF_TEST_DATA", beside_the_checkout))
    if not folder.is_dir():
        pytest.skip(f"real test data not found in {folder} (set PETDIFF_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def reference(test_data: Path) -> dict[str, torch.Tensor]:
    """What the published 3-D DDPM code gives, by name: inputs, outputs, losses, samples."""
    with np.load(test_data / "published_ddpm" / "reference.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="session")
def published_weights(test_data: Path) -> dict[str, torch.Tensor]:
    """The published layout at 32 channels, with the weights that the reference was made with."""
    layout = json.loads((test_data / "published_ddpm" / "checkpoint_layout.json").read_text())
    generator = torch.Generator().manual_seed(layout["seed"])
    weights = {}
    for name, shape in layout["tensors"]:
        tensor = torch.randn(shape, generator=generator)
        if tensor.ndim > 1:
            weights[name] = tensor / tensor[0].numel() ** 0.5
        else:
            weights[name] = 1 + 0.1 * tensor if "weight" in name else 0.1 * tensor
    return weights


@pytest.fixture(scope="session")
def published_network(published_weights: dict[str, torch.Tensor]) -> PublishedUNet:
    """The published network with those weights."""
    shapes = {name: tuple(tensor.shape) for name, tensor in published_weights.items()}
    network = PublishedUNet(read_architecture(shapes)).eval()
    network.load_state_dict(published_weights)
    return network


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
