"""The file names, sidecars and provenance of a denoised scan in a BIDS derivative."""

from __future__ import annotations

from pathlib import Path

from petdiff.errors import UsageError
from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.inference.record import DenoisingRecord
from petdiff.io.bids_dataset import bids_scan, one_scan
from petdiff.io.bids_derivative import BidsDerivative
from petdiff.io.formats import existing
from petdiff.io.sidecar import bids_unit
from petdiff.io.volume_source import stored_unit


def derivative_of(scan: Path, output: Path, to: str | None) -> BidsDerivative | None:
    """Return the BIDS derivative for the results of a scan; None if they are written otherwise.

    The results are a BIDS derivative if `to` is bids, or if `to` is None, the scan is in a BIDS
    data set and `output` is in a folder `derivatives`. Raises UsageError if `to` is bids and the
    scan is in no BIDS data set.
    """
    if to not in (None, "bids"):
        return None
    found = bids_scan(one_scan(existing(scan)))
    if found is None:
        if to is None:
            return None
        raise UsageError(
            f"`to` bids: {scan.name} is not a PET scan of a BIDS data set "
            "(sub-*/[ses-*/]pet/sub-*_pet.nii.gz); use `to` nifti"
        )
    if to is None and Path(output).absolute().parent.name != "derivatives":
        return None
    return BidsDerivative(found, Path(output))


def provenance(run: DenoisingRecord, interval: float | None) -> dict[str, str | int | float]:
    """Return the fields of a sidecar about a run: model, its SHA-256 and settings."""
    return {
        "Model": Path(run.model.name).name,
        "ModelSHA256": run.model.sha256,
        "Steps": run.steps,
        "Samples": run.samples,
        "Seed": run.seed,
        "DoseReductionFactor": run.drf or "n/a",
        "Device": run.device,
        **({} if interval is None else {"IntervalLevel": interval}),
    }


def unit_name(scan: PETImage | PETFrames) -> str:
    """Return the BIDS name of the unit that a scan is written in."""
    return bids_unit(stored_unit(scan.first if isinstance(scan, PETFrames) else scan))
