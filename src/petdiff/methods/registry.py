"""The table of methods, one line each."""

from __future__ import annotations

from petdiff.errors import InputRefused
from petdiff.methods import flow3d, logunet
from petdiff.methods.base import Method, MethodKind, require_preset
from petdiff.methods.card import ModelCard
from petdiff.methods.local_ddpm import LocalDDPM, LocalDDPM2D
from petdiff.methods.local_denoiser import SIZES
from petdiff.methods.local_regression import LocalGAN, LocalRegression
from petdiff.methods.published_ddpm import PAPER, PublishedDDPM, PublishedDDPM2D
from petdiff.methods.published_regression import PublishedGAN, PublishedRegression


def _in_both_domains(
    local: type[LocalDDPM | LocalRegression], published: type[PublishedDDPM | PublishedRegression]
) -> MethodKind:
    """Return a method in the ratio to local activity; its preset `paper` is the published one."""
    presets = (*SIZES, "paper")

    def create(preset: str) -> Method:
        require_preset(local.name, preset, presets)
        return published.create(PAPER) if preset == "paper" else local.create(preset)

    def from_card(card: ModelCard) -> Method:
        return (local if card.domain == "local_activity" else published).from_card(card)

    return MethodKind(create, from_card)


METHODS: dict[str, MethodKind] = {
    "flow3d": flow3d.KIND,
    "ddpm3d": _in_both_domains(LocalDDPM, PublishedDDPM),
    "ddpm2d": _in_both_domains(LocalDDPM2D, PublishedDDPM2D),
    "unet3d": _in_both_domains(LocalRegression, PublishedRegression),
    "gan3d": _in_both_domains(LocalGAN, PublishedGAN),
    "logunet": logunet.KIND,
}


def method_of(card: ModelCard) -> Method:
    """Return the method that a card describes, without its trained weights.

    Raises InputRefused if the method is not known or the card is invalid.
    """
    if card.method not in METHODS:
        known = ", ".join(METHODS)
        raise InputRefused(f"method {card.method!r} is not known here; known: {known}")
    return METHODS[card.method].from_card(card)
