"""Denoise volumes with a model on a device: the scan, its samples, and the result on its grid."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from petdiff.device import (
    describe_device,
    describe_precision,
    placed,
    require_sound_bfloat16,
    resolve_device,
    resolve_precision,
)
from petdiff.diffusion.noise import GaussianNoise, noise_of_samples
from petdiff.errors import UsageError
from petdiff.image import PETImage
from petdiff.inference.blended_windows import WindowDenoiser
from petdiff.inference.body import Body
from petdiff.inference.estimate import log_estimated_time
from petdiff.inference.grid import Drawn, Prepared, prepare, restore, with_air
from petdiff.inference.options import DenoiseOptions
from petdiff.inference.record import DenoisingRecord, ModelUsed
from petdiff.inference.samples import RunningMoments, Sampler
from petdiff.inference.slabs import SlabDenoiser
from petdiff.methods.activation_ranges import load_ranges, with_int8
from petdiff.methods.base import (
    Condition,
    SlabMethod,
    WindowedMethod,
    image_samples,
    sample_steps,
    with_network,
)
from petdiff.methods.model import Model
from petdiff.progress import ProgressCallback
from petdiff.units import counted

OnSample = Callable[[int, PETImage], None]

_REGIONAL = 0x5EED0A11  # XOR of the seeds of the samples and of their regional noise


@dataclass(frozen=True)
class Result:
    """A denoised scan.

    image        the denoised scan, in the unit of the measured one
    uncertainty  one standard deviation per voxel in the same unit; None with one sample
    record       the model, the device and the settings
    """

    image: PETImage
    uncertainty: PETImage | None
    record: DenoisingRecord


class Session:
    """A copy of a model on one device, in one precision.

    Raises UsageError for options that the device or the model does not support.
    """

    def __init__(self, model: Model, options: DenoiseOptions) -> None:
        self.model, self.options = model, options
        method = model.method
        _require_supported(model, options)
        self.device = resolve_device(options.device)
        requested = method.precision if options.precision == "auto" else options.precision
        self.dtype = resolve_precision(requested, self.device)
        if self.dtype == torch.bfloat16:
            require_sound_bfloat16(self.device)
        self.samples = image_samples(method, options.samples, options.steps)
        self.steps: int = options.steps or sample_steps(method, self.samples)
        if method.max_steps is not None and self.steps > method.max_steps:
            raise UsageError(
                f"`steps` is {self.steps}, but {model.card.method} takes "
                f"{counted(method.max_steps, 'step')} at most"
            )
        if self.samples > 1 and self.steps == 1:
            raise UsageError(
                "one step always gives the same image: for several samples give `steps` 2 or more"
            )
        # With channels last, windows in float32 are no faster and are rounded differently.
        channels_last = isinstance(method, SlabMethod) or self.dtype != torch.float32
        network = placed(method.network, self.device, self.dtype, channels_last=channels_last)
        self.method = with_network(method, network)
        self.precision = describe_precision(requested, self.device)
        if self.precision == "int8":
            self.method = with_int8(self.method, load_ranges(model))

    def denoise(
        self,
        image: PETImage,
        generator: torch.Generator,
        callback: ProgressCallback | None = None,
        on_sample: OnSample | None = None,
    ) -> Result:
        """Denoise one volume. `callback` is called with (slabs done, slabs in all).

        on_sample  called with each sample's index and image, on the grid of the scan

        Raises InputRefused for NaN or infinite values.
        """
        start = time.perf_counter()
        prepared = prepare(image, self.method, self.options.voxel_mm, self.device)
        record = self._record(prepared, generator)
        if prepared.body is None:  # there is nothing to denoise
            nothing = image.with_values(np.zeros_like(image.values))
            uncertainty = nothing if self.samples > 1 else None
            return Result(image, uncertainty, record.model_copy(update={"air_share": 1.0}))
        body = prepared.body
        drawn = self._draw(prepared, body, generator, callback, on_sample)
        drawn = with_air(drawn, prepared, body)
        denoised, uncertainty = restore(drawn, prepared)
        found = {
            "air_share": round(1 - body.share(prepared.shape), 4),
            "seconds": round(time.perf_counter() - start, 3),
        }
        return Result(denoised, uncertainty, record.model_copy(update=vars(drawn.cut) | found))

    def _draw(
        self,
        prepared: Prepared,
        body: Body,
        generator: torch.Generator,
        callback: ProgressCallback | None,
        on_sample: OnSample | None,
    ) -> Drawn:
        """Draw the samples within the body's box.

        The image is the only sample, the posterior mean, or the mean of the samples.
        """
        sampler = self._sampler(prepared, body, callback)
        # A separate stream, so that `on_sample` changes no sample and its noise is independent.
        regional = torch.Generator().manual_seed(generator.initial_seed() ^ _REGIONAL)
        # Antithetic samples have the better mean, independent ones the better deviation.
        antithetic = not self.method.one_call_gives_mean
        moments = RunningMoments(sampler.scan, squares=self.samples > 1, antithetic=antithetic)
        sources = noise_of_samples(generator, self.samples, antithetic=antithetic)
        for n, source in enumerate(sources):
            sample = sampler.draw(self.steps, source)
            moments.add(sample)
            if on_sample is not None:
                on_sample(n, sampler.image(sample, GaussianNoise(regional), prepared, body))
            del sample  # frees memory for the next call of the network
        deviation, mean = moments.standard_deviation(), moments.mean
        if deviation is not None:
            deviation = sampler.condition.standard_deviation(deviation)
            if self.method.one_call_gives_mean:
                del moments, mean
                mean = sampler.draw(1, GaussianNoise(generator))
        return Drawn(mean, deviation, sampler.cut)

    def _sampler(
        self,
        prepared: Prepared,
        body: Body,
        callback: ProgressCallback | None,
    ) -> Sampler:
        """Return the sampler of the method on a scan, within the body's box."""
        method, scan = self.method, body.crop(prepared.values())
        condition = method.condition(scan, self.dtype, self.options.drf)
        # Samplers of methods with slabs start at pure noise; all samples share this call.
        shared = isinstance(method, SlabMethod)
        calls = 1 + self.samples * (self.steps - 1) if shared else self.samples * self.steps
        if callback is not None and calls > 1:
            log_estimated_time(method, condition, int(body.voxels().sum()), calls)
        denoiser = self._denoiser(condition, body, calls, callback)
        return Sampler(method, scan, condition, denoiser)

    def _denoiser(
        self, condition: Condition, body: Body, calls: int, callback: ProgressCallback | None
    ) -> SlabDenoiser | WindowDenoiser:
        """Return the method as a denoiser of the whole volume, by slabs or by windows."""
        tile = self.options.tile
        method = self.method
        if isinstance(method, SlabMethod):
            inside = body.voxels()
            return SlabDenoiser(method, condition, inside, self.dtype, tile, callback, calls)
        assert isinstance(method, WindowedMethod)
        return WindowDenoiser(method, condition.fields, tile, callback, calls)

    def _record(self, prepared: Prepared, generator: torch.Generator) -> DenoisingRecord:
        model = self.model
        return DenoisingRecord(
            model=ModelUsed(name=model.name, sha256=model.sha256, **model.card.model_dump()),
            device=describe_device(self.device),
            precision=self.precision,
            steps=self.steps,
            samples=self.samples,
            drf=self.options.drf,
            seed=generator.initial_seed(),
            working_voxel_mm=prepared.voxel_mm,
            working_shape=prepared.shape,
        )


def _require_supported(model: Model, options: DenoiseOptions) -> None:
    method, name = model.method, model.card.method
    if options.drf is not None and not method.accepts_dose:
        raise UsageError(
            f"`drf` is {options.drf:g}, but {name} makes no use of a dose: leave it out"
        )
    if (options.samples or 1) > 1 and not method.can_sample:
        raise UsageError(
            f"`samples` is {options.samples}, but {name} always gives the same image: leave it out"
        )
