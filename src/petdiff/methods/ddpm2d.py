"""ddpm2d: the published DDPM in two dimensions, axial slices as a batch.

Each slice is denoised by itself, so that nothing joins it to its neighbours but the measured scan's
own continuity and, where samples are drawn, nothing at all: their noise is the volume's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from petdiff.methods.ddpm3d import DDPM3D
from petdiff.methods.patches import PATCH

# Measured: parameters; FLOP per voxel and step.
PRESETS: dict[str, dict[str, Any]] = {
    # 39,746; 25 k
    "tiny": {"channels": 8, "multipliers": (1, 2), "residual_blocks": 1},
    # 2,012,570; 186 k
    "default": {"channels": 24, "residual_blocks": 1},
    # 77,194,114; 7.6 M
    "paper": {"channels": 128},
}


@dataclass
class DDPM2D(DDPM3D):
    """As DDPM3D, with a network over i and j alone."""

    name: ClassVar[str] = "ddpm2d"
    dims: ClassVar[Literal[2, 3]] = 2
    presets: ClassVar[dict[str, dict[str, Any]]] = PRESETS
    patch: ClassVar[tuple[int, int, int]] = (*PATCH[:2], 16)

    @property
    def overlap(self) -> tuple[int, int, int]:
        """Along k slices are whole: nothing to blend."""
        return (self.process.overlap, self.process.overlap, 0)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """As in 3-D, each slice of examples [b, 2, i, j, k] a sample at a timestep of its own."""
        return super().loss(slices_of(batch)[..., None], generator)

    def _ask(self, seen: Tensor, timestep: Tensor) -> Tensor:
        b, k = len(seen), seen.shape[-1]
        each = timestep.repeat_interleave(k)
        answer: Tensor = self.network(slices_of(seen).transpose(2, 3), each).transpose(2, 3)
        return answer.reshape(b, k, *answer.shape[1:]).movedim(1, -1)


def slices_of(volumes: Tensor) -> Tensor:
    """[b, c, i, j, k] → axial slices [b·k, c, i, j]."""
    return volumes.movedim(-1, 1).flatten(0, 1)
