"""The table of methods, one line each."""

from __future__ import annotations

from petdiff.errors import InputRefused
from petdiff.methods import ddpm2d, ddpm3d, flow3d, gan3d, logunet, unet3d
from petdiff.methods.base import MethodKind, TrainableMethod
from petdiff.methods.card import ModelCard

METHODS: dict[str, MethodKind] = {
    "flow3d": flow3d.KIND,
    "ddpm3d": ddpm3d.KIND,
    "ddpm2d": ddpm2d.KIND,
    "unet3d": unet3d.KIND,
    "gan3d": gan3d.KIND,
    "logunet": logunet.KIND,
}


def method_of(card: ModelCard) -> TrainableMethod:
    """Return the method that a card describes, without its trained weights.

    Raises InputRefused if the method is not known or the card is invalid.
    """
    if card.method not in METHODS:
        known = ", ".join(METHODS)
        raise InputRefused(f"method {card.method!r} is not known here; known: {known}")
    return METHODS[card.method].from_card(card)
