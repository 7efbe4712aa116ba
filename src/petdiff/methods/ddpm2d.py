"""ddpm2d: denoising diffusion of axial slices.

`tiny` and `default` work in the ratio to local activity (`local_ddpm.py`), `paper` is the published
network in the published domain (`published_ddpm.py`).
"""

from __future__ import annotations

from petdiff.methods.base import MethodKind, require_preset
from petdiff.methods.card import ModelCard
from petdiff.methods.local_ddpm import LocalDDPM2D
from petdiff.methods.local_denoiser import SIZES
from petdiff.methods.published_ddpm import PublishedDDPM2D, Size

PAPER: Size = {"channels": 128}  # 77,194,114 parameters, 7.6 MFLOP per voxel and step
PRESETS = (*SIZES, "paper")


def create(preset: str = "default") -> LocalDDPM2D | PublishedDDPM2D:
    """Return the method with fresh weights."""
    require_preset(LocalDDPM2D.name, preset, PRESETS)
    return PublishedDDPM2D.create(PAPER) if preset == "paper" else LocalDDPM2D.create(preset)


def from_card(card: ModelCard) -> LocalDDPM2D | PublishedDDPM2D:
    """Return the method that a card describes, without its trained weights."""
    kind = LocalDDPM2D if card.domain == "local_activity" else PublishedDDPM2D
    return kind.from_card(card)


KIND = MethodKind(PRESETS, create, from_card)
