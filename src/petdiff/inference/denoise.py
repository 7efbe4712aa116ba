"""Denoise one scan: resample, leave out air, ask the model tile by tile, put everything back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from petdiff.device import describe_device, resolve_device, resolve_precision
from petdiff.errors import InputRefused, UsageError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.blended_windows import WindowDenoiser
from petdiff.inference.estimate import announce_time
from petdiff.inference.exact_tiles import TiledDenoiser
from petdiff.inference.frames import FramesResult, denoise_frames
from petdiff.methods.condition import BoundScan
from petdiff.methods.local_activity import NEAR, level
from petdiff.methods.model import Model, load_model
from petdiff.volume.filters import gaussian_smooth
from petdiff.volume.orientation import turned, turned_back
from petdiff.volume.resample import Affine, resample, resample_like

Tick = Callable[[int, int], None]

AIR_CUBE = 8  # voxels; air is told from body by the mean of such cubes
AIR_LEVEL = 0.1  # a cube below this share of the scan's level, and with no neighbour above, is air


@dataclass(frozen=True)
class Result:
    """A denoised scan.

    image        the denoised scan, in the unit of the measured one
    uncertainty  one standard deviation per voxel in the same unit; None with one sample
    record       what ran, JSON-able
    """

    image: PETImage
    uncertainty: PETImage | None
    record: dict[str, Any]


@overload
def denoise(
    image: PETImage,
    model: str | Path | Model = ...,
    *,
    steps: int | None = ...,
    samples: int = ...,
    dose: float | None = ...,
    seed: int | None = ...,
    generator: torch.Generator | None = ...,
    device: str = ...,
    voxel_mm: tuple[float, float, float] | None = ...,
    precision: str = ...,
    tile: int | None = ...,
    callback: Tick | None = ...,
) -> Result: ...


@overload
def denoise(
    image: PETFrames,
    model: str | Path | Model = ...,
    *,
    steps: int | None = ...,
    samples: int = ...,
    dose: float | None = ...,
    seed: int | None = ...,
    generator: torch.Generator | None = ...,
    device: str = ...,
    voxel_mm: tuple[float, float, float] | None = ...,
    precision: str = ...,
    tile: int | None = ...,
    callback: Tick | None = ...,
) -> FramesResult: ...


def denoise(
    image: PETImage | PETFrames,
    model: str | Path | Model = "flow3d",
    *,
    steps: int | None = None,
    samples: int = 1,
    dose: float | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
    device: str = "auto",
    voxel_mm: tuple[float, float, float] | None = None,
    precision: str = "auto",
    tile: int | None = None,
    callback: Tick | None = None,
) -> Result | FramesResult:
    """What a full-dose scan would have shown.

    A dynamic or gated scan is denoised frame by frame, each with its own noise level.

    steps      how often the model is asked per sample (default: the model's; 6 if samples > 1)
    samples    from 2 on, their standard deviation, with that of what they all share with the
               scan (flow3d), is the uncertainty; the image is then the posterior mean of a model
               that one step gives it (flow3d), else the samples' mean
    dose       the scan's dose reduction factor, 20 at 1/20 of the full dose, if it is known: models
               that can be told (flow3d) then know how much noise a full-dose scan would have
    seed       of the noise that sampling starts from (default: 0); the same seed gives the same
               bytes on the same machine
    generator  a torch generator on the CPU to draw that noise from, instead of `seed`
    voxel_mm   work at this voxel size (default: the scan's own, where the model can)
    precision  auto, float32 or bfloat16, of the network's arithmetic
    tile       voxels a side of a tile's core (default: as large as memory allows)
    callback   called with (tiles done, tiles in all); for a scan of frames with (frames done,
               frames in all)

    Raises InputRefused for a scan with NaN or infinite values, and for one that is not in SUV where
    the model needs SUV; UsageError for options that cannot be met.
    """
    _require_scan(image)
    generator = _generator(seed, generator)
    loaded = load_model(model) if isinstance(model, str | Path) else model
    _require_unit(image.first if isinstance(image, PETFrames) else image, loaded)
    one = partial(
        _denoise_image,
        model=loaded,
        steps=steps,
        samples=samples,
        dose=dose,
        generator=generator,
        device=device,
        voxel_mm=voxel_mm,
        precision=precision,
        tile=tile,
    )
    if isinstance(image, PETFrames):
        return denoise_frames(image, partial(one, callback=None), callback)
    return one(image, callback=callback)


def _require_scan(image: object) -> None:
    """Raise UsageError, with what to do, where `image` is a path or an array."""
    if isinstance(image, PETImage | PETFrames):
        return
    if isinstance(image, str | Path):
        remedy = f"read it first: petdiff.denoise(petdiff.read({str(image)!r}))"
    else:
        remedy = "give a PETImage: petdiff.read(path), or petdiff.PETImage(values, affine)"
    raise UsageError(f"`image` is a {type(image).__name__}, not a scan: {remedy}")


def _generator(seed: int | None, generator: torch.Generator | None) -> torch.Generator:
    """Return the generator of the noise; UsageError where both or a negative seed are given."""
    if generator is None:
        if seed is not None and seed < 0:
            raise UsageError(f"`seed` is {seed}: give 0 or more")
        return torch.Generator().manual_seed(seed or 0)
    if seed is not None:
        raise UsageError("`seed` and `generator` contradict each other: give one of them")
    return generator


def _denoise_image(
    image: PETImage,
    *,
    model: Model,
    steps: int | None,
    samples: int,
    dose: float | None,
    generator: torch.Generator,
    device: str,
    voxel_mm: tuple[float, float, float] | None,
    precision: str,
    tile: int | None,
    callback: Tick | None,
) -> Result:
    """Denoise one volume; arguments as in `denoise`."""
    start = time.perf_counter()
    if samples < 1 or (steps is not None and steps < 1):
        raise UsageError(f"`steps` and `samples` must be 1 or more, not {steps} and {samples}")
    _require_finite(image)
    place = resolve_device(device)
    method = model.method
    dtype = resolve_precision(method.precision if precision == "auto" else precision, place)
    steps = steps or (method.sampling_steps if samples > 1 else method.default_steps)
    if dose is not None:
        _require_dose(dose, model)
    if samples > 1 and method.sampling_steps == 1:
        raise UsageError(
            f"`samples` is {samples}, but {model.contract.method} always answers the same: leave "
            "it out"
        )
    if samples > 1 and steps == 1:
        raise UsageError(
            "one step always gives the same answer: for several samples give `steps` 2 or more"
        )

    scan = turned(image, method.axes)
    working_mm = voxel_mm or method.working_voxel_mm(scan.spacing_mm)
    y, affine = _on_grid(scan, working_mm, place)
    body = _Body.find(y, method.multiple)
    record: dict[str, Any] = {
        "model": {"name": model.name, "sha256": model.sha256, **model.contract.model_dump()},
        "device": describe_device(place),
        "precision": str(dtype).removeprefix("torch."),
        "steps": steps,
        "samples": samples,
        "dose": dose,
        "seed": generator.initial_seed(),
        "working_voxel_mm": list(working_mm),
        "working_shape": list(y.shape),
    }
    if body is None:  # nothing but zeros: there is nothing to denoise
        record["air_share"] = 1.0
        return Result(
            image, image.with_values(np.zeros_like(image.values)) if samples > 1 else None, record
        )

    ask = partial(_denoiser, method, dtype=dtype, tile=tile, callback=callback)
    bind = partial(method.bind, dtype=dtype, dose=dose)
    mean, spread, tiling = _draw(method, y, body, bind, ask, steps, samples, generator)
    denoised = turned_back(_back(mean, y, affine, scan), image)
    uncertainty = None
    if spread is not None:
        on_grid = _resampled(spread, affine, scan).clamp(min=0).cpu().numpy()
        uncertainty = turned_back(scan.with_values(on_grid), image)
    record |= tiling | {
        "air_share": round(1 - body.share(y), 4),
        "seconds": round(time.perf_counter() - start, 3),
    }
    return Result(denoised, uncertainty, record)


@dataclass(frozen=True)
class _Body:
    """Where a scan is not air, in cubes of `multiple` voxels: a box of voxels, and its cubes."""

    box: tuple[slice, slice, slice]
    cubes: Tensor  # bool, one per cube of the box
    multiple: int

    @classmethod
    def find(cls, y: Tensor, multiple: int) -> _Body | None:
        """None where nothing is positive."""
        if not bool((y > 0).any()):
            return None
        side = math.lcm(AIR_CUBE, multiple)
        hot = F.avg_pool3d(_pad(y.clamp(min=0), side)[None], side) > AIR_LEVEL * level(y)
        near_hot = F.max_pool3d(hot.float(), 3, stride=1, padding=1)[0] > 0
        where = near_hot.nonzero()
        low, high = where.amin(0).tolist(), (where.amax(0) + 1).tolist()
        spans = [slice(a, b) for a, b in zip(low, high, strict=True)]
        i, j, k = (slice(span.start * side, span.stop * side) for span in spans)
        return cls((i, j, k), near_hot[tuple(spans)], side)

    def share(self, y: Tensor) -> float:
        """Of the volume's voxels."""
        i, j, k = y[self.box].shape
        return float(self.voxels()[:i, :j, :k].sum()) / y.numel()

    def voxels(self) -> Tensor:
        """The cubes as a mask of the box's voxels."""
        mask = self.cubes
        for axis in range(3):
            mask = mask.repeat_interleave(self.multiple, dim=axis)
        return mask


def _denoiser(
    method: Any,
    bound: BoundScan,
    inside: Tensor,
    calls: int,
    *,
    dtype: torch.dtype,
    tile: int | None,
    callback: Tick | None,
) -> TiledDenoiser | WindowDenoiser:
    """The method as a denoiser of the whole volume, cut as its network allows."""
    if method.halo is None:
        return WindowDenoiser(method, bound.fields, dtype, tile, callback, calls)
    return TiledDenoiser(method, bound, inside, dtype, tile, callback, calls)


def _draw(
    method: Any,
    y: Tensor,
    body: _Body,
    bind: Callable[[Tensor], BoundScan],
    ask: Callable[[BoundScan, Tensor, int], TiledDenoiser | WindowDenoiser],
    steps: int,
    samples: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
    """Image and, of several samples, its uncertainty on y's grid, and how the volume was cut."""
    air = gaussian_smooth(y, NEAR).clamp_(min=0)
    scan = _pad(y, body.multiple)[body.box]
    bound = bind(scan)
    inside = body.voxels()
    knows_mean = method.default_steps == 1
    calls = 1 + samples * (steps - 1) if knows_mean else samples * steps
    asked = ask(bound, inside, calls)
    if asked.callback is not None and calls > 1:
        announce_time(asked.method, bound, int(inside.sum()), calls)
    lowest = scan.clamp(max=0)

    def answer(noise: Tensor, steps: int) -> Tensor:
        drawn = bound.decode(method.sample(asked, noise, steps, generator, None))
        return torch.maximum(drawn, lowest)

    mean, squares = torch.zeros_like(scan), torch.zeros_like(scan) if samples > 1 else None
    for n in range(samples):
        drawn = answer(torch.randn(scan.shape, generator=generator).to(scan), steps)
        gap = drawn - mean  # Welford's running mean and sum of squares
        mean += gap / (n + 1)
        if squares is not None:
            squares += gap * (drawn - mean)
    if squares is None:
        return _paste(air, mean, inside, body.box), None, asked.describe()
    if knows_mean:
        mean = answer(torch.zeros_like(scan), steps=1)  # which does not look at the noise
    image = _paste(air, mean, inside, body.box)
    spread = bound.spread((squares / (samples - 1)).sqrt())
    return image, _paste(torch.zeros_like(y), spread, inside, body.box), asked.describe()


def _paste(whole: Tensor, part: Tensor, inside: Tensor, box: tuple[slice, slice, slice]) -> Tensor:
    """`whole` with `part` where `inside`; the box may reach beyond the volume's far faces."""
    target = whole[box]
    i, j, k = target.shape
    target.copy_(torch.where(inside[:i, :j, :k], part[:i, :j, :k], target))
    return whole


def _pad(y: Tensor, multiple: int) -> Tensor:
    """Mirror the far faces until every axis is a multiple, so that the network's grid fits."""
    for axis, n in enumerate(y.shape):
        if n % multiple:
            mirrored = torch.cat([torch.arange(n), torch.arange(n - 1, -1, -1)])
            index = mirrored.repeat(1 + multiple // n)[: -(-n // multiple) * multiple]
            y = y.index_select(axis, index.to(y.device))
    return y


def _on_grid(
    image: PETImage, voxel_mm: tuple[float, float, float], device: torch.device
) -> tuple[Tensor, Affine]:
    volume = torch.from_numpy(np.ascontiguousarray(image.values)).to(device)
    if np.allclose(voxel_mm, image.spacing_mm, rtol=1e-3):
        return volume, image.affine
    return resample(volume, image.affine, voxel_mm)


def _back(denoised: Tensor, y: Tensor, affine: Affine, image: PETImage) -> PETImage:
    """To the scan's own grid. The change alone is resampled, so that resampling costs no detail."""
    if affine is image.affine:
        return image.with_values(denoised.cpu().numpy())
    change = _resampled(denoised - y, affine, image).cpu().numpy()
    return image.with_values(np.maximum(image.values + change, np.minimum(image.values, 0)))


def _resampled(volume: Tensor, affine: Affine, image: PETImage) -> Tensor:
    if affine is image.affine:
        return volume
    return resample_like(volume, affine, image.affine, image.shape)


def _require_unit(image: PETImage, model: Model) -> None:
    if model.method.needs_suv and not image.in_suv:
        raise InputRefused(
            f"{model.contract.method} works on SUV, and the scan is in {image.unit_name}: use "
            f"flow3d, which works in any unit ({image.no_suv_reason})"
        )


def _require_dose(dose: float, model: Model) -> None:
    if not 1 < dose < math.inf:
        raise UsageError(
            f"`dose` is {dose:g}, which is no dose reduction factor: give a number above 1, 20 for "
            "1/20"
        )
    if not model.method.can_be_told_dose:
        raise UsageError(
            f"`dose` is {dose:g}, but {model.contract.method} makes no use of a dose: leave it out"
        )


def _require_finite(image: PETImage) -> None:
    if not np.isfinite(image.values).all():
        where = tuple(int(n) for n in np.argwhere(~np.isfinite(image.values))[0])
        raise InputRefused(f"the scan holds NaN or infinite values, the first at voxel {where}")
