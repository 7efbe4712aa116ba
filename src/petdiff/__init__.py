"""petdiff: denoise whole-body PET with 3-D diffusion models. For research, not a medical device.

image = petdiff.read("scan/")                   # DICOM, NIfTI or npz → SUV
result = petdiff.denoise(image)                 # image, uncertainty, record
petdiff.write(result.image, "denoised.nii.gz")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from petdiff.acceptance.run import Acceptance as Acceptance
    from petdiff.acceptance.run import accept as accept
    from petdiff.evaluation.cohort.evaluate import CohortEvaluation as CohortEvaluation
    from petdiff.evaluation.cohort.evaluate import evaluate_cohort as evaluate_cohort
    from petdiff.evaluation.evaluate import Evaluation as Evaluation
    from petdiff.evaluation.evaluate import evaluate as evaluate
    from petdiff.frames import PETFrames as PETFrames
    from petdiff.image import PETImage as PETImage
    from petdiff.inference.denoise import Result as Result
    from petdiff.inference.denoise import denoise as denoise
    from petdiff.inference.frames import FramesResult as FramesResult
    from petdiff.io import read as read
    from petdiff.io import write as write
    from petdiff.many.run import ManyResult as ManyResult
    from petdiff.many.run import denoise_many as denoise_many
    from petdiff.measurement.files import read_regions as read_regions
    from petdiff.measurement.foci import find_lesions as find_lesions
    from petdiff.measurement.measure import measure as measure
    from petdiff.measurement.record import Measurement as Measurement
    from petdiff.measurement.region import Region as Region
    from petdiff.measurement.region import ball_region as ball_region
    from petdiff.measurement.region import mask_region as mask_region
    from petdiff.measurement.run import measure_run as measure_run
    from petdiff.measurement.stored_run import read_run as read_run
    from petdiff.methods.model import Model as Model
    from petdiff.methods.model import load_model as load_model
    from petdiff.node.run import run_node as run_node
    from petdiff.simulation.study import rescan as rescan
    from petdiff.simulation.study import simulate as simulate
    from petdiff.thinning.thin import Thinned as Thinned
    from petdiff.thinning.thin import thin as thin
    from petdiff.training.recipe import Recipe as Recipe
    from petdiff.training.run import TrainOptions as TrainOptions
    from petdiff.training.run import train as train
    from petdiff.uncertainty.audit.compare import Audit as Audit
    from petdiff.uncertainty.audit.compare import audit as audit
    from petdiff.uncertainty.intervals import calibration_of as calibration_of
    from petdiff.uncertainty.intervals import voxel_intervals as voxel_intervals

__version__ = "0.1.0"

# The module of each public name. A module is imported when its name is first used, so that
# `import petdiff` is fast and functions that need no torch do not import it.
_MODULES = {
    "PETImage": "petdiff.image",
    "PETFrames": "petdiff.frames",
    "read": "petdiff.io",
    "write": "petdiff.io",
    "denoise": "petdiff.inference.denoise",
    "Result": "petdiff.inference.denoise",
    "FramesResult": "petdiff.inference.frames",
    "denoise_many": "petdiff.many.run",
    "ManyResult": "petdiff.many.run",
    "voxel_intervals": "petdiff.uncertainty.intervals",
    "calibration_of": "petdiff.uncertainty.intervals",
    "audit": "petdiff.uncertainty.audit.compare",
    "Audit": "petdiff.uncertainty.audit.compare",
    "measure": "petdiff.measurement.measure",
    "Measurement": "petdiff.measurement.record",
    "Region": "petdiff.measurement.region",
    "ball_region": "petdiff.measurement.region",
    "mask_region": "petdiff.measurement.region",
    "find_lesions": "petdiff.measurement.foci",
    "read_regions": "petdiff.measurement.files",
    "read_run": "petdiff.measurement.stored_run",
    "measure_run": "petdiff.measurement.run",
    "load_model": "petdiff.methods.model",
    "Model": "petdiff.methods.model",
    "run_node": "petdiff.node.run",
    "simulate": "petdiff.simulation.study",
    "rescan": "petdiff.simulation.study",
    "accept": "petdiff.acceptance.run",
    "Acceptance": "petdiff.acceptance.run",
    "thin": "petdiff.thinning.thin",
    "Thinned": "petdiff.thinning.thin",
    "evaluate": "petdiff.evaluation.evaluate",
    "Evaluation": "petdiff.evaluation.evaluate",
    "evaluate_cohort": "petdiff.evaluation.cohort.evaluate",
    "CohortEvaluation": "petdiff.evaluation.cohort.evaluate",
    "train": "petdiff.training.run",
    "TrainOptions": "petdiff.training.run",
    "Recipe": "petdiff.training.recipe",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'petdiff' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
