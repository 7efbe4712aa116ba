"""ddpm3d: denoising diffusion in three dimensions, after Yu et al. 2025."""

from __future__ import annotations

from petdiff.methods.base import MethodKind, require_preset
from petdiff.methods.published_ddpm import PublishedDDPM, Size

# Measured: parameters; FLOP per voxel and step.
PRESETS: dict[str, Size] = {
    # 97,922; 72 k
    "tiny": {"channels": 8, "multipliers": (1, 2), "residual_blocks": 1},
    # 2,391,442; 242 k
    "default": {"channels": 16, "residual_blocks": 1},
    # 206,964,610; 22.2 M
    "paper": {"channels": 128},
}


def create(preset: str = "default") -> PublishedDDPM:
    """Return the method with fresh weights."""
    require_preset("ddpm3d", preset, list(PRESETS))
    return PublishedDDPM.create(PRESETS[preset])


KIND = MethodKind(tuple(PRESETS), create, PublishedDDPM.from_card)
