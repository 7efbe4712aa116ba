"""Denoise volumes with a model on a device: prepare the scan, run the sampler, restore the grid."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from petdiff.device import (
    describe_device,
    describe_precision,
    placed,
    release_memory,
    require_sound_bfloat16,
    resolve_device,
    resolve_precision,
)
from petdiff.errors import InputRefused, UsageError
from petdiff.image import PETImage
from petdiff.inference.blended_windows import WindowDenoiser
from petdiff.inference.body import Body
from petdiff.inference.estimate import log_estimated_time
from petdiff.inference.options import DenoiseOptions, Millimetres
from petdiff.inference.record import DenoisingRecord, ModelUsed, VolumeCut
from petdiff.inference.samples import RunningMoments
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
from petdiff.volume.filters import gaussian_smooth
from petdiff.volume.orientation import reoriented, reoriented_back
from petdiff.volume.regions import Affine
from petdiff.volume.resample import resample, resample_like

OnSample = Callable[[int, PETImage], None]

_REGIONAL = 0x5EED0A11  # XOR of the seeds of the samples and of their regional noise
_AIR_SIGMA = 2.0  # of the Gaussian that smooths air, in voxels


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


@dataclass(frozen=True)
class Prepared:
    """A scan on the grid of the network: `affine`, `voxel_mm` and `shape`.

    source     the scan of the call
    axes       of the network, for `reoriented`
    resampled  the scan's values [i, j, k] on the grid, on the device; None if the grid is that of
               the scan: then a second copy of the scan is made only when it is needed
    body       the part that is not air; None if no voxel is positive
    """

    source: PETImage
    axes: str
    device: torch.device
    affine: Affine
    voxel_mm: Millimetres
    shape: tuple[int, int, int]
    resampled: Tensor | None
    body: Body | None

    def values(self) -> Tensor:
        """Return the scan's values [i, j, k] on the grid, on the device."""
        if self.resampled is not None:
            return self.resampled
        return torch.from_numpy(reoriented(self.source, self.axes).values).to(self.device)


@dataclass(frozen=True)
class Drawn:
    """The denoised volume [i, j, k], its standard deviation if samples > 1, and how it was cut."""

    mean: Tensor
    standard_deviation: Tensor | None
    cut: VolumeCut


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
        prepared = self.prepare(image)
        record = self._record(prepared, generator)
        if prepared.body is None:  # there is nothing to denoise
            nothing = image.with_values(np.zeros_like(image.values))
            uncertainty = nothing if self.samples > 1 else None
            return Result(image, uncertainty, record.model_copy(update={"air_share": 1.0}))
        drawn = self.run(prepared, prepared.body, generator, callback, on_sample)
        denoised, uncertainty = restore(drawn, prepared)
        found = {
            "air_share": round(1 - prepared.body.share(prepared.shape), 4),
            "seconds": round(time.perf_counter() - start, 3),
        }
        return Result(denoised, uncertainty, record.model_copy(update=vars(drawn.cut) | found))

    def prepare(self, image: PETImage) -> Prepared:
        """Reorient a scan, resample it to the network's grid on the device, and find its body."""
        require_finite(image)
        axes = self.method.axes
        scan = reoriented(image, axes)
        voxel_mm = self.options.voxel_mm or self.method.working_voxel_mm(scan.spacing_mm)
        y, affine = _on_grid(scan, voxel_mm, self.device)
        i, j, k = y.shape
        return Prepared(
            source=image,
            axes=axes,
            device=self.device,
            affine=affine,
            voxel_mm=voxel_mm,
            shape=(i, j, k),
            resampled=None if affine is scan.affine else y,
            body=Body.find(y, self.method.multiple),
        )

    def run(
        self,
        prepared: Prepared,
        body: Body,
        generator: torch.Generator,
        callback: ProgressCallback | None,
        on_sample: OnSample | None = None,
    ) -> Drawn:
        """Draw the samples; return their mean or the posterior mean, and the standard deviation."""
        method, samples, scan = self.method, self.samples, body.crop(prepared.values())
        condition = method.condition(scan, self.dtype, self.options.drf)
        # Samplers of methods with slabs start at pure noise; all samples share this call.
        shared = isinstance(method, SlabMethod)
        calls = 1 + samples * (self.steps - 1) if shared else samples * self.steps
        if callback is not None and calls > 1:
            log_estimated_time(method, condition, int(body.voxels().sum()), calls)
        denoiser = self._denoiser(condition, body, calls, callback)
        # A separate stream, so that `on_sample` changes no sample and its noise is independent.
        regional = torch.Generator().manual_seed(generator.initial_seed() ^ _REGIONAL)

        def estimate(noise: Tensor, steps: int) -> Tensor:
            drawn = condition.decode(method.sample(denoiser, noise, steps, generator))
            lowest = scan.clamp(max=0)
            return torch.maximum(drawn, lowest, out=lowest)

        def smooth_air() -> Tensor:
            release_memory()  # the network's, which is no longer needed
            return gaussian_smooth(prepared.values(), _AIR_SIGMA).clamp_(min=0)

        sums = RunningMoments(scan, squares=samples > 1)
        for n in range(samples):
            drawn = estimate(self._noise(scan, generator), self.steps)
            sums.add(drawn)
            if on_sample is not None:
                if (error := condition.regional_error(_white(scan, regional))) is not None:
                    drawn = drawn + error
                sample = Drawn(body.paste(smooth_air(), drawn), None, denoiser.describe())
                on_sample(n, restore(sample, prepared)[0])
            del drawn  # frees memory for the next call of the network
        deviation, mean = sums.standard_deviation(), sums.mean
        del sums
        cut = denoiser.describe()
        if deviation is None:
            del condition, denoiser, scan
            return Drawn(body.paste(smooth_air(), mean), None, cut)
        if method.one_call_gives_mean:
            del mean
            mean = estimate(_no_noise(scan), steps=1)
        deviation = condition.standard_deviation(deviation)
        image = body.paste(smooth_air(), mean)
        return Drawn(image, body.paste(torch.zeros_like(image), deviation), cut)

    def _noise(self, scan: Tensor, generator: torch.Generator) -> Tensor:
        """Return the unit noise at the start of a sample."""
        one_call = self.method.one_call_gives_mean and self.steps == 1
        return _no_noise(scan) if one_call else _white(scan, generator)

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


def restore(drawn: Drawn, prepared: Prepared) -> tuple[PETImage, PETImage | None]:
    """Return the denoised scan and its uncertainty on the grid and with the axes of the source.

    Only the change is resampled, so that resampling does not blur the scan.
    """
    mean, deviation, affine = drawn.mean, drawn.standard_deviation, prepared.affine
    if prepared.resampled is not None:
        scan = reoriented(prepared.source, prepared.axes)
        grids = affine, scan.affine, scan.shape
        change = resample_like(mean - prepared.resampled, *grids).cpu().numpy()
        changed = np.maximum(scan.values + change, np.minimum(scan.values, 0))
        mean, affine = torch.from_numpy(changed), scan.affine
        deviation = None if deviation is None else resample_like(deviation, *grids)

    def back(volume: Tensor) -> PETImage:
        return reoriented_back(PETImage(volume.cpu().numpy(), affine), prepared.source)

    return back(mean), None if deviation is None else back(deviation.clamp(min=0))


def _white(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return unit noise on the grid of a volume [i, j, k], independent of its order in memory."""
    return torch.empty_like(like).copy_(torch.randn(like.shape, generator=generator))


def _no_noise(like: Tensor) -> Tensor:
    """Return the noise for a call that does not use it: zeros that take no memory."""
    return like.new_zeros(()).expand(like.shape)


def _on_grid(image: PETImage, voxel_mm: Millimetres, device: torch.device) -> tuple[Tensor, Affine]:
    volume = torch.from_numpy(image.values).to(device)
    if np.allclose(voxel_mm, image.spacing_mm, rtol=1e-3):
        return volume, image.affine
    return resample(volume, image.affine, voxel_mm)


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


def require_finite(image: PETImage, name: str = "the scan") -> None:
    """Raise InputRefused, with the first voxel, if a scan has values that are not finite."""
    if not np.isfinite(image.values).all():
        where = tuple(int(n) for n in np.argwhere(~np.isfinite(image.values))[0])
        raise InputRefused(f"{name} holds NaN or infinite values, the first at voxel {where}")
