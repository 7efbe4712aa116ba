"""Small BIDS data sets for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

AFFINE = np.diag([-4.0, 4, 4, 1])
F18_S = 6586.2
# All that BIDS asks of a PET scan, and the weight.
KEYS: dict[str, Any] = {
    "Units": "Bq/mL",
    "PatientWeight": 70,
    "Manufacturer": "Nobody",
    "ManufacturersModelName": "made for a test",
    "TracerName": "FDG",
    "TracerRadionuclide": "F18",
    "InjectedRadioactivity": 350,
    "InjectedRadioactivityUnits": "MBq",
    "InjectedMass": 5,
    "InjectedMassUnits": "ug",
    "SpecificRadioactivity": 70,
    "SpecificRadioactivityUnits": "MBq/ug",
    "ModeOfAdministration": "bolus",
    "TimeZero": "10:00:00",
    "InjectionStart": -3600,
    "ScanStart": 0,
    "FrameTimesStart": [0],
    "FrameDuration": [600],
    "AcquisitionMode": "list mode",
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0,
    "ReconMethodName": "OSEM",
    "ReconMethodParameterLabels": ["iterations", "subsets"],
    "ReconMethodParameterUnits": ["none", "none"],
    "ReconMethodParameterValues": [2, 21],
    "ReconFilterType": "none",
    "AttenuationCorrection": "CT",
}
FACTOR = 70_000 / (350e6 * 2 ** (-3600 / F18_S))


def body(mean: float = 4000, shape: tuple[int, int, int] = (12, 12, 8)) -> np.ndarray:
    """A body of a mean in air, with 10 % of noise."""
    x, y = np.meshgrid(np.arange(shape[0]) - 5.5, np.arange(shape[1]) - 5.5, indexing="ij")
    inside = np.repeat((x**2 + y**2 < 20)[:, :, None], shape[2], axis=2)
    noise = np.random.default_rng(0).normal(1, 0.1, shape)
    return np.where(inside, mean * noise, 0).astype(np.float32)


def data_set(root: Path) -> Path:
    """Begin a data set."""
    root.mkdir(parents=True, exist_ok=True)
    description = {"Name": "made for a test", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "README").write_text("Made for a test: no person was scanned.\n")
    return root


def add_scan(
    root: Path, name: str, keys: Mapping[str, Any] | None = KEYS, *, values: Any = None
) -> Path:
    """Add a scan by its name without suffix; returns the NIfTI file."""
    labels = dict(part.split("-") for part in name.split("_"))
    folder = root / f"sub-{labels['sub']}"
    if "ses" in labels:
        folder /= f"ses-{labels['ses']}"
    folder /= "pet"
    folder.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(body() if values is None else values, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, folder / f"{name}_pet.nii.gz")
    if keys is not None:
        (folder / f"{name}_pet.json").write_text(json.dumps(dict(keys)))
    return folder / f"{name}_pet.nii.gz"
