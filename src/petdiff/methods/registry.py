"""The table of methods, one line each."""

from __future__ import annotations

from dataclasses import dataclass

from petdiff.methods.base import Method, MethodFactory, require_preset
from petdiff.methods.card import ModelCard
from petdiff.methods.flow3d import Flow3D
from petdiff.methods.local_ddpm import LocalDDPM, LocalDDPM2D
from petdiff.methods.local_denoiser import SIZES
from petdiff.methods.local_regression import LocalGAN, LocalRegression
from petdiff.methods.logunet import LogUNet
from petdiff.methods.published_ddpm import PAPER, PublishedDDPM, PublishedDDPM2D
from petdiff.methods.published_regression import PublishedGAN, PublishedRegression


@dataclass(frozen=True)
class _InBothDomains:
    """A method in the local-activity domain, whose preset `paper` is in the published domain."""

    local: type[LocalDDPM | LocalRegression]
    published: type[PublishedDDPM | PublishedRegression]

    def create(self, preset: str) -> Method:
        require_preset(self.local.name, preset, (*SIZES, "paper"))
        return self.published.create(PAPER) if preset == "paper" else self.local.create(preset)

    def from_card(self, card: ModelCard) -> Method:
        chosen = self.local if card.domain == "local_activity" else self.published
        return chosen.from_card(card)


METHODS: dict[str, MethodFactory] = {
    "flow3d": Flow3D,
    "ddpm3d": _InBothDomains(LocalDDPM, PublishedDDPM),
    "ddpm2d": _InBothDomains(LocalDDPM2D, PublishedDDPM2D),
    "unet3d": _InBothDomains(LocalRegression, PublishedRegression),
    "gan3d": _InBothDomains(LocalGAN, PublishedGAN),
    "logunet": LogUNet,
}
