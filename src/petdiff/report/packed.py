"""Compress volumes for a web page.

The bounding box of the body is cropped, reoriented to RAS, rounded to int16 steps of SUV and
deflated. If this is too large for the page, first the steps are increased, up to SUV 0.05, and then
voxels are averaged, 2 × 2 × 2 and more.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from petdiff.image import PETImage
from petdiff.volume.orientation import to_ras
from petdiff.volume.regions import Box, Spacing, Volume, body_box

_MIN_STEPS = 1000  # between 0 and the scan's maximum
_USUAL_STEP_SUV = 0.01
_INT16 = 32767
_COARSENESS = (
    (1, 1),
    (1, 2),
    (1, 5),
    (2, 1),
    (2, 2),
    (2, 5),
    (3, 5),
    (4, 5),
)  # (voxels per side, factor of the step)
_SAMPLED = 8  # one of so many layers is compressed to estimate the size
_LEVEL = 1  # of ISA-L, which is twenty times as fast as zlib for 8 % more bytes


@dataclass(frozen=True)
class Packed:
    """Volumes on one grid, ready for a page.

    volumes     by name: base64 of deflated int16 [x, y, z], x fastest, first all low bytes and then
                all high ones, which compresses better; value = int16 · step
    shape       voxels to the right, front and head
    spacing_mm  size of these voxels
    step        of the rounding: a value differs from the file by at most half a step
    block       each voxel is the mean of block × block × block voxels of the file
    to_file     voxel of the page → voxel index in the file: float64 [3, 4]
    to_mm       voxel index in the file → mm, RAS+: the image's affine
    """

    volumes: Mapping[str, str]
    shape: tuple[int, int, int]
    spacing_mm: Spacing
    step: float
    block: int
    to_file: NDArray[np.float64]
    to_mm: NDArray[np.float64]

    def geometry(self) -> dict[str, object]:
        """Return all fields except the volumes, for JSON."""
        return {
            "shape": list(self.shape),
            "spacing_mm": list(self.spacing_mm),
            "step": self.step,
            "block": self.block,
            "to_file": self.to_file.tolist(),
            "to_mm": self.to_mm.tolist(),
        }


def pack(volumes: Mapping[str, Volume], grid: PETImage, budget_bytes: int) -> Packed:
    """Pack volumes [i, j, k] in SUV on the grid of `grid` into about `budget_bytes` of base64.

    The bounding box of the body is found in `grid`.
    """
    body = to_ras(grid.values, grid.affine)
    box = body_box(body.volume, body.spacing_mm)
    cropped = {name: to_ras(volume, grid.affine).volume[box] for name, volume in volumes.items()}
    finest = finest_step(max(float(np.abs(volume).max()) for volume in cropped.values()))
    for block, times in _COARSENESS:
        step = finest * times
        if _estimated_bytes(cropped, block, step) <= budget_bytes:
            break
    blocks = {name: _averaged(volume, block) for name, volume in cropped.items()}
    with ThreadPoolExecutor() as pool:  # numpy and ISA-L release Python's lock
        texts = list(pool.map(lambda volume: _text(_quantised(volume, step)), blocks.values()))
    x, y, z = next(iter(blocks.values())).shape
    side_mm = [size * block for size in body.spacing_mm]
    return Packed(
        dict(zip(blocks, texts, strict=True)),
        (x, y, z),
        (side_mm[0], side_mm[1], side_mm[2]),
        step,
        block,
        _to_file(body.orientation, grid.shape, box, block),
        grid.affine,
    )


def finest_step(largest_suv: float) -> float:
    """Return the step (1, 2 or 5 times a power of ten) that fits `largest_suv` into an int16.

    It is SUV 0.01, except for scans with very high or very low values.
    """
    if largest_suv <= 0:
        return _USUAL_STEP_SUV
    step = max(min(_USUAL_STEP_SUV, largest_suv / _MIN_STEPS), largest_suv / _INT16)
    scale = 10.0 ** np.floor(np.log10(step))
    times = next(times for times in (1, 2, 5, 10) if times >= step / scale * (1 - 1e-9))
    return float(f"{times * scale:.1g}")


def _estimated_bytes(volumes: Mapping[str, Volume], block: int, step: float) -> float:
    """Return the estimated length of the base64 of all volumes."""
    total = 0.0
    for volume in volumes.values():
        layers = max(volume.shape[2] // block, 1)
        chosen = range(0, layers, _SAMPLED)
        sample = [_averaged(volume[..., k * block : (k + 1) * block], block) for k in chosen]
        deflated = isal_zlib.compress(
            _bytes(_quantised(np.concatenate(sample, axis=2), step)), _LEVEL
        )
        total += len(deflated) * layers / len(chosen)
    return total * 4 / 3


def _averaged(volume: Volume, block: int) -> Volume:
    """Return means of cubes of `block` voxels; incomplete cubes at the ends are left out."""
    if block == 1:
        return volume
    n = [max(size // block, 1) for size in volume.shape]
    sides = [min(block, size) for size in volume.shape]
    whole = volume[tuple(slice(a * b) for a, b in zip(n, sides, strict=True))]
    cubes = whole.reshape(n[0], sides[0], n[1], sides[1], n[2], sides[2])
    return np.asarray(cubes.mean(axis=(1, 3, 5)), dtype=np.float32)


def _quantised(volume: Volume, step: float) -> NDArray[np.int16]:
    steps = volume / np.float32(step)
    np.rint(steps, out=steps)
    return np.clip(steps, -_INT16, _INT16, out=steps).astype("<i2")


def _bytes(steps: NDArray[np.int16]) -> bytes:
    return steps.ravel(order="F").view(np.uint8).reshape(-1, 2).T.tobytes()


def _text(steps: NDArray[np.int16]) -> str:
    return base64.b64encode(isal_zlib.compress(_bytes(steps), _LEVEL)).decode("ascii")


def _to_file(
    orientation: NDArray[np.float64], shape: tuple[int, ...], box: Box, block: int
) -> NDArray[np.float64]:
    """Return the map from a packed voxel to the index of its block's centre in the file."""
    to_file: NDArray[np.float64] = np.zeros((3, 4))
    for source, (target, sign) in enumerate(orientation):
        first = box[int(target)].start + (block - 1) / 2
        to_file[source, int(target)] = sign * block
        to_file[source, 3] = first if sign > 0 else shape[source] - 1 - first
    return to_file
