"""The grid of the network: a scan is brought onto it, and a denoised volume back to the scan's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from petdiff.device import release_memory
from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.inference.body import Body
from petdiff.inference.options import Millimetres
from petdiff.inference.record import VolumeCut
from petdiff.methods.base import Method
from petdiff.volume.filters import gaussian_smooth
from petdiff.volume.orientation import reoriented, reoriented_back
from petdiff.volume.planes import as_tensor
from petdiff.volume.regions import Affine
from petdiff.volume.resample import resample, resample_like

_AIR_SIGMA = 2.0  # of the Gaussian that smooths air, in voxels


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
        return as_tensor(reoriented(self.source, self.axes).values).to(self.device)


@dataclass(frozen=True)
class Drawn:
    """The denoised volume [i, j, k], its standard deviation if samples > 1, and how it was cut.

    It is the whole volume, or the part within the body's box.
    """

    mean: Tensor
    standard_deviation: Tensor | None
    cut: VolumeCut


def prepare(
    image: PETImage, method: Method, voxel_mm: Millimetres | None, device: torch.device
) -> Prepared:
    """Reorient a scan, resample it to the network's grid on the device, and find its body.

    voxel_mm  of the network; None: the method's own choice for this scan

    Raises InputRefused for NaN or infinite values.
    """
    require_finite(image)
    scan = reoriented(image, method.axes)
    size_mm = voxel_mm or method.working_voxel_mm(scan.spacing_mm)
    y, affine = _on_grid(scan, size_mm, device)
    i, j, k = y.shape
    return Prepared(
        source=image,
        axes=method.axes,
        device=device,
        affine=affine,
        voxel_mm=size_mm,
        shape=(i, j, k),
        resampled=None if affine is scan.affine else y,
        body=Body.find(y, method.multiple),
    )


def with_air(in_body: Drawn, prepared: Prepared, body: Body) -> Drawn:
    """Return whole volumes: in air the scan is smoothed, and its standard deviation is 0."""
    release_memory()  # the network's, which is not needed now
    air = gaussian_smooth(prepared.values(), _AIR_SIGMA).clamp_(min=0)
    image, deviation = body.paste(air, in_body.mean), in_body.standard_deviation
    if deviation is not None:
        deviation = body.paste(torch.zeros_like(image), deviation)
    return Drawn(image, deviation, in_body.cut)


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


def _on_grid(image: PETImage, voxel_mm: Millimetres, device: torch.device) -> tuple[Tensor, Affine]:
    volume = as_tensor(image.values).to(device)
    if np.allclose(voxel_mm, image.spacing_mm, rtol=1e-3):
        return volume, image.affine
    return resample(volume, image.affine, voxel_mm)


def require_finite(image: PETImage, name: str = "the scan") -> None:
    """Raise InputRefused, with the first voxel, if a scan has values that are not finite."""
    if not np.isfinite(image.values).all():
        where = tuple(int(n) for n in np.argwhere(~np.isfinite(image.values))[0])
        raise InputRefused(f"{name} holds NaN or infinite values, the first at voxel {where}")
