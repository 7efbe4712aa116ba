"""`petdiff demo`: simulate a patient, denoise the scan and compare it with the full dose."""

from __future__ import annotations

from pathlib import Path

from petdiff.commands.simulate import simulate_patients
from petdiff.commands.simulate_patient import SimulateRequest
from petdiff.denoising.request import Request
from petdiff.denoising.scan import denoise_scan
from petdiff.evaluation.metrics import compare
from petdiff.inference.options import DenoiseOptions
from petdiff.io import read_static
from petdiff.progress import Progress
from petdiff.runs import whole_folder
from petdiff.units import share_of
from petdiff.volume.regions import body_mask

_DRF = 20.0
_VOXEL_MM = 4.0  # coarse, so that it takes a minute or two on a laptop


def run_demo(output: Path, seed: int, device: str, *, quiet: bool = False) -> list[Path]:
    """Simulate a total-body scan at 1/20 of the dose and denoise it, into the new folder `output`.

    Returns the paths of two pictures: the measured, denoised and full-dose scans with the true
    activity, and the preview of the denoised scan.
    """
    options = DenoiseOptions.of({"drf": _DRF, "seed": seed, "device": device})
    with whole_folder(output) as folder:
        patient = SimulateRequest(dose_factors=(_DRF,), seed=seed, voxel_mm=_VOXEL_MM)
        simulate_patients(patient, folder / "scan", quiet=quiet)
        low = folder / "scan" / f"low_drf{_DRF:g}.nii.gz"
        request = Request(low, options=options)
        denoise_scan(request, folder / "denoised", progress=Progress(quiet))
        _compare(folder, low, Progress(quiet))
    pictures = [Path(output) / name for name in ("comparison.png", "denoised/preview.png")]
    return [picture for picture in pictures if picture.is_file()]


def _compare(folder: Path, low: Path, progress: Progress) -> None:
    """Draw the four scans side by side, and print the PSNR and NRMSE against the full dose."""
    from petdiff.report.preview import write_scans

    files = {
        f"measured, {share_of(_DRF)} dose": low,
        "denoised": folder / "denoised" / "denoised.nii.gz",
        "full dose": folder / "scan" / "full.nii.gz",
        "truth": folder / "scan" / "truth.nii.gz",
    }
    scans = {name: read_static(path) for name, path in files.items()}
    note = "simulated, not a real patient"
    with progress.optional(folder / "comparison.png"):
        write_scans(folder / "comparison.png", scans, title="petdiff demo", note=note)
    full = scans["full dose"]
    body = body_mask(full.suv, full.spacing_mm)
    for name in list(scans)[:2]:
        metrics = compare(full.suv, scans[name].suv, body)
        figures = f"PSNR {metrics['psnr_db']:.2f} dB, NRMSE {metrics['nrmse']:.3f}"
        progress.print(f"{name:<20} {figures} against the full dose")
