"""The processes of one training run, as torchrun starts them; alone, there is one.

Nothing is hidden in a wrapper around the network: gradients are averaged where the loop says so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from petdiff.device import resolve_device
from petdiff.errors import UsageError

# Others wait for rank 0 while it simulates or converts what all of them need.
_PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class Ranks:
    """This process's number among `world`, and its device."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in one message."""
        if self.world == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(
            tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True
        ):
            tensor.copy_(total.view(tensor.shape))

    def mean(self, value: float) -> float:
        """Of a number over the processes: the same one in each."""
        total = torch.tensor([value], dtype=torch.float64, device=self.device)
        self.add_up([total])
        return float(total) / self.world

    def share_weights(self, module: nn.Module) -> None:
        """Give every process the weights of the first."""
        if self.world > 1:
            for tensor in module.state_dict().values():
                sent = tensor.contiguous()
                dist.broadcast(sent, src=0)
                tensor.copy_(sent)

    def gather(self, part: dict[str, Any]) -> dict[str, Any]:
        """The parts of all processes as one dictionary."""
        if self.world == 1:
            return part
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, part)
        return {key: value for one in parts for key, value in one.items()}

    def before_and_all(self, count: int) -> tuple[int, int]:
        """Of things of which this process has `count`: those of the ranks before, and of all."""
        counts = self.gather({str(self.rank): count})
        ordered = [counts[str(rank)] for rank in range(self.world)]
        return sum(ordered[: self.rank]), sum(ordered)

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            dist.barrier()


def join_ranks(device: str) -> Ranks:
    """Join the run that torchrun's environment describes.

    device  auto, cuda, cuda:N or cpu; with several processes each takes the GPU of its number
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    name = device
    if device == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if world > 1 and name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    place = resolve_device(name)
    if place.type not in ("cpu", "cuda"):
        raise UsageError(f"`device` is {device}: training runs on cuda or cpu")
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=_PATIENCE)
    return Ranks(rank, world, place)


def leave_ranks() -> None:
    """Close the connections to the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()
