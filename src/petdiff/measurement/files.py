"""Read the regions of mask files: label maps, DICOM segmentations, RTSTRUCT contours."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from petdiff.errors import InputRefused, UsageError
from petdiff.evaluation.inputs import read_labels, read_names
from petdiff.image import PETImage
from petdiff.io.dicom_file import read_file
from petdiff.io.entries import Entry, file_entry, folder_entries
from petdiff.io.formats import existing, format_of
from petdiff.measurement.contours import contour_regions
from petdiff.measurement.region import Region, RegionKind, label_regions, region_kind
from petdiff.measurement.segmentation import segment_regions

_MAX_REGIONS = 1000
_LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"  # since 2024
_MASKS = (SegmentationStorage, _LABEL_MAP_SEGMENTATION, RTStructureSetStorage)


def read_regions(
    path: str | Path,
    scan: PETImage,
    *,
    names: str | Path | None = None,
    kind: RegionKind | None = None,
    resample: bool = False,
) -> list[Region]:
    """Read the regions of a mask file on the grid of a scan.

    path      label map (.nii, .nii.gz, .nrrd, .mha, .npz), DICOM SEG or RTSTRUCT, or a folder with
              one of the latter
    names     of the labels of a label map, if not in the .json beside it
    kind      of all regions; None: that of the file, else organ if the name is that of an organ,
              else lesion
    resample  use the nearest voxel if the mask is on another grid

    Raises InputRefused for an empty mask or region, and for a mask on another grid without
    `resample`; UsageError for a SEG without highdicom.
    """
    path = existing(path)
    if format_of(path) == "dicom":
        if names is not None:
            raise UsageError("`names` are those of a label map: DICOM masks have their own")
        found = _dicom_regions(path, scan, kind, resample=resample)
    else:
        found = _labelled(path, scan, names, kind, resample=resample)
    if not found:
        raise InputRefused(f"{path} has no regions")
    if len(found) > _MAX_REGIONS:
        raise InputRefused(f"{path} is not a mask: it has {len(found)} different values")
    return found


def _labelled(
    path: Path,
    scan: PETImage,
    names: str | Path | None,
    kind: RegionKind | None,
    *,
    resample: bool,
) -> list[Region]:
    labels = read_labels(path, scan, resample=resample)
    if not labels.any():
        raise InputRefused(f"{path} is an empty mask: all voxels of the scan's grid are 0")
    called = read_names(path, None if names is None else Path(names))
    kinds: dict[int, RegionKind] = {
        number: kind or region_kind(name) for number, name in called.items()
    }
    return label_regions(labels, called, kinds, scan, kind or "lesion")


def _dicom_regions(
    path: Path, scan: PETImage, kind: RegionKind | None, *, resample: bool
) -> list[Region]:
    entry, dataset = _mask_file(path)
    if dataset.get("SOPClassUID") == RTStructureSetStorage:
        return contour_regions(entry.name, dataset, scan, kind)
    return segment_regions(entry.name, dataset, scan, kind, resample=resample)


def _mask_file(path: Path) -> tuple[Entry, Dataset]:
    """Return the one segmentation or structure set at a path."""
    entries = folder_entries(path) if path.is_dir() else [file_entry(path, path.name)]
    masks = []
    for entry in entries:
        header = read_file(entry, pixels=False)
        if header is not None and header.dataset.get("SOPClassUID") in _MASKS:
            masks.append(entry)
    if len(masks) != 1:
        raise InputRefused(
            f"{path} holds {len(masks) or 'no'} DICOM segmentation or structure set"
            f"{'s: give one file' if masks else ': give a label map (.nii.gz), SEG or RTSTRUCT'}"
        )
    file = read_file(masks[0], pixels=True)
    assert file is not None
    return masks[0], file.dataset
