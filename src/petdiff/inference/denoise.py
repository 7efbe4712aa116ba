"""Denoise a scan: the public function, which commands and cohorts call as well."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Unpack, overload

import torch

from petdiff.errors import InputRefused, UsageError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.frames import FramesResult, denoise_frames
from petdiff.inference.options import DenoiseOptions, DenoiseSettings
from petdiff.inference.session import OnSample, Result, Session
from petdiff.methods.model import Model, load_model
from petdiff.progress import ProgressCallback

__all__ = ["Result", "denoise"]


@overload
def denoise(
    image: PETImage,
    model: str | Path | Model = ...,
    *,
    callback: ProgressCallback | None = ...,
    on_sample: OnSample | None = ...,
    generator: torch.Generator | None = ...,
    **settings: Unpack[DenoiseSettings],
) -> Result: ...


@overload
def denoise(
    image: PETFrames,
    model: str | Path | Model = ...,
    *,
    callback: ProgressCallback | None = ...,
    on_sample: OnSample | None = ...,
    generator: torch.Generator | None = ...,
    **settings: Unpack[DenoiseSettings],
) -> FramesResult: ...


def denoise(
    image: PETImage | PETFrames,
    model: str | Path | Model = "flow3d",
    *,
    callback: ProgressCallback | None = None,
    on_sample: OnSample | None = None,
    generator: torch.Generator | None = None,
    **settings: Unpack[DenoiseSettings],
) -> Result | FramesResult:
    """Return an estimate of the full-dose scan.

    image      a scan; a dynamic or gated one is denoised frame by frame, each frame with its own
               noise level
    model      a shipped model's name, a .safetensors file, or a loaded model
    settings   the fields of petdiff.inference.options.DenoiseOptions: steps, samples, drf, seed, …
    callback   called with (slabs done, slabs in all); for a scan of frames with (frames done,
               frames in all)
    on_sample  called with (index, image) of each sample, to measure regions. These samples also
               vary in regional activity, by the noise of the measured scan
    generator  CPU generator in place of `seed`, if several calls should use one random stream

    With one sample, the image is the result of `steps` network calls. With several, it is the
    posterior mean if the model gives it in one call (flow3d), else the mean of the samples.

    Raises InputRefused for a scan with NaN or infinite values, and for one that is not in SUV if
    the model needs SUV; UsageError for options that the model or the device does not support.
    """
    _require_scan(image)
    if generator is not None and "seed" in settings:
        raise UsageError("`seed` and `generator` contradict each other: give one of them")
    options = DenoiseOptions.of(settings)
    generator = generator or torch.Generator().manual_seed(options.seed)
    loaded = model if isinstance(model, Model) else load_model(model)
    _require_unit(image.first if isinstance(image, PETFrames) else image, loaded)
    session = Session(loaded, options)
    if isinstance(image, PETFrames):
        if on_sample is not None:
            raise UsageError("`on_sample` is for one volume: denoise the frames one by one")
        return denoise_frames(image, partial(session.denoise, generator=generator), callback)
    return session.denoise(image, generator, callback, on_sample)


def _require_scan(image: object) -> None:
    """Raise UsageError, with a remedy, if `image` is a path or an array."""
    if isinstance(image, PETImage | PETFrames):
        return
    if isinstance(image, str | Path):
        remedy = f"read it first: petdiff.denoise(petdiff.read({str(image)!r}))"
    else:
        remedy = "give a PETImage: petdiff.read(path), or petdiff.PETImage(values, affine)"
    raise UsageError(f"`image` is a {type(image).__name__}, not a scan: {remedy}")


def _require_unit(image: PETImage, model: Model) -> None:
    if model.method.needs_suv and not image.in_suv:
        raise InputRefused(
            f"{model.card.method} works on SUV, and the scan is in {image.unit_name}: use "
            f"flow3d, which works in any unit ({image.no_suv_reason})"
        )
