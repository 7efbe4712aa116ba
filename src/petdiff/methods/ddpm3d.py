"""ddpm3d: denoising diffusion in three dimensions, after Yu et al. 2025.

`tiny` and `default` work in the ratio to local activity (`local_ddpm.py`), `paper` is the published
network in the published domain (`published_ddpm.py`).
"""

from __future__ import annotations

from petdiff.methods.base import MethodKind, require_preset
from petdiff.methods.card import ModelCard
from petdiff.methods.local_ddpm import LocalDDPM
from petdiff.methods.local_denoiser import SIZES
from petdiff.methods.published_ddpm import PublishedDDPM, Size

PAPER: Size = {"channels": 128}  # 206,964,610 parameters, 22.2 MFLOP per voxel and step
PRESETS = (*SIZES, "paper")


def create(preset: str = "default") -> LocalDDPM | PublishedDDPM:
    """Return the method with fresh weights."""
    require_preset(LocalDDPM.name, preset, PRESETS)
    return PublishedDDPM.create(PAPER) if preset == "paper" else LocalDDPM.create(preset)


def from_card(card: ModelCard) -> LocalDDPM | PublishedDDPM:
    """Return the method that a card describes, without its trained weights."""
    kind = LocalDDPM if card.domain == "local_activity" else PublishedDDPM
    return kind.from_card(card)


KIND = MethodKind(PRESETS, create, from_card)
