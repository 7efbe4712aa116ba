"""Records of made-up runs of `petdiff denoise`."""

from __future__ import annotations

from collections.abc import Mapping

from petdiff.image import PETImage
from petdiff.inference.record import DenoisingRecord
from petdiff.inference.run_record import RunRecord
from petdiff.volume.activity import activity_change

MODEL = {
    "name": "/home/jane/flow3d",
    "sha256": "ab" * 32,
    "method": "flow3d",
    "domain": "local_activity",
    "architecture": {},
    "constants": {},
    "training": {"data": "clinic"},
    "licence": "Apache-2.0",
}


def denoising_record(image: PETImage, model: Mapping[str, object] | None = None) -> DenoisingRecord:
    """Return the record of a run with two samples; `model` replaces entries of its card."""
    return DenoisingRecord.model_validate(
        {
            "model": MODEL | dict(model or {}),
            "device": "cpu",
            "precision": "float32",
            "steps": 1,
            "samples": 2,
            "drf": None,
            "seed": 0,
            "working_voxel_mm": image.spacing_mm,
            "working_shape": image.shape,
        }
    )


def run_record(
    before: PETImage,
    after: PETImage,
    *,
    model: Mapping[str, object] | None = None,
    **suv: object,
) -> RunRecord:
    """Return the record of a run; `model` and `suv` replace entries of theirs."""
    return RunRecord.model_validate(
        {
            "petdiff": "0",
            "finished": "2030-01-02T03:04:05+00:00",
            "versions": {"python": "3"},
            "options": {"scan": "/data/DOE JOHN/scan.nii", "model": "flow3d"},
            "input": {
                "shape": before.shape,
                "spacing_mm": before.spacing_mm,
                "unit": "BQML",
                "series_description": "DOE JOHN whole body",
                "series_uid": "1.2.345678",
                "suv": {
                    "rule": "<b>administered</b>",
                    "reason": "why",
                    "factor": [0.5, 0.25],
                    "warnings": [],
                    "inputs": {"series_date": "19990909", "weight_kg": 77.125},
                }
                | suv,
            },
            "output_form": "nifti",
            "denoising": denoising_record(before, model),
            "activity": activity_change(before.suv, after.suv, before.spacing_mm),
            "seconds": {"denoising": 1.0},
        }
    )
