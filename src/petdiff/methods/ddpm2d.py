"""ddpm2d: denoising diffusion of axial slices."""

from __future__ import annotations

from petdiff.methods.base import MethodKind, require_preset
from petdiff.methods.published_ddpm import PublishedDDPM2D, Size

# Measured: parameters; FLOP per voxel and step.
PRESETS: dict[str, Size] = {
    # 39,746; 25 k
    "tiny": {"channels": 8, "multipliers": (1, 2), "residual_blocks": 1},
    # 2,012,570; 186 k
    "default": {"channels": 24, "residual_blocks": 1},
    # 77,194,114; 7.6 M
    "paper": {"channels": 128},
}


def create(preset: str = "default") -> PublishedDDPM2D:
    """Return the method with fresh weights."""
    require_preset("ddpm2d", preset, list(PRESETS))
    return PublishedDDPM2D.create(PRESETS[preset])


KIND = MethodKind(tuple(PRESETS), create, PublishedDDPM2D.from_card)
