"""What the training loop knows of a method: losses to be lowered, each by its own optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


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
