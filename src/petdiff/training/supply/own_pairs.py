"""Training volumes from the user's own pairs of scans, which are stored as memory maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from petdiff.data.array_store import Entry, Store
from petdiff.data.fingerprint import fingerprint
from petdiff.data.layouts import Drf, dose_key
from petdiff.data.pairs import PairFiles, read_pair
from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.inference.grid import require_finite
from petdiff.progress import ProgressCallback
from petdiff.training.supply.crops import (
    Grid,
    draw_box,
    draw_entry,
    draw_transform,
    on_grid,
    transformed,
)
from petdiff.training.supply.examples import coarse_uptake
from petdiff.training.supply.paired_volumes import PairedVolumes, Volume
from petdiff.volume.regions import Affine


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
        """Return crop `number`, rotated and scaled with probability 0.5."""
        rng = np.random.default_rng([self.seed, 2, number])
        entry = draw_entry(rng, self.store, self.names)
        full = entry.arrays["full"]
        where = draw_box(rng, entry.arrays["uptake"], full.shape, self.shape)
        transform = draw_transform(rng)
        first, *others = (
            transformed(np.array(entry.arrays[key][where], dtype=np.float32), transform)
            for key in ("full", *entry.facts["lows"])
        )
        # Stores of petdiff 0.1 have 0 for a dose that is not stated.
        factors = (factor or None for factor in entry.facts["lows"].values())
        return PairedVolumes(first, dict(zip(factors, others, strict=True)))


def store_pairs(
    store: Store,
    patients: Sequence[PairFiles],
    grid: Grid,
    tick: ProgressCallback | None = None,
    *,
    needs_suv: bool = True,
) -> list[str]:
    """Write the scans of the patients that the store lacks; returns the names of the entries.

    The scans are stored in the orientation and voxel size of the method.

    tick       called with the number of finished patients and of all
    needs_suv  refuse scans that are in another unit
    """
    names = []
    for n, files in enumerate(patients):
        name = f"patient-{n:05d}"
        if name not in store:
            _store_patient(store, name, files, grid, needs_suv=needs_suv)
        names.append(name)
        if tick is not None:
            tick(n + 1, len(patients))
    return names


def stored_image(entry: Entry, key: str) -> PETImage:
    """Return one of a patient's scans: `full`, or one of `entry.facts["lows"]`."""
    in_suv = bool(entry.facts.get("in_suv", True))
    return PETImage(
        np.array(entry.arrays[key]), np.array(entry.facts["affine"]), in_suv=in_suv,
        unit="GML" if in_suv else "NONE",
    )  # fmt: skip


def stored_fingerprints(store: Store, names: Sequence[str]) -> dict[str, str]:
    """Return the fingerprint of each full-dose scan, by the name of its pair."""
    entries = [entry for name in names if (entry := store.get(name)) is not None]
    return {entry.facts["patient"]: entry.facts["fingerprint"] for entry in entries}


def _key(factor: Drf) -> str:
    """Return the name of a low-dose scan in the store."""
    return f"low_{dose_key(factor)}".replace(" ", "_")


def _store_patient(
    store: Store, name: str, files: PairFiles, grid: Grid, *, needs_suv: bool
) -> None:
    """Write one patient's scans and their coarse uptake."""
    arrays: dict[str, Volume] = {}
    affine, digest = np.eye(4), ""
    for factor in files.lows:
        low, full = read_pair(files, factor, needs_suv=needs_suv)
        digest = digest or fingerprint(full)
        for key, image, path in (
            (_key(factor), low, files.lows[factor]),
            ("full", full, files.full),
        ):
            if key not in arrays:
                arrays[key], affine = _on_grid(image, grid, str(path))
    arrays["uptake"] = coarse_uptake(torch.from_numpy(arrays["full"]))
    facts = {
        "patient": files.name,
        "fingerprint": digest,
        "lows": {_key(factor): factor for factor in files.lows},
        "affine": affine.tolist(),
        "in_suv": full.in_suv,
    }
    store.put(name, arrays, facts)


def _on_grid(image: PETImage, grid: Grid, path: str) -> tuple[Volume, Affine]:
    """Return a scan on the method's grid, with its affine. Raises InputRefused if it is empty."""
    require_activity(image, path)
    scan = on_grid(image, grid)
    return scan.values, scan.affine


def require_activity(image: PETImage, path: str) -> None:
    """Raise InputRefused, with the path, if a voxel is not finite or none is above 0."""
    require_finite(image, path)
    if not (image.values > 0).any():
        raise InputRefused(f"{path} holds no activity: no voxel is above 0")
