"""Check that a DICOM mask and a scan have the same patient coordinates."""

from __future__ import annotations

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.io.dicom_read import DicomSource


def require_same_frame(name: str, frame_uid: str, scan: PETImage) -> None:
    """Raise InputRefused if both have a frame of reference (0020,0052) and they differ.

    Coordinates of different frames of reference are not related.
    """
    if not frame_uid or not isinstance(scan.source, DicomSource):
        return
    own = str(scan.source.headers[0].get("FrameOfReferenceUID") or "")
    if own and own != frame_uid:
        raise InputRefused(
            f"{name} has another frame of reference (0020,0052) than the scan, so their "
            "coordinates are not related: register the two first, or give the mask of this scan"
        )
