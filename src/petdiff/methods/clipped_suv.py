"""The published domain: SUV clipped at 16 and divided by 16, what was clipped kept aside."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from petdiff.methods.base import Condition

CLIP_SUV = 16.0


@dataclass(frozen=True)
class ClippedScan(Condition):
    """A scan in the network's domain, fields [1, i, j, k], and what clipping took off it."""

    fields: Tensor
    excess_suv: Tensor
    clip_suv: float

    def decode(self, x: Tensor) -> Tensor:
        """Return the domain [i, j, k] in SUV, with what was clipped put back on top.

        So uptake beyond the clip is kept as it was measured, noise included, and meets the denoised
        scan without a step.
        """
        return x * self.clip_suv + self.excess_suv


def clipped_scan(
    y: Tensor, clip_suv: float = CLIP_SUV, dtype: torch.dtype = torch.float32
) -> ClippedScan:
    """Return the scan y [i, j, k], in SUV, its fields in `dtype`."""
    fields = clipped(y, clip_suv).to(dtype)[None]
    return ClippedScan(fields, (y - clip_suv).clamp(min=0), clip_suv)


def clipped(suv: Tensor, clip_suv: float = CLIP_SUV) -> Tensor:
    """Return SUV in the domain, where clip_suv is 1."""
    return suv.clamp(max=clip_suv) / clip_suv
