"""A 3-D patch discriminator: it classifies patches as full-dose scan or as estimate.

The PatchGAN of Isola et al. 2017 (pix2pix, arXiv 1611.07004, appendix 6.1.2) with 3-D convolutions,
and two downsamplings instead of three, so that a patch is 34 voxels wide. Batch normalisation is
replaced by spectral normalisation (Miyato et al. 2018, arXiv 1802.05957), which needs no statistics
over patches. Patches of bladder and of lung would have very different ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Returns one logit for each patch with sides of `receptive_field` voxels.

    forward(measured, candidate), both [b, 1, i, j, k], every axis at least 16 voxels → [b, 1, …].
    """

    receptive_field = 34

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _conv(2, channels, stride=2),
            nn.LeakyReLU(0.2),
            _conv(channels, 2 * channels, stride=2),
            nn.LeakyReLU(0.2),
            _conv(2 * channels, 4 * channels),
            nn.LeakyReLU(0.2),
            _conv(4 * channels, 1),
        )

    def forward(self, measured: Tensor, candidate: Tensor) -> Tensor:
        both = torch.cat([measured, candidate], dim=1)
        # In half precision the gradient of spectral normalisation overflows.
        with torch.autocast(both.device.type, enabled=False):
            logits: Tensor = self.layers(both.float())
        return logits


def _conv(c_in: int, c_out: int, stride: int = 1) -> nn.Module:
    return spectral_norm(nn.Conv3d(c_in, c_out, 4, stride=stride, padding=1))


def least_squares(logits: Tensor, label: float) -> Tensor:
    """Return LSGAN's loss of logits (arXiv 1611.04076, eqs. 2 and 9, labels 0 and 1)."""
    return (logits - label).square().mean()
