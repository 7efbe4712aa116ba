"""Read the regions of an RTSTRUCT: closed planar contours, on the grid of a scan."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.io.dicom_file import refusing
from petdiff.io.geometry import LPS_TO_RAS
from petdiff.measurement.frame_of_reference import may_be_same_frame, require_same_frame
from petdiff.measurement.polygons import (
    Points,
    area,
    by_plane,
    plane_ends,
    plane_shares,
    stacked_shares,
)
from petdiff.measurement.region import Region, RegionKind, region_kind, shares_region
from petdiff.simulation.labels.label_file import printable

_log = logging.getLogger(__name__)

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_FLAT = 0.1  # voxels: tolerance for the distance of a contour from its plane
_LONGEST_MM = 10.0  # between the contours of one part: no scanner's slices are thicker
# RT ROI Interpreted Type (3006,00A4), PS3.3 C.8.8.8.1
_ORGANS, _LESIONS = ("ORGAN", "AVOIDANCE", "EXTERNAL"), ("GTV", "CTV", "PTV", "TREATED_VOLUME")


def contour_regions(
    name: str, dataset: Dataset, scan: PETImage, kind: RegionKind | None
) -> list[Region]:
    """Return a region per structure with closed contours; others are left out with a warning.

    Voxels at a contour have the weight of the fraction within it. A contour within another one of
    the same plane is a hole.

    A structure in another frame of reference than the scan is also left out with a warning, if
    there are others; else the set is refused.

    Raises InputRefused if a contour is not parallel to the scan's slices, or a structure is
    outside the scan or smaller than a voxel.
    """
    with refusing(f"{name} is a damaged structure set", ": export it again"):
        types = {
            int(one.ReferencedROINumber): str(one.get("RTROIInterpretedType", ""))
            for one in dataset.get("RTROIObservationsSequence", [])
        }
        drawn = {
            int(one.ReferencedROINumber): _outlines(one)
            for one in dataset.get("ROIContourSequence", [])
        }
        numbered = {int(roi.ROINumber): roi for roi in dataset.get("StructureSetROISequence", [])}
        of_scan = _of_scan(name, dataset, numbered, scan)
    found = []
    for number, roi in numbered.items():
        title = printable(str(roi.get("ROIName", ""))) or f"structure {number}"
        if number not in of_scan:
            _log.warning("%s: %s has another frame of reference and is left out", name, title)
            continue
        if not drawn.get(number):
            _log.warning("%s: %s has no closed contour and is left out", name, title)
            continue
        of_kind = kind or _kind(types.get(number, ""), title)
        found.append(_region(name, title, of_kind, drawn[number], scan))
    return found


def _of_scan(
    name: str, dataset: Dataset, structures: Mapping[int, Dataset], scan: PETImage
) -> set[int]:
    """Return the structures in the scan's frame of reference. Raises InputRefused if none is."""
    listed = [
        str(one.get("FrameOfReferenceUID") or "")
        for one in dataset.get("ReferencedFrameOfReferenceSequence", [])
    ]
    # A structure that states no frame may be in any that is listed.
    other = next((uid for uid in listed if not may_be_same_frame(uid, scan)), "")
    frames = {
        number: str(roi.get("ReferencedFrameOfReferenceUID") or other)
        for number, roi in structures.items()
    }
    same = {number for number, uid in frames.items() if may_be_same_frame(uid, scan)}
    if frames and not same:
        require_same_frame(name, next(iter(frames.values())), scan)
    return same


def _outlines(roi: Dataset) -> list[Points]:
    """Return the closed contours of a structure [n, 3] in mm, RAS+."""
    closed = [
        contour.get("ContourData") or []
        for contour in roi.get("ContourSequence", [])
        if str(contour.get("ContourGeometricType", "")) in _CLOSED
    ]
    return [
        np.asarray(data, dtype=np.float64).reshape(-1, 3) * np.diag(LPS_TO_RAS)[:3]
        for data in closed
        if len(data) >= 9
    ]


def _region(
    name: str, title: str, kind: RegionKind, outlines: list[Points], scan: PETImage
) -> Region:
    inverse = np.linalg.inv(scan.affine)
    index = [one @ inverse[:3, :3].T + inverse[:3, 3] for one in outlines]
    spans = np.array([np.ptp(one, axis=0) for one in index]).max(axis=0)
    axis = int(spans.argmin())
    if spans[axis] > _FLAT:
        raise InputRefused(
            f"{name}: the contours of {title} are not parallel to the slices of the scan: export "
            "the structure set for this scan, or as a segmentation"
        )
    order = [*({0, 1, 2} - {axis}), axis]
    shares, visible = _shares([one[:, order] for one in index], scan, order)
    return shares_region(
        np.moveaxis(shares, -1, axis), scan, name=title, kind=kind, visible=visible
    )


def _shares(
    index: list[Points], scan: PETImage, order: list[int]
) -> tuple[NDArray[np.float64], float]:
    """Return the shares of the scan's voxels, and the fraction of the structure in the scan."""
    a, b, slices = (scan.shape[axis] for axis in order)
    positions, groups = by_plane(index)
    areas = [plane_shares(group, (a, b)) for group in groups]
    longest = _LONGEST_MM / scan.spacing_mm[order[2]]
    shares = stacked_shares(positions, areas, slices, longest)
    ends = plane_ends(positions, longest)
    voxels = sum(
        (high - low) * area(group) for (low, high), group in zip(ends, groups, strict=True)
    )
    return shares, min(float(shares.sum()) / voxels, 1.0) if voxels else 1.0


def _kind(interpreted: str, title: str) -> RegionKind:
    if interpreted in _LESIONS:
        return "lesion"
    return "organ" if interpreted in _ORGANS else region_kind(title)
