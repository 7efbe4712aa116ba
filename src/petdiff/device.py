"""Choose the device and precision, and find the available memory."""

from __future__ import annotations

import copy
import ctypes
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from petdiff import cgroup
from petdiff.errors import PetdiffError, UsageError
from petdiff.units import counted

T = TypeVar("T")
_log = logging.getLogger(__name__)

GIB = 2**30
PRECISION_VARIABLE = "PETDIFF_PRECISION"  # environment variable: what "auto" precision means

_MAX_ERROR = 2**-5  # of the largest value; rounding to bfloat16 is 2⁻⁹ of each
_MAX_BUDGET_BYTES = 5 * GIB // 2
_DEFAULT_BUDGET_BYTES = GIB  # if the available memory is unknown
_MEMORY_FACTS = Path("/proc/meminfo")


def resolve_device(name: str) -> torch.device:
    """Return the device of auto, cpu, cuda, cuda:N or mps.

    Raises UsageError if it does not exist; no other device is used instead.
    """
    if name == "auto":
        best = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
        return torch.device(best)
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"`device` {name} is unknown: use auto, cpu, cuda, cuda:N or mps")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(_has_mps())}[device.type]
    if (device.index or 0) >= count:
        raise UsageError(f"`device` {name} is not available here ({count} such devices): use auto")
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the network's arithmetic: `name` is auto, float32, bfloat16 or int8.

    auto is the value of the environment variable PETDIFF_PRECISION or, without it, bfloat16 if the
    device computes it fast, else float32. For int8 it is the dtype of all other arithmetic, chosen
    in the same way. Raises UsageError for another name.
    """
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    name, source = _requested_precision(name)
    if name in ("auto", "int8"):
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cpu":
            fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    if name not in dtypes:
        raise UsageError(f"{source} {name}: unknown; use auto, {', '.join(dtypes)} or int8")
    return dtypes[name]


def computes_in_int8(name: str, device: torch.device) -> bool:
    """Return whether a precision, `name` as in `resolve_precision`, is int8.

    Raises UsageError where the device is no CPU, or PyTorch has no such convolutions.
    """
    if _requested_precision(name)[0] != "int8":
        return False
    if device.type != "cpu" or not torch._C._has_mkldnn:
        raise UsageError("precision int8 needs a CPU and a PyTorch with oneDNN")
    return True


def describe_precision(name: str, device: torch.device) -> str:
    """Return the precision that `name` gives on a device: float32, bfloat16 or int8.

    Raises UsageError as `resolve_precision` and `computes_in_int8` do.
    """
    if computes_in_int8(name, device):
        return "int8"
    return str(resolve_precision(name, device)).removeprefix("torch.")


def _requested_precision(name: str) -> tuple[str, str]:
    """Return the requested precision, and the name of the option or variable that requests it."""
    if name == "auto" and os.environ.get(PRECISION_VARIABLE):
        return os.environ[PRECISION_VARIABLE], PRECISION_VARIABLE
    return name, "precision"


@cache
def require_sound_bfloat16(device: torch.device) -> None:
    """Compare a convolution of odd sizes in bfloat16 with float32, once per device (2 ms).

    Some releases of PyTorch compute such convolutions wrongly. Raises PetdiffError if the results
    differ by more than rounding.
    """
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(shape, generator=generator).to(torch.bfloat16)
        for shape in ((1, 24, 5, 7, 9), (40, 24, 3, 3, 3))
    )
    expected = F.conv3d(x.float(), weight.float(), padding=1)
    placed_x, kernel = (t.to(device, memory_format=torch.channels_last_3d) for t in (x, weight))
    result = F.conv3d(placed_x, kernel, padding=1).float().cpu()
    if not (result - expected).abs().max() < _MAX_ERROR * expected.abs().max():
        raise PetdiffError(
            f"this PyTorch computes wrong convolutions in bfloat16 on {device}: set "
            f"{PRECISION_VARIABLE}=float32, or install another release"
        )


def memory_budget(device: torch.device) -> int:
    """Return the memory in bytes for the slabs of a network on a device."""
    if device.type == "cuda":
        return int(0.8 * torch.cuda.mem_get_info(device)[0])
    available = _available_memory()
    return _DEFAULT_BUDGET_BYTES if available is None else min(_MAX_BUDGET_BYTES, available // 2)


def release_memory() -> None:
    """Return freed memory to the system. The C library of Linux would keep much of it."""
    with suppress(OSError, AttributeError):  # another system, another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an allocation failed. On a CPU torch raises a RuntimeError for this."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def within_memory(compute: Callable[[], T], shrink: Callable[[], str]) -> T:
    """Return compute(), which is called again after shrink() if memory is exhausted.

    shrink  makes the parts smaller that `compute` works on, and returns what it did, for the log
    """
    while True:
        try:
            return compute()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            done = shrink()
        torch.cuda.empty_cache()  # not above, where the error still holds the tensors
        _log.warning("out of memory: %s", done)


def placed(
    network: nn.Module, device: torch.device, dtype: torch.dtype, *, channels_last: bool
) -> nn.Module:
    """Return a copy of the network on a device, in one precision; the network is not changed.

    channels_last  store the weights of convolutions channels last, for fast convolutions
    """
    copied = copy.deepcopy(network).to(device, dtype)
    if channels_last:
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        for parameter in copied.parameters():
            if parameter.ndim in formats:
                parameter.data = parameter.data.to(memory_format=formats[parameter.ndim])
    return copied


def describe_device(device: torch.device) -> str:
    """Return the device's name, for the record."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({counted(torch.get_num_threads(), 'thread')})"
    return str(device)


def _available_memory() -> int | None:
    """Return the available memory in bytes, including caches; None if unknown."""
    try:
        lines = _MEMORY_FACTS.read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    if "MemAvailable" not in facts:
        return None
    machine_bytes = int(facts["MemAvailable"].split()[0]) * 1024
    container_bytes = cgroup.memory_left()
    return machine_bytes if container_bytes is None else min(machine_bytes, container_bytes)


def _has_mps() -> bool:
    return torch.backends.mps.is_available()
