"""Fingerprints of scans, which show whether a model was trained on a scan.

A fingerprint is a hash of the voxel values. It does not identify the patient.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np

from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.volume.orientation import to_ras

_BLOCK = 16  # voxels: a line of the processor's cache


def fingerprint(image: PETImage) -> str:
    """Return the SHA-256 of a scan's voxel values as hexadecimal digits.

    The axes are turned to RAS first. Copies of a scan with another orientation or file format have
    the same fingerprint if their values are the same float32 numbers.
    """
    values = to_ras(image.values, image.affine).volume
    digest = hashlib.sha256(np.array(values.shape, dtype="<i4").tobytes())
    # In blocks: needs no copy of the volume, and reads memory in order.
    for i in range(0, len(values), _BLOCK):
        planes = np.empty(values[i : i + _BLOCK].shape, dtype="<f4")
        for k in range(0, values.shape[2], _BLOCK):
            planes[..., k : k + _BLOCK] = values[i : i + _BLOCK, :, k : k + _BLOCK]
        digest.update(planes.data)
    return digest.hexdigest()


def scan_fingerprint(scan: PETImage | PETFrames) -> str:
    """Return the fingerprint of a scan; for frames, the hash of the fingerprints of all frames."""
    if isinstance(scan, PETImage):
        return fingerprint(scan)
    frames = "".join(fingerprint(frame) for frame in scan)
    return hashlib.sha256(frames.encode()).hexdigest()


def was_trained_on(full: PETImage, training_patients: Collection[str]) -> bool:
    """Return whether a patient is among those that a model was trained on.

    full               the patient's full-dose scan
    training_patients  of the model's card
    """
    return bool(training_patients) and fingerprint(full) in training_patients
