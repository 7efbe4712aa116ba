"""gan3d: a 3-D U-Net asked once, trained against a discriminator as well."""

from __future__ import annotations

from petdiff.methods.base import MethodKind, require_preset
from petdiff.methods.published_ddpm import Size
from petdiff.methods.published_regression import PublishedGAN

# Measured: parameters of generator and discriminator; FLOP per voxel.
PRESETS: dict[str, Size] = {
    # 97,489 and 11,805; 71 k
    "tiny": {"channels": 8, "multipliers": (1, 2), "residual_blocks": 1},
    # 2,390,577 and 44,089; 240 k
    "default": {"channels": 16, "residual_blocks": 1},
    # 206,957,697 and 2,646,465; 22.2 M
    "paper": {"channels": 128},
}


def create(preset: str = "default") -> PublishedGAN:
    """Return the method with fresh weights."""
    require_preset("gan3d", preset, list(PRESETS))
    return PublishedGAN.create(PRESETS[preset])


KIND = MethodKind(tuple(PRESETS), create, PublishedGAN.from_card)
