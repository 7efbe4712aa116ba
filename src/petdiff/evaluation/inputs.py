"""Read scans, labels, names of labels and lesions onto one grid."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, label

from petdiff.errors import InputRefused
from petdiff.evaluation.weighted_mask import WeightedMask, label_masks, sphere_mask
from petdiff.image import PETImage
from petdiff.io.formats import stem_of
from petdiff.io.json_files import read_json
from petdiff.io.labels import read_label_volume
from petdiff.simulation.labels.label_file import read_names as label_names
from petdiff.volume.orientation import reoriented
from petdiff.volume.regions import Spacing

_log = logging.getLogger(__name__)

Labels = NDArray[np.int32]

_SAME_MM = 0.01  # tolerance of voxel positions on one grid
_MAX_RADIUS_MM = 200.0  # most bodies are narrower
_LEAST_COVERED = 0.5  # of the reference's voxels; a scan that shows fewer is of another place


def on_grid(path: Path, image: PETImage, grid: PETImage, *, resample: bool) -> PETImage:
    """Return a scan on a grid.

    Raises InputRefused if it is on another and not `resample`, or if it shows less than half of the
    grid. A scan that does not show all of it gives a warning.
    """
    if image.shares_voxels(grid, _SAME_MM):
        return image
    if not resample:
        raise _other_grid(path, image, grid)
    return _resampled(path, image, grid)


def read_labels(path: Path, grid: PETImage, *, resample: bool) -> Labels:
    """Read a label volume on a grid; `resample`: with the label of the nearest voxel.

    Labels without a voxel on the grid are left out with a warning. Raises InputRefused if all
    are, and for labels on another grid without `resample`.
    """
    volume = read_label_volume(path)
    labels = volume.labels
    # An image on the labels' grid that needs no memory.
    label_grid = PETImage(np.broadcast_to(np.float32(0), labels.shape), volume.affine)
    if label_grid.shares_voxels(grid, _SAME_MM):
        return labels
    if not resample:
        raise _other_grid(path, label_grid, grid, "scan")
    resampled = nearest_labels(labels, volume.affine, grid)
    lost = np.setdiff1d(labels, resampled)
    if lost.size and not resampled.any():
        raise InputRefused(
            f"{path}: none of its labels has a voxel on the scan's grid: they are smaller than a "
            "voxel, or lie outside the field of view"
        )
    for number in lost[lost > 0]:
        _log.warning("%s: label %d has no voxel on the scan's grid and is left out", path, number)
    return resampled


def read_names(labels: Path, names: Path | None) -> dict[int, str]:
    """Return names by label from `names` or the .json of the labels; {} without a file."""
    sidecar = names_file(labels)
    path = names or sidecar
    if names is None and not sidecar.is_file():
        return {}
    return label_names(path)


def names_file(labels: Path) -> Path:
    """Return the path of the names of a label volume: the .json beside it, which may not exist."""
    return labels.with_name(stem_of(labels) + ".json")


def read_lesions(
    path: Path, grid: PETImage, *, resample: bool
) -> tuple[list[WeightedMask], list[str]]:
    """Read a list of lesions as `petdiff simulate` writes it, or a label volume.

    Returns the lesions in the field of view, and the names of those outside: a list has all
    lesions of a patient, but a scan may show only a part of the body. Raises InputRefused for a
    lesion without centre or radius or with an uptake that is not a number, and if all lesions are
    outside.
    """
    if path.suffix != ".json":
        return labelled_lesions(read_labels(path, grid, resample=resample), grid.spacing_mm), []
    content = read_json(path)
    entries = content.get("lesions") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise InputRefused(f'{path} holds no list of lesions: write {{"lesions": [{{…}}]}}')
    found, outside = [], []
    for number, entry in enumerate(entries, start=1):
        name, centre_mm, radius_mm, suv = _entry(path, number, entry)
        try:
            found.append(sphere_mask(name, centre_mm, radius_mm, grid.shape, grid.affine, suv))
        except InputRefused:
            outside.append(name)
    if outside and not found:
        raise InputRefused(
            f"{path}: none of the {len(outside)} lesions lies in the scan's field of view: leave "
            "`lesions` out, or give the list that belongs to this scan"
        )
    return found, outside


def labelled_lesions(labels: NDArray[np.int32], spacing_mm: Spacing) -> list[WeightedMask]:
    """Return one lesion per label; if there is only one label, one per connected part.

    Raises InputRefused if there are no labels.
    """
    masks = label_masks(labels, spacing_mm, "lesion {}".format)
    if not masks:
        raise InputRefused("the lesion volume holds no lesion: every voxel is 0")
    if len(masks) == 1:
        parts, _ = label(labels > 0, structure=np.ones((3, 3, 3)))
        masks = label_masks(parts, spacing_mm, "lesion {}".format)
    return list(masks.values())


def _entry(
    path: Path, number: int, entry: object
) -> tuple[str, tuple[float, float, float], float, float | None]:
    fields = entry if isinstance(entry, dict) else {}
    try:
        x, y, z = (float(mm) for mm in fields["centre_mm"])
        radius_mm = float(fields["radius_mm"])
    except (KeyError, TypeError, ValueError, OverflowError):
        x = y = z = radius_mm = np.nan
    if not (0 < radius_mm <= _MAX_RADIUS_MM and np.isfinite((x, y, z)).all()):
        raise InputRefused(
            f"{path}: lesion {number} lacks centre_mm (three numbers) or radius_mm (above 0, "
            f"{_MAX_RADIUS_MM:g} at most)"
        )
    # Lobed lesions and lesions with a cold centre do not have this uptake throughout the sphere.
    is_uniform = fields.get("shape", "round") == "round" and fields.get("suv") is not None
    suv = _number(fields["suv"]) if is_uniform else None
    if is_uniform and suv is None:
        raise InputRefused(
            f"{path}: suv of lesion {number} is {fields['suv']!r}: give a number, or leave it out"
        )
    organ = fields.get("organ")
    return f"lesion {number}" + (f" ({organ})" if organ else ""), (x, y, z), radius_mm, suv


def _number(given: object) -> float | None:
    """Return a finite number; None for other values."""
    try:
        number = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None


def _other_grid(
    path: Path, image: PETImage, grid: PETImage, owner: str = "reference"
) -> InputRefused:
    position = "" if image.grid_text != grid.grid_text else ", at another position or angle"
    return InputRefused(
        f"{path} has {image.grid_text}, the {owner} {grid.grid_text}{position}: "
        f"`resample` brings it to the {owner}'s grid"
    )


def _resampled(path: Path, image: PETImage, grid: PETImage) -> PETImage:
    from petdiff.volume.planes import as_tensor
    from petdiff.volume.resample import resample_like

    ready = reoriented(image, "".join(aff2axcodes(grid.affine)))
    volume = as_tensor(ready.suv)
    try:
        moved = resample_like(volume, ready.affine, grid.affine, grid.suv.shape, antialias=True)
    except ValueError:
        raise InputRefused(
            f"{path} is rotated against the reference, and `resample` does not rotate: register "
            "the two first"
        ) from None
    _require_covered(path, ready, grid)
    return PETImage(moved.numpy(), grid.affine)


def _require_covered(path: Path, image: PETImage, grid: PETImage) -> None:
    """Raise InputRefused or warn where a grid of parallel axes reaches beyond an image.

    There the image's edge voxels are repeated.
    """
    step = np.linalg.solve(image.affine, grid.affine)
    covered = 1.0
    for axis, (n, wanted) in enumerate(zip(image.shape, grid.shape, strict=True)):
        index = step[axis, axis] * np.arange(wanted) + step[axis, 3]
        # Grids of unlike voxels end up to half of a voxel apart.
        margin = 0.5 + max(1.0, step[axis, axis]) / 2
        covered *= float(np.mean((index >= -margin) & (index <= n - 1 + margin)))
    if covered < _LEAST_COVERED:
        raise InputRefused(
            f"{path} shows {100 * covered:.0f} % of the reference's voxels: it lies at another "
            "place or is of another part of the body; crop the reference to what both show"
        )
    if covered < 1:
        _log.warning(
            "%s shows %.0f %% of the reference's voxels; elsewhere its outermost voxels are "
            "repeated, and figures mean nothing: crop the reference to what both show",
            path, 100 * covered,
        )  # fmt: skip


def nearest_labels(labels: Labels, affine: NDArray[np.float64], grid: PETImage) -> Labels:
    """Return labels [i, j, k] on the grid of a scan, each from the nearest voxel; 0 outside."""
    step = np.linalg.solve(affine, grid.affine)
    # By grid-constant, the outermost voxels have their full size; by constant, half of it.
    moved = affine_transform(
        labels, step[:3, :3], step[:3, 3], output_shape=grid.shape, order=0, mode="grid-constant"
    )
    return np.asarray(moved, np.int32)
