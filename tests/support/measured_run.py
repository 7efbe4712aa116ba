"""A run of `petdiff denoise` with a tiny network, and a calibration that is easy to compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from petdiff.denoising.request import Request
from petdiff.denoising.scan import denoise_scan
from petdiff.image import PETImage
from petdiff.inference.options import DenoiseOptions
from petdiff.io import write
from petdiff.methods.flow3d import Flow3D
from petdiff.methods.model import load_model, save_model
from petdiff.uncertainty.calibration.conformal import Bounds
from petdiff.uncertainty.calibration.record import (
    BoundsOfGroup,
    CalibratedFigure,
    Calibration,
    FigureCalibration,
    RegionKind,
    save_calibration,
)
from petdiff.uncertainty.calibration.scale import ErrorScale

AFFINE = np.array([[-4.0, 0, 0, 30], [0, 5, 0, -40], [0, 0, 4.5, 500], [0, 0, 0, 1]])
BELOW, ABOVE = -0.1, 0.2  # the bounds of 90 %, as a share of the figure
AT_QUARTER = 0.4  # the upper one where the dose is known to be 1/4
LARGEST_ML = {"lesion": (0.05, 25.0), "organ": (1.0, 5000.0), "sphere": (0.5, 33.5)}
COVERED: tuple[tuple[CalibratedFigure, RegionKind], ...] = (
    ("suv_mean", "lesion"), ("suv_max", "lesion"), ("suv_peak", "lesion"),
    ("volume_41_ml", "lesion"), ("suv_mean", "organ"), ("suv_max", "organ"),
    ("suv_mean", "sphere"), ("suv_max", "sphere"), ("suv_peak", "sphere"),
)  # fmt: skip


def easy_calibration(sha256: str = "0" * 64) -> Calibration:
    """Intervals from 90 to 120 % of the denoised figure, to 140 % where the dose is 1/4."""
    groups = (
        BoundsOfGroup(patients=30, bounds={"0.9": Bounds(BELOW, ABOVE)}),
        BoundsOfGroup(facts={"drf": "4"}, patients=20, bounds={"0.9": Bounds(BELOW, AT_QUARTER)}),
        BoundsOfGroup(facts={"drf": "20"}, patients=20, bounds={"0.9": Bounds(BELOW, ABOVE)}),
    )
    figures = tuple(
        FigureCalibration(
            figure=figure, region=region, scale=ErrorScale(coefficients={"value": 1.0}),
            errors=100, groups=groups,
        )
        for figure, region in COVERED
    )  # fmt: skip
    return Calibration(
        weights_sha256=sha256, steps=1, patients="toys", voxel_mm=(4, 6), figures=figures,
        region_ml=LARGEST_ML,
    )  # fmt: skip


def tiny_model(folder: Path, *, calibrated: bool = True) -> Path:
    """Save a tiny network with fresh weights, with the calibration beside it."""
    torch.manual_seed(0)
    path = folder / "tiny.safetensors"
    method = Flow3D.create("tiny")
    save_model(path, method.network, method.card({}), torch.float16)
    if calibrated:
        save_calibration(path, easy_calibration(load_model(path).sha256))
    return path


def noisy_scan(seed: int = 0) -> PETImage:
    """Noise about SUV 2, and a hot ball of 12 mm radius about (-10, 10, 540) mm."""
    rng = np.random.default_rng(seed)
    suv = rng.gamma(8, 1 / 4, (20, 20, 20)).astype(np.float32)
    index = np.indices(suv.shape).reshape(3, -1)
    mm = AFFINE[:3, :3] @ index + AFFINE[:3, 3:]
    near = np.linalg.norm(mm - np.array([[-10.0], [10], [540]]), axis=0) <= 12
    suv += 8 * near.reshape(suv.shape)
    return PETImage(suv, AFFINE)


def make_run(folder: Path, model: Path, **options: object) -> Path:
    """Write the scan and denoise it into `folder`/run."""
    scan = folder / "low.nii.gz"
    write(noisy_scan(), scan)
    request = Request(scan, str(model), DenoiseOptions(**options))  # type: ignore[arg-type]
    denoise_scan(request, folder / "run")
    return folder / "run"
