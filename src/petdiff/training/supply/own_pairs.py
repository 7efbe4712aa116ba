"""Training volumes cut from the user's own pairs of scans, which are kept as memory maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from petdiff.data.array_store import Entry, Store
from petdiff.data.fingerprint import fingerprint
from petdiff.data.layouts import Drf, dose_key
from petdiff.data.pairs import PairFiles, read_pair
from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.training.supply.examples import CELL, coarse_uptake
from petdiff.training.supply.paired_volumes import PairedVolumes, Volume
from petdiff.volume.orientation import turned
from petdiff.volume.resample import resample

Affine = NDArray[np.float64]

CROP_MARGIN = 32  # voxels by which a crop is larger than a patch
TRANSFORMED_SHARE = 0.5  # of the crops are rotated and scaled; the others keep their voxels as is
MOST_DEGREES = 10.0
MOST_SCALING = 0.1
_BODY = 0.1  # share of a scan's mean activity above which lies the body
_HOT_SHARE = 0.3  # of the crops are centred on voxels chosen by their activity


class Grid(Protocol):
    """On which grid a method sees scans.

    axes  where i, j and k run in the patient: three of R/L, A/P, S/I
    """

    @property
    def axes(self) -> str: ...

    def working_voxel_mm(self, voxel_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return the voxel size at which a scan of this voxel size is denoised."""
        ...


@dataclass(frozen=True)
class PairCrops:
    """A source of crops of stored scans, the same for the same seed and number.

    names  of the entries that `store_pairs` wrote
    shape  of the crops; smaller along axes where a scan is smaller
    """

    store: Store
    names: Sequence[str]
    seed: int
    shape: tuple[int, int, int]

    def __call__(self, number: int) -> PairedVolumes:
        """Return crop `number`, half of the time rotated and scaled."""
        rng = np.random.default_rng([self.seed, 2, number])
        name = self.names[int(rng.integers(len(self.names)))]
        entry = self.store.get(name)
        if entry is None:
            raise InputRefused(f"{self.store.folder / name} is gone: start the run anew")
        full = entry.arrays["full"]
        where = self._where(rng, entry.arrays["uptake"], full.shape)
        transform = _draw_transform(rng) if rng.random() < TRANSFORMED_SHARE else None
        cut = (
            np.array(entry.arrays[key][where], dtype=np.float32)
            for key in ("full", *entry.facts["lows"])
        )
        first, *others = (v if transform is None else _transformed(v, transform) for v in cut)
        # 0 stood for a dose that is not stated in what petdiff 0.1 stored.
        factors = (factor or None for factor in entry.facts["lows"].values())
        return PairedVolumes(first, dict(zip(factors, others, strict=True)))

    def _where(
        self, rng: np.random.Generator, uptake: Volume, shape: tuple[int, ...]
    ) -> tuple[slice, ...]:
        """Choose where a crop lies: around a voxel of the body, or around a hot one."""
        hot = rng.random() < _HOT_SHARE
        chance = np.where(uptake > _BODY, uptake if hot else 1.0, 0.0).astype(np.float64).ravel()
        cell = np.unravel_index(rng.choice(chance.size, p=chance / chance.sum()), uptake.shape)
        size = np.minimum(self.shape, shape)
        first = np.clip(np.array(cell) * CELL - size // 2, 0, np.array(shape) - size)
        return tuple(slice(int(a), int(a + n)) for a, n in zip(first, size, strict=True))


def store_pairs(
    store: Store,
    patients: Sequence[PairFiles],
    grid: Grid,
    tick: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write every patient's scans as a method sees them, unless they are there; returns the names.

    The scans get the method's orientation, and its voxels where it cannot work in the scan's own.

    tick  called with how many patients are done, and how many there are
    """
    names = []
    for n, files in enumerate(patients):
        name = f"patient-{n:05d}"
        if name not in store:
            _store_patient(store, name, files, grid)
        names.append(name)
        if tick is not None:
            tick(n + 1, len(patients))
    return names


def stored_image(entry: Entry, key: str) -> PETImage:
    """Return one of a patient's scans: `full`, or one of `entry.facts["lows"]`."""
    return PETImage(np.array(entry.arrays[key]), np.array(entry.facts["affine"]))


def stored_fingerprints(store: Store, names: Sequence[str]) -> dict[str, str]:
    """Return the fingerprint of each patient's full-dose scan, by the patient's folder name."""
    entries = [entry for name in names if (entry := store.get(name)) is not None]
    return {entry.facts["patient"]: entry.facts["fingerprint"] for entry in entries}


def _key(factor: Drf) -> str:
    """Return the name of a low-dose scan in the store."""
    return f"low_{dose_key(factor)}".replace(" ", "_")


def _store_patient(store: Store, name: str, files: PairFiles, grid: Grid) -> None:
    """Write one patient's scans, and where their activity lies."""
    arrays: dict[str, Volume] = {}
    affine, digest = np.eye(4), ""
    for factor in files.lows:
        low, full = read_pair(files, factor)
        digest = digest or fingerprint(full)
        for key, image, path in (
            (_key(factor), low, files.lows[factor]),
            ("full", full, files.full),
        ):
            if key not in arrays:
                arrays[key], affine = _on_grid(image, grid, str(path))
    arrays["uptake"] = coarse_uptake(torch.from_numpy(arrays["full"]))
    facts = {
        "patient": files.patient,
        "fingerprint": digest,
        "lows": {_key(factor): factor for factor in files.lows},
        "affine": affine.tolist(),
    }
    store.put(name, arrays, facts)


def _on_grid(image: PETImage, grid: Grid, path: str) -> tuple[Volume, Affine]:
    """Return a scan as the method sees it, and its affine; InputRefused where it holds nothing."""
    if not np.isfinite(image.suv).all():
        where = tuple(int(n) for n in np.argwhere(~np.isfinite(image.suv))[0])
        raise InputRefused(f"{path} holds NaN or infinite values, the first at voxel {where}")
    if not (image.suv > 0).any():
        raise InputRefused(f"{path} holds no activity: no voxel is above 0")
    scan = turned(image, grid.axes)
    voxel_mm = grid.working_voxel_mm(scan.spacing_mm)
    volume, affine = torch.from_numpy(np.ascontiguousarray(scan.suv)), scan.affine
    if not np.allclose(voxel_mm, scan.spacing_mm, rtol=1e-3):
        volume, affine = resample(volume, affine, voxel_mm)
    return volume.numpy(), affine


def _draw_transform(rng: np.random.Generator) -> Affine:
    """Draw a small rotation about any axis and a small scaling, output → input voxels [3, 3]."""
    axis = rng.normal(size=3)
    angle = np.deg2rad(rng.uniform(-MOST_DEGREES, MOST_DEGREES))
    rotation: Affine = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
    return rotation * rng.uniform(1 - MOST_SCALING, 1 + MOST_SCALING)


def _transformed(volume: Volume, transform: Affine) -> Volume:
    """Return a volume transformed about its middle, by cubic interpolation.

    Linear interpolation would smooth the noise away between the voxels.
    """
    middle = (np.array(volume.shape) - 1) / 2
    offset = middle - transform @ middle
    moved = affine_transform(volume, transform, offset, order=3, mode="mirror")
    lowest = min(0.0, float(volume.min()))
    raised: Volume = np.maximum(moved, lowest, dtype=np.float32)
    return raised
