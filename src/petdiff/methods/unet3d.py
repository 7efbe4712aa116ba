"""unet3d: a 3-D U-Net asked once, trained by mean squared error."""

from __future__ import annotations

from petdiff.methods.base import MethodKind, require_preset
from petdiff.methods.published_ddpm import Size
from petdiff.methods.published_regression import PublishedRegression

# Measured: parameters; FLOP per voxel.
PRESETS: dict[str, Size] = {
    # 97,489; 71 k
    "tiny": {"channels": 8, "multipliers": (1, 2), "residual_blocks": 1},
    # 2,390,577; 240 k
    "default": {"channels": 16, "residual_blocks": 1},
    # 206,957,697; 22.2 M
    "paper": {"channels": 128},
}


def create(preset: str = "default") -> PublishedRegression:
    """Return the method with fresh weights."""
    require_preset("unet3d", preset, list(PRESETS))
    return PublishedRegression.create(PRESETS[preset])


KIND = MethodKind(tuple(PRESETS), create, PublishedRegression.from_card)
