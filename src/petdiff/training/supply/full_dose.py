"""Training volumes from the user's own full-dose scans: crops, thinned to random doses.

The noise of a scan is measured once, when the scan is stored. Its noise maps are cropped with the
scan, so that a thinned crop has the noise of the thinned scan at that place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from petdiff.acceptance.suitable import noise_warnings, refuse_unsuitable
from petdiff.data.array_store import Entry, Store
from petdiff.data.fingerprint import fingerprint
from petdiff.data.full_dose import FullDoseScan
from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.io import in_suv
from petdiff.progress import ProgressCallback
from petdiff.thinning.colour import NoiseColour
from petdiff.thinning.draw import draw
from petdiff.thinning.noise_map import NoiseMap
from petdiff.thinning.texture import texture_on
from petdiff.thinning.thin import MeasuredScan
from petdiff.training.supply.crops import (
    Box,
    Grid,
    draw_box,
    draw_entry,
    draw_transform,
    on_grid,
    transformed,
)
from petdiff.training.supply.examples import coarse_uptake
from petdiff.training.supply.own_pairs import require_activity
from petdiff.training.supply.paired_volumes import PairedVolumes
from petdiff.volume.planes import as_tensor

# Dose reduction factors of the thinned crops. The lower the dose, the more of the training is added
# noise, which is not quite that of true low-dose scans (lab book 27 and 33).
LOWEST_FACTOR, HIGHEST_FACTOR = 1.35, 20.0
_LOWS = 3  # doses that each crop is thinned to
_VALIDATED = (4.0, 20.0)  # dose reduction factors of held-out scans
_STREAM = 4  # makes the random numbers of these crops independent of all others of a run


@dataclass(frozen=True)
class ThinnedCrops:
    """A source of crops of stored full-dose scans, the same for the same seed and number.

    names  of the entries that `store_full_dose` wrote
    shape  of the crops in the method's voxels; smaller along axes where a scan is smaller
    """

    store: Store
    names: Sequence[str]
    seed: int
    shape: tuple[int, int, int]
    grid: Grid

    def __call__(self, number: int) -> PairedVolumes:
        """Return crop `number` and three thinned ones, rotated and scaled with probability 0.5."""
        rng = np.random.default_rng([self.seed, _STREAM, number])
        entry = draw_entry(rng, self.store, self.names)
        scan = PETImage(entry.arrays["full"], np.array(entry.facts["affine"]))
        box = draw_box(rng, entry.arrays["uptake"], scan.shape, self._shape(scan))
        transform = draw_transform(rng)
        factors = np.exp(rng.uniform(np.log(LOWEST_FACTOR), np.log(HIGHEST_FACTOR), _LOWS)).tolist()
        seeds = rng.integers(2**32, size=len(factors))
        full, noise = np.array(scan.values[box]), _noise(entry, box)
        lows = [
            draw(full, noise, 1 / factor, scan.spacing_mm, int(seed))
            for factor, seed in zip(factors, seeds, strict=True)
        ]
        first, *others = (
            transformed(on_grid(PETImage(volume, scan.affine), self.grid).values, transform)
            for volume in (full, *lows)
        )
        return PairedVolumes(first, dict(zip(factors, others, strict=True)))

    def _shape(self, scan: PETImage) -> tuple[int, ...]:
        """Return the voxels of a crop in the scan's own grid; its axes i and j may be exchanged."""
        working_mm = self.grid.working_voxel_mm(scan.spacing_mm)
        ratios = [b / a for a, b in zip(scan.spacing_mm, working_mm, strict=True)]
        return tuple(int(np.ceil(n * r)) for n, r in zip(self.shape, ratios, strict=True))


@dataclass(frozen=True)
class StoredScans:
    """The stored full-dose scans.

    names         entries in the store of the usable scans, by name of the scan
    fingerprints  of the usable scans, by name of the scan
    left_out      reason for each scan that is not used, by name of the scan
    """

    names: dict[str, str]
    fingerprints: dict[str, str]
    left_out: dict[str, str]


def store_full_dose(
    store: Store,
    scans: Sequence[FullDoseScan],
    *,
    needs_suv: bool,
    tick: ProgressCallback | None = None,
) -> StoredScans:
    """Write the scans that the store lacks, with their noise; returns which can be used.

    needs_suv  whether the method needs SUV
    tick       called with the number of finished scans and of all

    A scan is left out if it cannot be read, is unsuitable for an acceptance test, or is a
    duplicate. Raises InputRefused for a store of an older petdiff, which lacks some of the noise.
    """
    entries: dict[str, Entry] = {}
    for n, scan in enumerate(scans):
        name = f"scan-{n:05d}"
        if name not in store:
            try:
                _store_scan(store, name, scan, needs_suv=needs_suv)
            except InputRefused as problem:
                store.put(name, {}, {"refused": str(problem)})
        entry = store.get(name)
        assert entry is not None
        if not entry.facts["refused"] and "texture" not in entry.arrays:
            raise InputRefused(
                f"{store.folder / name} is of an older petdiff, without the texture of the noise: "
                "start the run anew in a new folder"
            )
        entries[name] = entry
        if tick is not None:
            tick(n + 1, len(scans))
    refused = _refused(entries)
    titles = dict(zip(entries, (scan.name for scan in scans), strict=True))
    used = [name for name in entries if name not in refused]
    return StoredScans(
        {titles[name]: name for name in used},
        {titles[name]: entries[name].facts["fingerprint"] for name in used},
        {titles[name]: why for name, why in refused.items()},
    )


def store_thinned(store: Store, name: str) -> str:
    """Write a stored scan, thinned to the validation doses; returns the name of the entry."""
    thinned = f"thinned-{name}"
    if thinned not in store:
        entry = store.get(name)
        assert entry is not None
        full, whole = np.array(entry.arrays["full"]), (slice(None),) * 3
        scan, noise = PETImage(full, np.array(entry.facts["affine"])), _noise(entry, whole)
        lows = {f"low_{factor:g}": factor for factor in _VALIDATED}
        arrays = {"full": full} | {
            key: draw(full, noise, 1 / factor, scan.spacing_mm, seed=0)
            for key, factor in lows.items()
        }
        facts = {key: entry.facts[key] for key in ("affine", "in_suv")}
        store.put(thinned, arrays, {"lows": lows, **facts})
    return thinned


def _refused(entries: Mapping[str, Entry]) -> dict[str, str]:
    """Return the reasons why scans cannot be used, by entry."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for name, entry in entries.items():
        facts = entry.facts
        if facts["refused"]:
            found[name] = facts["refused"]
        elif facts["fingerprint"] in seen:
            found[name] = "voxel by voxel the same as another scan"
        else:
            seen.add(facts["fingerprint"])
    noise = {name: e.facts["noise_at_10_mm"] for name, e in entries.items() if name not in found}
    return found | noise_warnings(noise)


def _store_scan(store: Store, name: str, scan: FullDoseScan, *, needs_suv: bool) -> None:
    """Write a scan and its noise. Raises InputRefused where it cannot be used."""
    image = scan.read()
    if needs_suv:
        in_suv(scan.path, image)
    require_activity(image, "the scan")
    refuse_unsuitable(image)
    measured = MeasuredScan(image)
    if measured.warnings:
        raise InputRefused(measured.warnings[0])
    axial, noise = measured.axial, measured.noise
    arrays = {
        "full": axial.values,
        "relative": noise.relative,
        "activity": noise.activity,
        "body": noise.body,
        "texture": noise.texture.amplitudes,
        "texture_products": noise.texture.products,
        "uptake": coarse_uptake(as_tensor(axial.values)),
    }
    facts = {
        "refused": "",
        "fingerprint": fingerprint(image),
        "noise_at_10_mm": measured.noise_at_10_mm,
        "colour": [list(noise.colour.fwhm_mm), noise.colour.level, noise.colour.excess],
        "affine": axial.affine.tolist(),
        "in_suv": image.in_suv,
    }
    store.put(name, arrays, facts)


def _noise(entry: Entry, box: Box) -> NoiseMap:
    """Return the noise of a part of a stored scan."""
    relative, activity, body = (
        np.array(entry.arrays[key][box]) for key in ("relative", "activity", "body")
    )
    (i, j, k), level, excess = entry.facts["colour"]
    colour = NoiseColour((i, j, k), level, excess)
    amplitudes, products = (np.array(entry.arrays[key]) for key in ("texture", "texture_products"))
    texture = texture_on(amplitudes, products, entry.arrays["full"].shape)
    return NoiseMap(relative, activity, body, colour, texture[box])
