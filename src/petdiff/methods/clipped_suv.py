"""The published domain: SUV clipped at 16 and divided by 16, with the excess stored separately."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from petdiff.methods.base import Condition

CLIP_SUV = 16.0


@dataclass(frozen=True)
class ClippedScan(Condition):
    """A scan in the network's domain.

    fields      [1, i, j, k]
    excess_suv  the SUV that clipping removed [i, j, k]
    clip_suv    the SUV that is 1 in the domain
    """

    fields: Tensor
    excess_suv: Tensor
    clip_suv: float

    def decode(self, x: Tensor) -> Tensor:
        """Return a volume of the domain [i, j, k] in SUV, with the excess added.

        Uptake above the clip is thus as measured, with its noise, and there is no step where it
        begins.
        """
        return x * self.clip_suv + self.excess_suv


def clipped_scan(
    y: Tensor, clip_suv: float = CLIP_SUV, dtype: torch.dtype = torch.float32
) -> ClippedScan:
    """Return the condition for a scan y [i, j, k] in SUV, with fields in `dtype`."""
    fields = clipped(y, clip_suv).to(dtype)[None]
    return ClippedScan(fields, (y - clip_suv).clamp(min=0), clip_suv)


def clipped(suv: Tensor, clip_suv: float = CLIP_SUV) -> Tensor:
    """Convert SUV to the domain, where clip_suv is 1."""
    return suv.clamp(max=clip_suv) / clip_suv
