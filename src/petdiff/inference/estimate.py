"""How long a model will take, estimated before it starts: a DDPM may need hours on a CPU."""

from __future__ import annotations

import logging
import time

import torch

from petdiff.methods.base import Condition, Method
from petdiff.units import duration

_log = logging.getLogger(__name__)

_SIDE = 32  # voxels of the piece that is tried
_WORTH_TRYING = 40  # times the work of the piece; it is done twice
_SLOW_SECONDS = 120.0  # from which the estimate is logged
_WARM_SECONDS = 2.0  # a first try that takes longer is good enough


def announce_time(method: Method, condition: Condition, voxels: int, calls: int) -> float:
    """Try the network on a small piece of the scan; log the time of all if it is long.

    method   with its network in place, on the device and in the dtype of `condition`
    voxels   of the scan that the network is asked for, at each of `calls` calls
    Returns the estimate in seconds, 0 where trying would take a good part of the time itself.
    Halos and overlaps are not counted: they add to it.
    """
    side = max(_SIDE // method.multiple, 1) * method.multiple
    fields = condition.fields_of(slice(0, side))[None, :, :side, :side]
    tried = fields[0, 0].numel()
    if voxels * calls < _WORTH_TRYING * tried:
        return 0.0
    seconds = _timed(method, fields)
    if seconds < _WARM_SECONDS:
        seconds = _timed(method, fields)
    total = seconds * voxels / tried * calls
    if total > _SLOW_SECONDS:
        _log.info(
            "the network is called %d times for %.1f million voxels: about %s or more on this "
            "device",
            calls, voxels / 1e6, duration(total),
        )  # fmt: skip
    return total


@torch.inference_mode()
def _timed(method: Method, fields: torch.Tensor) -> float:
    x = torch.zeros((1, 1, *fields.shape[2:]), device=fields.device)
    level = torch.ones(1, device=fields.device)
    start = time.perf_counter()
    float(method.denoise(x, level, fields).sum())  # as a number: it waits for a GPU
    return time.perf_counter() - start
