"""The process group of a training run, as torchrun starts it; a run of one process needs none.

Gradients are averaged by explicit calls in the training loop, not by a wrapper of the network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from petdiff.device import resolve_device
from petdiff.errors import UsageError

T = TypeVar("T")

# The others wait while the first process simulates or converts the data.
_TIMEOUT = timedelta(hours=12)


@dataclass(frozen=True)
class ProcessGroup:
    """A process and its process group.

    rank    number of the process, from 0
    size    number of processes
    device  of the process
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in one message."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        sums = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, sums, strict=True):
            tensor.copy_(total.view(tensor.shape))

    def mean(self, value: float) -> float:
        """Return the mean of a number over the processes, the same in each."""
        total = torch.tensor([value], dtype=torch.float64, device=self.device)
        self.sum([total])
        return float(total) / self.size

    def share_weights(self, module: nn.Module) -> None:
        """Give every process the weights of the first."""
        if self.size > 1:
            for tensor in module.state_dict().values():
                sent = tensor.contiguous()
                dist.broadcast(sent, src=0)
                tensor.copy_(sent)

    def gather(self, part: Mapping[str, T]) -> dict[str, T]:
        """Return the parts of all processes as one dictionary."""
        if self.size == 1:
            return dict(part)
        parts: list[Mapping[str, T]] = [{}] * self.size
        dist.all_gather_object(parts, part)
        return {key: value for one in parts for key, value in one.items()}

    def offset_and_total(self, count: int) -> tuple[int, int]:
        """Return the sum of `count` over the processes before this one, and over all processes."""
        counts = self.gather({str(self.rank): count})
        ordered = [counts[str(rank)] for rank in range(self.size)]
        return sum(ordered[: self.rank]), sum(ordered)

    def wait(self) -> None:
        """Return when every process has called this."""
        if self.size > 1:
            dist.barrier()


def is_first_process() -> bool:
    """Return whether torchrun's environment, if any, makes this the process that writes files."""
    return int(os.environ.get("RANK", 0)) == 0


def join_group(device: str) -> ProcessGroup:
    """Join the group that torchrun's environment describes.

    device  auto, cuda, cuda:N or cpu; each of several processes takes the GPU of its local number

    Raises UsageError for a device on which training does not run.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    name = device
    if device == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if size > 1 and name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    place = resolve_device(name)
    if place.type not in ("cpu", "cuda"):
        raise UsageError(f"`device` is {device}: training runs on cuda or cpu")
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=_TIMEOUT)
    return ProcessGroup(rank, size, place)


def leave_group() -> None:
    """Close the connections to the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()
