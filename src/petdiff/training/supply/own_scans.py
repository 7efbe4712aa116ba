"""One's own pairs as training data: whole scans as memory maps, and boxes drawn from them.

A box of a scan is to the loop what a simulated slab is: a short scan in a low- and full-dose pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from petdiff.data.array_store import Entry, Store
from petdiff.data.pairs import PairFiles, read_pair
from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.training.supply.patches import coarse_uptake
from petdiff.volume.orientation import turned
from petdiff.volume.resample import resample

Volume = NDArray[np.float32]

BOX_MARGIN = 32  # voxels by which a box is larger than a patch
BENT_SHARE = 0.5  # of the boxes are turned and scaled; the others keep their voxels untouched
MOST_DEGREES = 10.0
MOST_SCALING = 0.1
_HOT_SHARE = 0.3  # of the boxes are centred on voxels chosen by their activity
_COARSE = 4  # voxels a side of a cell of coarse_uptake


@dataclass(frozen=True)
class Box:
    """A part of a full-dose scan and, by dose reduction factor, of its low-dose scans [i, j, k]."""

    full: Volume
    lows: dict[float, Volume]


@dataclass(frozen=True)
class ScanBoxes:
    """index → Box, drawn from stored scans; the same for the same seed and index.

    names  of the entries that `store_pairs` wrote
    shape  of the boxes; smaller along axes where a scan is smaller
    """

    store: Store
    names: Sequence[str]
    seed: int
    shape: tuple[int, int, int]

    def __call__(self, index: int) -> Box:
        rng = np.random.default_rng([self.seed, 2, index])
        name = self.names[int(rng.integers(len(self.names)))]
        entry = self.store.get(name)
        if entry is None:
            raise InputRefused(f"{self.store.folder / name} is gone: start the run anew")
        full = entry.arrays["full"]
        where = self._where(rng, entry.arrays["uptake"], full.shape)
        bend = _draw_bend(rng) if rng.random() < BENT_SHARE else None
        cut = (
            np.array(entry.arrays[key][where], dtype=np.float32)
            for key in ("full", *entry.facts["lows"])
        )
        first, *others = (volume if bend is None else _bent(volume, bend) for volume in cut)
        return Box(first, dict(zip(entry.facts["lows"].values(), others, strict=True)))

    def _where(
        self, rng: np.random.Generator, uptake: Volume, shape: tuple[int, ...]
    ) -> tuple[slice, ...]:
        hot = rng.random() < _HOT_SHARE
        chance = np.where(uptake > 0.1, uptake if hot else 1.0, 0.0).astype(np.float64).ravel()
        cell = np.unravel_index(rng.choice(chance.size, p=chance / chance.sum()), uptake.shape)
        size = np.minimum(self.shape, shape)
        first = np.clip(np.array(cell) * _COARSE - size // 2, 0, np.array(shape) - size)
        return tuple(slice(int(a), int(a + n)) for a, n in zip(first, size, strict=True))


def store_pairs(
    store: Store,
    patients: Sequence[PairFiles],
    method: Any,
    tick: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write every patient's scans as the method would see them; returns the entries' names.

    In the method's orientation, and in its voxels where it cannot work in the scan's own.
    """
    names = []
    for n, files in enumerate(patients):
        name = f"patient-{n:05d}"
        if name not in store:
            _store_patient(store, name, files, method)
        names.append(name)
        if tick is not None:
            tick(n + 1, len(patients))
    return names


def stored_image(entry: Entry, key: str) -> PETImage:
    """One of a patient's scans: `full`, or one of `entry.facts["lows"]`."""
    return PETImage(np.array(entry.arrays[key]), np.array(entry.facts["affine"]))


def _store_patient(store: Store, name: str, files: PairFiles, method: Any) -> None:
    arrays: dict[str, Volume] = {}
    affine = np.eye(4)
    for factor in files.lows:
        low, full = read_pair(files, factor)
        for key, image, path in (
            (f"low_{factor:g}", low, files.lows[factor]),
            ("full", full, files.full),
        ):
            if key not in arrays:
                arrays[key], affine = _as_seen(image, method, str(path))
    arrays["uptake"] = coarse_uptake(torch.from_numpy(arrays["full"]))
    facts = {
        "patient": files.patient,
        "lows": {f"low_{factor:g}": factor for factor in files.lows},
        "affine": affine.tolist(),
    }
    store.put(name, arrays, facts)


def _as_seen(image: PETImage, method: Any, path: str) -> tuple[Volume, NDArray[np.float64]]:
    if not np.isfinite(image.suv).all():
        where = tuple(int(n) for n in np.argwhere(~np.isfinite(image.suv))[0])
        raise InputRefused(f"{path} holds NaN or infinite values, the first at voxel {where}")
    if not (image.suv > 0).any():
        raise InputRefused(f"{path} holds no activity: no voxel is above 0")
    scan = turned(image, method.axes)
    voxel_mm = method.working_voxel_mm(scan.spacing_mm)
    volume, affine = torch.from_numpy(np.ascontiguousarray(scan.suv)), scan.affine
    if not np.allclose(voxel_mm, scan.spacing_mm, rtol=1e-3):
        volume, affine = resample(volume, affine, voxel_mm)
    return volume.numpy(), affine


def _draw_bend(rng: np.random.Generator) -> NDArray[np.float64]:
    """Output → input voxels about a box's middle: a small turn about any axis, a small scaling."""
    axis = rng.normal(size=3)
    angle = np.deg2rad(rng.uniform(-MOST_DEGREES, MOST_DEGREES))
    turn: NDArray[np.float64] = Rotation.from_rotvec(
        angle * axis / np.linalg.norm(axis)
    ).as_matrix()
    return turn * rng.uniform(1 - MOST_SCALING, 1 + MOST_SCALING)


def _bent(volume: Volume, bend: NDArray[np.float64]) -> Volume:
    """Cubic, as linear interpolation would smooth the noise away between the voxels."""
    middle = (np.array(volume.shape) - 1) / 2
    bent = affine_transform(volume, bend, middle - bend @ middle, order=3, mode="mirror")
    lowest = min(0.0, float(volume.min()))
    raised: Volume = np.maximum(bent, lowest, dtype=np.float32)
    return raised
