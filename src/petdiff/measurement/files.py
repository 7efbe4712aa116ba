"""Regions of files: label maps as volumes (NIfTI, NRRD, MetaImage, .npz) with names of labels."""

from __future__ import annotations

from pathlib import Path

from petdiff.errors import InputRefused, UsageError
from petdiff.evaluation.inputs import read_labels, read_names
from petdiff.image import PETImage
from petdiff.io.forms import existing, form_of
from petdiff.measurement.region import Kind, Region, label_regions
from petdiff.simulation.labels.label_names import is_organ

_MOST_REGIONS = 1000


def read_regions(
    path: str | Path,
    scan: PETImage,
    *,
    names: str | Path | None = None,
    kind: Kind | None = None,
    resample: bool = False,
) -> list[Region]:
    """Read the regions of a mask file on the grid of a scan.

    names     of the labels, if not in the .json beside the file
    kind      of all regions; None: organ where the name is that of one, else lesion
    resample  take the nearest voxel's label where the mask lies on another grid

    Raises InputRefused for an empty mask, for a mask on another grid without `resample`, and where
    a region is lost by it.
    """
    path = existing(path)
    if form_of(path) == "dicom":
        raise UsageError(f"`mask` {path} is no label map: give .nii, .nii.gz, .nrrd, .mha or .npz")
    labels = read_labels(path, scan, resample=resample)
    if not labels.any():
        raise InputRefused(f"{path} is an empty mask: every voxel of the scan's grid is 0")
    called = read_names(path, None if names is None else Path(names))
    kinds: dict[int, Kind] = {
        number: kind or ("organ" if is_organ(name) else "lesion") for number, name in called.items()
    }
    found = label_regions(labels, called, kinds, scan, kind or "lesion")
    if len(found) > _MOST_REGIONS:
        raise InputRefused(f"{path} is no mask: it holds {len(found)} different values")
    return found
