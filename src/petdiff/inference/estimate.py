"""Estimate the run time before denoising starts: a DDPM may need hours on a CPU."""

from __future__ import annotations

import logging
import time

import torch

from petdiff.methods.base import Condition, Method
from petdiff.units import duration

_log = logging.getLogger(__name__)

_SIDE = 32  # side of the piece that is timed, in voxels
_MIN_WORK = 40  # least work, over that of the piece, which is computed twice
_SLOW_SECONDS = 120.0  # longer estimates are logged
_WARM_SECONDS = 2.0  # if the first timing is longer, there is no second one


def log_estimated_time(method: Method, condition: Condition, voxels: int, calls: int) -> float:
    """Time the network on a small piece of the scan; log the total time if it is long.

    method   with its network on the device and in the dtype of `condition`
    voxels   number of voxels that the network computes in each of `calls` calls

    Returns the estimate in seconds, or 0 if timing would take a large part of the total time. Halos
    and overlaps are not counted, so that the estimate is a lower bound.
    """
    side = max(_SIDE // method.multiple, 1) * method.multiple
    fields = condition.fields_of(slice(0, side))[None, :, :side, :side]
    timed = fields[0, 0].numel()
    if voxels * calls < _MIN_WORK * timed:
        return 0.0
    seconds = _timed(method, fields)
    if seconds < _WARM_SECONDS:
        seconds = _timed(method, fields)
    total = seconds * voxels / timed * calls
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
    float(method.denoise(x, level, fields).sum())  # conversion to a number waits for the GPU
    return time.perf_counter() - start
