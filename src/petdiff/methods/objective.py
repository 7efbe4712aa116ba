"""What training needs of a method: examples to learn from, and losses to be lowered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from petdiff.methods.model import Contract


@dataclass(frozen=True)
class Objective:
    """One loss and the parameters that lower it.

    name        for the log
    parameters  of the network that this loss trains, and no other's
    loss        (batch [b, c, i, j, k] of a method's examples, generator of noise) → scalar
    """

    name: str
    parameters: list[nn.Parameter]
    loss: Callable[[Tensor, torch.Generator], Tensor]


class Trainable(Protocol):
    """A method that can be trained; all methods of this package are.

    network  what inference uses; training puts the averaged weights there
    """

    network: nn.Module

    @property
    def default_steps(self) -> int:
        """Sampling steps, where nobody asks for another number."""
        ...

    @property
    def trained(self) -> nn.Module:
        """Everything that training changes: the network, and a discriminator if there is one."""
        ...

    @property
    def patch(self) -> tuple[int, int, int]:
        """Voxels of a training patch along i, j, k."""
        ...

    def example(self, low: Tensor, full: Tensor, dose: float | None = None) -> Tensor:
        """Turn a low- and a full-dose volume [i, j, k] into what the losses need [c, i, j, k].

        dose  dose reduction factor of the low-dose volume; None: not known
        """
        ...

    def objectives(self) -> list[Objective]:
        """Return the losses, each with the parameters that lower it."""
        ...

    def contract(self, training: dict[str, Any]) -> Contract:
        """Return the model card of these weights, which says that they were trained so."""
        ...
