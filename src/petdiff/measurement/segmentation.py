"""Regions of a DICOM segmentation (SEG), read with highdicom (extra `regions`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydicom import Dataset

from petdiff.errors import InputRefused, UsageError
from petdiff.evaluation.inputs import nearest_labels
from petdiff.image import PETImage, by_axis, spacing_of
from petdiff.io.dicom_file import refusing
from petdiff.io.geometry import LPS_TO_RAS
from petdiff.measurement.frame_of_reference import require_same_frame
from petdiff.measurement.region import Region, RegionKind, region_kind, shares_region
from petdiff.simulation.labels.label_file import printable
from petdiff.volume.regions import Affine, Mask, voxel_ml

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription


NO_HIGHDICOM = "needs highdicom: pip install 'petdiff[regions]'"
_SAME = 0.02  # voxels that a segmentation's voxels may be off those of the scan
_INSIDE = 0.5  # fraction from which a voxel of a fractional segmentation belongs to the region
# Segmented property categories (CID 7150): anatomical structure, body structure, tissue.
_OF_ORGANS = ("91723000", "123037004", "85756007")
_OF_LESIONS = ("49755003",)  # morphologically abnormal structure


def segment_regions(
    name: str, dataset: Dataset, scan: PETImage, kind: RegionKind | None, *, resample: bool
) -> list[Region]:
    """Return a region per segment of a DICOM SEG.

    resample  take the nearest voxel where the segmentation lies on another grid

    Raises UsageError without highdicom, InputRefused for another grid without `resample`, another
    frame of reference, and an empty segment.
    """
    try:
        from highdicom.seg import Segmentation
    except ImportError:
        raise UsageError(f"`mask` {name}: a DICOM segmentation {NO_HIGHDICOM}") from None
    require_same_frame(name, str(dataset.get("FrameOfReferenceUID", "")), scan)
    with refusing(f"{name} cannot be read as a DICOM segmentation"):
        seg = Segmentation.from_dataset(dataset, copy=False)
        numbers = [int(number) for number in seg.segment_numbers]
    return [_region(name, seg, number, scan, kind, resample=resample) for number in numbers]


def _region(
    name: str,
    seg: Segmentation,
    number: int,
    scan: PETImage,
    kind: RegionKind | None,
    *,
    resample: bool,
) -> Region:
    with refusing(f"{name}: segment {number} cannot be read"):
        described = seg.get_segment_description(number)
        title = printable(str(described.segment_label)) or f"segment {number}"
        volume = seg.get_volume(segment_numbers=[number])
        mask = np.asarray(volume.array[..., 0] >= _INSIDE)
    affine = LPS_TO_RAS @ volume.affine
    placed = _on_grid(name, mask, affine, scan, resample=resample)
    return shares_region(
        placed.astype(np.float64),
        scan,
        name=title,
        kind=kind or _kind(described, title),
        visible=_visible_fraction(mask, affine, scan, placed),
    )


def _visible_fraction(mask: Mask, affine: Affine, scan: PETImage, placed: Mask) -> float:
    """Return the fraction of a mask's voxels whose centres are in the scan.

    If there are none, as of coarse voxels at the edge of a scan with finer ones, it is that of the
    volume.

    placed  the mask on the grid of the scan
    """
    step = np.linalg.solve(scan.affine, affine)
    index = np.argwhere(mask) @ step[:3, :3].T + step[:3, 3]
    inside = ((index >= -0.5 - _SAME) & (index <= np.array(scan.shape) - 0.5 + _SAME)).all(axis=1)
    if inside.any():
        return float(inside.mean())
    share = float(placed.sum()) / max(len(index), 1)
    return min(share * voxel_ml(scan.spacing_mm) / voxel_ml(spacing_of(affine)), 1.0)


def _on_grid(name: str, mask: Mask, affine: Affine, scan: PETImage, *, resample: bool) -> Mask:
    """Return a mask on the grid of a scan: its voxels where they are the scan's, else nearest."""
    step = np.linalg.solve(scan.affine, affine)  # voxel of the mask → voxel of the scan
    corners = np.array(np.meshgrid(*((0, n - 1) for n in mask.shape))).reshape(3, 8)
    places = step[:3, :3] @ corners + step[:3, 3:]
    turn = np.rint(step[:3, :3])
    exact = np.abs(places - turn @ corners - np.rint(step[:3, 3:])).max() <= _SAME
    if exact and (np.abs(turn).sum(axis=0) == 1).all() and (np.abs(turn).sum(axis=1) == 1).all():
        placed = np.zeros(scan.shape, dtype=bool)
        index = np.argwhere(mask) @ turn.T.astype(int) + np.rint(step[:3, 3]).astype(int)
        index = index[((index >= 0) & (index < scan.shape)).all(axis=1)]
        placed[tuple(index.T)] = True
        return placed
    if not resample:
        raise InputRefused(
            f"{name} has voxels of {by_axis(spacing_of(affine))} mm on another grid than the scan: "
            "`resample` takes the nearest voxel"
        )
    return nearest_labels(mask.astype(np.int32), affine, scan) > 0


def _kind(described: SegmentDescription, title: str) -> RegionKind:
    category = str(described.segmented_property_category.value)
    if category in _OF_LESIONS:
        return "lesion"
    return "organ" if category in _OF_ORGANS else region_kind(title)
