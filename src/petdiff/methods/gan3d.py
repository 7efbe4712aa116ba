"""gan3d: a 3-D U-Net evaluated once, trained with an adversarial loss.

`tiny` and `default` work in the ratio to local activity (`local_regression.py`), `paper` has the
published DDPM's network and domain (`published_regression.py`).
"""

from __future__ import annotations

from petdiff.methods.base import MethodKind, require_preset
from petdiff.methods.card import ModelCard
from petdiff.methods.local_denoiser import SIZES
from petdiff.methods.local_regression import LocalGAN
from petdiff.methods.published_ddpm import Size
from petdiff.methods.published_regression import PublishedGAN

PAPER: Size = {"channels": 128}  # and 2,646,465 parameters of the discriminator
PRESETS = (*SIZES, "paper")


def create(preset: str = "default") -> LocalGAN | PublishedGAN:
    """Return the method with fresh weights."""
    require_preset(LocalGAN.name, preset, PRESETS)
    return PublishedGAN.create(PAPER) if preset == "paper" else LocalGAN.create(preset)


def from_card(card: ModelCard) -> LocalGAN | PublishedGAN:
    """Return the method that a card describes, without its trained weights."""
    kind = LocalGAN if card.domain == "local_activity" else PublishedGAN
    return kind.from_card(card)


KIND = MethodKind(PRESETS, create, from_card)
