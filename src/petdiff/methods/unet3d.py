"""unet3d: a 3-D U-Net evaluated once, trained by regression only.

`tiny` and `default` work in the ratio to local activity (`local_regression.py`), `paper` has the
published DDPM's network and domain (`published_regression.py`).
"""

from __future__ import annotations

from petdiff.methods.base import MethodKind, require_preset
from petdiff.methods.card import ModelCard
from petdiff.methods.local_denoiser import SIZES
from petdiff.methods.local_regression import LocalRegression
from petdiff.methods.published_ddpm import Size
from petdiff.methods.published_regression import PublishedRegression

PAPER: Size = {"channels": 128}  # 206,957,697 parameters, 22.2 MFLOP per voxel
PRESETS = (*SIZES, "paper")


def create(preset: str = "default") -> LocalRegression | PublishedRegression:
    """Return the method with fresh weights."""
    require_preset(LocalRegression.name, preset, PRESETS)
    return (
        PublishedRegression.create(PAPER) if preset == "paper" else LocalRegression.create(preset)
    )


def from_card(card: ModelCard) -> LocalRegression | PublishedRegression:
    """Return the method that a card describes, without its trained weights."""
    kind = LocalRegression if card.domain == "local_activity" else PublishedRegression
    return kind.from_card(card)


KIND = MethodKind(PRESETS, create, from_card)
