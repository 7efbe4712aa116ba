"""Small scans in many forms, and a model that denoises them at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from petdiff.image import PETImage
from petdiff.io import write
from petdiff.methods.flow3d import Flow3D
from petdiff.methods.model import save_model
from support.dicom_factory import pet_slices, save

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def tiny_model(path: Path) -> Path:
    """Write a tiny network with fresh weights."""
    torch.manual_seed(0)
    method = Flow3D.create("tiny")
    save_model(path, method.network, method.card({}), torch.float16)
    return path


def volume(path: Path, seed: int = 0) -> Path:
    """Write a small scan as a volume file."""
    rng = np.random.default_rng(seed)
    write(PETImage((2 * rng.gamma(8, 1 / 8, (8, 9, 10))).astype(np.float32), AFFINE), path)
    return path


def cohort(folder: Path) -> Path:
    """Write four scans, one of them broken, and what is no scan."""
    (folder / "late").mkdir(parents=True)
    volume(folder / "late" / "p1.nii.gz", seed=1)
    volume(folder / "late" / "p1_mask.nii.gz", seed=2)
    np.savez(folder / "p2.npz", arr_0=np.random.default_rng(2).random((8, 8, 8), np.float32))
    save(pet_slices(), folder / "p3" / "study" / "series")
    slices = save(pet_slices(), folder / "p4")
    first = min(slices.iterdir())
    first.write_bytes(first.read_bytes()[:-20])
    return folder
