"""Check that a DICOM mask and a scan have the same patient coordinates."""

from __future__ import annotations

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.io.dicom_read import DicomSource


def may_be_same_frame(frame_uid: str, scan: PETImage) -> bool:
    """Return False if both have a frame of reference (0020,0052) and they differ.

    Coordinates of different frames of reference are not related.
    """
    if not frame_uid or not isinstance(scan.source, DicomSource):
        return True
    return str(scan.source.headers[0].get("FrameOfReferenceUID") or "") in ("", frame_uid)


def require_same_frame(name: str, frame_uid: str, scan: PETImage) -> None:
    """Raise InputRefused if both have a frame of reference and they differ."""
    if not may_be_same_frame(frame_uid, scan):
        raise InputRefused(
            f"{name} has another frame of reference (0020,0052) than the scan, so their "
            "coordinates are not related: register the two first, or give the mask of this scan"
        )
