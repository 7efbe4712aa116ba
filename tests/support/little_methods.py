"""A tiny method that learns one pair, and what its tests need around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import petdiff
from petdiff.device import resolve_precision
from petdiff.methods.model import Model


def as_image(suv: Tensor) -> petdiff.PETImage:
    return petdiff.PETImage(suv.numpy(), np.diag([4.0, 4.0, 4.0, 1.0]))


def as_model(method: Any) -> Model:
    method.network.eval()
    return Model(method, method.card({"steps": 0}), method.name, "")


def rmse(x: Any, y: Tensor) -> float:
    return float((torch.as_tensor(x) - y).square().mean().sqrt())


def fit(
    method: Any, pair: tuple[Tensor, Tensor], steps: int, rate: float = 3e-3, seed: int = 0
) -> list[float]:
    """Train a method on one pair, and return the losses of its first objective."""
    batch = method.example(*pair)[None]
    objectives = method.objectives()
    optimizers = [torch.optim.Adam(o.parameters, rate, (0.9, 0.99)) for o in objectives]
    generator = torch.Generator().manual_seed(seed)
    dtype = resolve_precision("auto", torch.device("cpu"))
    losses = []
    for step in range(steps):
        for objective, optimizer in zip(objectives, optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = rate * min(1, 2 * (steps - step) / steps)
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                loss = objective.loss(batch, generator)
            loss.backward()
            nn.utils.clip_grad_norm_(objective.parameters, 1.0)
            optimizer.step()
            if objective is objectives[0]:
                losses.append(loss.item())
    return losses
