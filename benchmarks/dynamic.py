"""The default model on a simulated dynamic scan: 20 frames of 10 s to 5 min, from the injection on.

    python benchmarks/dynamic.py OUT

One drawn patient (`petdiff.simulation`) is scanned frame by frame. The uptake of each tissue
follows a time-activity curve: a plasma input function (Feng et al., Int J Biomed Comput
1993;32:95) into an irreversible model of two tissue compartments, scaled so that it is the
patient's own uptake at the time for which that was drawn. The shapes are typical ones, not
measurements. Frames differ in length and activity, and so in counts.

The reference of each frame is the same frame with 100 times its counts, of which the frame's own
are a part. For each frame: PSNR against it over the body (peak: the reference's maximum), measured,
after the best Gaussian (its width chosen knowing the reference) and after the model. For each
organ: its curve after the model and after the best Gaussian, against the reference and against the
measured curve, as the mean absolute difference over frames in percent of the curve's mean. Regions
are drawn as readers draw them, a voxel within the organ's edge; whole structures come after them.

The scan is written as 4-D NIfTI and as a DICOM series, both are denoised by `petdiff denoise`, and
frames, times and, if dciodvfy is there, validity of what comes out are checked.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)
from scipy.ndimage import binary_erosion

import petdiff
from petdiff.denoising.request import Request
from petdiff.denoising.scan import denoise_scan
from petdiff.evaluation.baselines import best_gaussian
from petdiff.evaluation.metrics import psnr
from petdiff.frames import FrameTiming, PETFrames
from petdiff.simulation.anatomy.build import patient_grid
from petdiff.simulation.anatomy.description import Patient
from petdiff.simulation.anatomy.names import NAMES
from petdiff.simulation.anatomy.render import render
from petdiff.simulation.patient.draw import draw_patient
from petdiff.simulation.scanner.exam import Exam
from petdiff.simulation.scanner.scan import scan
from petdiff.simulation.scanner.scanners import get_scanner
from petdiff.simulation.study import exam_of
from petdiff.volume.regions import body_mask, voxel_ml

FRAMES_S = (10,) * 6 + (30,) * 4 + (60,) * 4 + (180,) * 2 + (300,) * 4
REFERENCE_COUNTS = 100.0
MIN_ML = 5.0
ORGANS = (
    "aorta", "heart_ventricle", "heart_myocardium", "heart_atrium", "lung", "liver", "spleen",
    "kidney", "pancreas", "stomach", "muscle", "brain", "cerebrum", "cerebellum", "prostate",
    "urinary_bladder", "uterus",
)  # fmt: skip
STEP_S = 1.0  # of the curves
INJECTION = datetime(2024, 1, 2, 9, 0)
# Rate constants per minute (K1, k2, k3) and blood fraction: typical of 18F-FDG, for shape alone.
KINETICS = {
    "blood": (0.0, 0.0, 0.0, 1.0),
    "myocardium": (0.6, 1.0, 0.06, 0.15),
    "liver": (0.9, 0.95, 0.01, 0.2),
    "spleen": (0.9, 1.2, 0.01, 0.2),
    "kidney_cortex": (0.8, 0.6, 0.01, 0.25),
    "kidney_medulla": (0.5, 0.4, 0.03, 0.15),
    "lung": (0.02, 0.15, 0.005, 0.15),
    "muscle": (0.03, 0.25, 0.03, 0.03),
    "marrow": (0.3, 0.6, 0.03, 0.1),
    "fat": (0.01, 0.15, 0.01, 0.02),
    "lesion": (0.15, 0.2, 0.06, 0.1),
}
OTHER = (0.08, 0.25, 0.02, 0.05)

Volume = NDArray[np.float32]
Curve = NDArray[np.float64]


def input_function(minutes: Curve) -> Curve:
    """Plasma activity after a bolus (Feng 1993, model 4), in arbitrary units."""
    t = np.maximum(minutes - 0.0735, 0)
    rises = (851.1225 * t - 21.8798 - 20.8113) * np.exp(-4.133859 * t)
    falls = 21.8798 * np.exp(-0.1191 * t) + 20.8113 * np.exp(-0.01043 * t)
    return np.asarray(rises + falls)


def tissue_curve(tissue: str, minutes: Curve) -> Curve:
    """Activity of a tissue at evenly spaced times; C = vb · Cp + (1 − vb) · response ⊗ Cp."""
    plasma = input_function(minutes)
    k1, k2, k3, blood = KINETICS.get(tissue, OTHER)
    if not k1:
        return plasma
    response = k1 / (k2 + k3) * (k3 + k2 * np.exp(-(k2 + k3) * minutes))
    taken_up = np.convolve(response, plasma)[: len(minutes)] * (minutes[1] - minutes[0])
    return np.asarray(blood * plasma + (1 - blood) * taken_up)


class Kinetics:
    """A patient whose uptake changes with the time since the injection."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        end_s = max(patient.uptake_min * 60, sum(FRAMES_S))
        self.seconds = np.arange(0, end_s + STEP_S, STEP_S)
        now = int(patient.uptake_min * 60 / STEP_S)
        names = {*patient.uptake, "lesion"}
        curves = {name: tissue_curve(name, self.seconds / 60) for name in names}
        self.shares = {name: curve / curve[now] for name, curve in curves.items()}

    def during(self, start_s: float, end_s: float) -> Patient:
        """Return the patient with the mean uptake between two times."""
        inside = (self.seconds >= start_s) & (self.seconds < end_s)
        share = {name: float(curve[inside].mean()) for name, curve in self.shares.items()}
        uptake = {name: suv * share[name] for name, suv in self.patient.uptake.items()}
        lesions = tuple(
            lesion.model_copy(update={"suv": lesion.suv * share["lesion"]})
            for lesion in self.patient.lesions
        )
        return self.patient.model_copy(update={"uptake": uptake, "lesions": lesions})


@dataclass(frozen=True)
class Study:
    """measured, reference: the frames; labels [i, j, k]: structures; exam: injection and weight."""

    measured: PETFrames
    reference: PETFrames
    labels: NDArray[np.uint8]
    exam: Exam


def simulated(seed: int, extent: str, scanner: str, voxel_mm: float) -> Study:
    """Scan the patient of a seed in all frames, noisy and nearly without noise."""
    patient = draw_patient(seed, extent=extent)
    kinetics, machine = Kinetics(patient), get_scanner(scanner)
    grid = patient_grid(patient, (voxel_mm,) * 3)
    exam = replace(exam_of(patient), uptake_s=0.0)
    frames, references, timings, start_s = [], [], [], 0.0
    for n, duration_s in enumerate(FRAMES_S):
        phantom = render(kinetics.during(start_s, start_s + duration_s), grid)
        found = scan(
            phantom.activity_suv,
            phantom.mu_per_cm,
            grid.voxel_mm,
            replace(machine, bed_seconds=duration_s * REFERENCE_COUNTS, motion="single"),
            # The longer frame would decay; its counts are those of a short one with more activity.
            replace(exam, uptake_s=start_s, isotope=replace(exam.isotope, half_life_s=1e9)),
            dose_factors=[REFERENCE_COUNTS],
            seed=1000 * seed + n,
            threads=2,
        )
        frames.append(petdiff.PETImage(found.lows[REFERENCE_COUNTS], grid.affine))
        references.append(petdiff.PETImage(found.full, grid.affine))
        timings.append(FrameTiming(start_s, float(duration_s)))
        start_s += duration_s
        print(f"simulated frame {n + 1} of {len(FRAMES_S)}", flush=True)
    made = [PETFrames(tuple(images), tuple(timings)) for images in (frames, references)]
    return Study(made[0], made[1], phantom.labels, exam)


def quality(study: Study, denoised: PETFrames) -> tuple[list[float], PETFrames]:
    """Print a row per frame; gains over the best Gaussian in dB, and the filtered frames."""
    shown = study.reference.mean()
    body = body_mask(shown.suv, shown.spacing_mm)
    gains, filtered = [], []
    print("frame  start s  seconds  measured dB  Gaussian dB (mm)  model dB   gain")
    for n, (low, full, result) in enumerate(
        zip(study.measured, study.reference, denoised, strict=True)
    ):
        peak = float(full.suv.max())
        gaussian = best_gaussian(low.suv, full.suv, low.spacing_mm, body)
        filtered.append(low.with_values(gaussian.suv))
        scores = [psnr(full.suv, s, peak, body) for s in (low.suv, gaussian.suv, result.suv)]
        gains.append(scores[2] - scores[1])
        timing = study.measured.timings[n]
        print(
            f"{n + 1:5d}  {timing.start_s:7.0f}  {timing.duration_s:7.0f}  {scores[0]:11.2f}  "
            f"{scores[1]:9.2f} ({gaussian.strength:4.1f})  {scores[2]:8.2f}  {gains[-1]:+5.2f}"
        )
    won = sum(gain > 0 for gain in gains)
    print(f"over the best Gaussian: {np.mean(gains):+.2f} dB, better in {won} of {len(gains)}")
    return gains, study.measured.with_frames(filtered)


def regions(study: Study, within: bool) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield regions of 5 ml or more: organs a voxel within their edge, or whole structures."""
    least = MIN_ML / voxel_ml(study.measured.first.spacing_mm)
    for label in np.unique(study.labels):
        name = NAMES.get(int(label), "")
        region = study.labels == label
        if within:
            region = binary_erosion(region) if name.startswith(ORGANS) else region & False
        if label and region.sum() >= least:
            yield name, region


def curves(
    study: Study, results: dict[str, PETFrames], within: bool
) -> dict[str, dict[str, float]]:
    """Print how far curves are off, by region and by method against measured and reference."""
    pairs = [(name, against) for name in results for against in ("reference", "measured")]
    print(f"{'region':26s}" + "".join(f"{f'{a} to {b}':>24s}" for a, b in pairs))
    found = {}
    for name, region in regions(study, within):
        drawn = {"reference": study.reference, "measured": study.measured, **results}
        curve = {
            key: np.array([frame.suv[region].mean(dtype=np.float64) for frame in frames])
            for key, frames in drawn.items()
        }
        row = {
            f"{a} to {b}": 100 * float(np.abs(curve[a] - curve[b]).sum() / curve[b].sum())
            for a, b in pairs
        }
        found[name] = row
        print(f"{name:26s}" + "".join(f"{value:24.2f}" for value in row.values()))
    for what in (f"{a} to {b}" for a, b in pairs):
        values = [row[what] for row in found.values()]
        print(f"{what}: mean {np.mean(values):.2f} %, largest {max(values):.2f} %")
    return found


def write_dicom(study: Study, folder: Path) -> None:
    """Write the measured frames as a dynamic PET series, decay corrected to its start."""
    folder.mkdir(parents=True)
    uids = [generate_uid() for _ in range(3)]
    shared = _shared_header(study.exam, uids)
    first = study.measured.first
    rate = np.log(2) / study.exam.isotope.half_life_s
    number = 0
    for frame, timing in zip(study.measured, study.measured.timings, strict=True):
        begun = INJECTION + timedelta(seconds=timing.start_s or 0)
        length = rate * (timing.duration_s or 0)
        middle_s = (timing.start_s or 0) + float(np.log(length / -np.expm1(-length)) / rate)
        for k in range(frame.shape[2]):
            number += 1
            ds = Dataset(dict(shared.items()))
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.SOPInstanceUID = generate_uid()
            ds.AcquisitionDate, ds.AcquisitionTime = f"{begun:%Y%m%d}", f"{begun:%H%M%S.%f}"
            ds.FrameReferenceTime = round(1000 * middle_s, 3)
            ds.ActualFrameDuration = round(1000 * (timing.duration_s or 0))
            ds.DecayFactor = round(float(np.exp(rate * middle_s)), 8)
            ds.InstanceNumber = ds.ImageIndex = number
            ds.NumberOfSlices, ds.NumberOfTimeSlices = frame.shape[2], len(study.measured)
            position = first.affine @ [0, 0, k, 1] * [-1, -1, 1, 1]
            ds.ImagePositionPatient = [round(float(x), 4) for x in position[:3]]
            ds.PixelSpacing = [first.spacing_mm[1], first.spacing_mm[0]]
            ds.SliceThickness = first.spacing_mm[2]
            _set_pixels(ds, frame.suv[:, :, k].T * study.exam.bqml_per_suv())
            ds.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)


def _shared_header(exam: Exam, uids: list[str]) -> Dataset:
    """Return the attributes that all slices of the series have in common."""
    ds = Dataset()
    ds.SOPClassUID = PositronEmissionTomographyImageStorage
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids
    ds.ImageType, ds.Modality = ["ORIGINAL", "PRIMARY"], "PT"
    ds.Manufacturer, ds.SeriesDescription, ds.SeriesNumber = "petdiff", "simulated dynamic", 1
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Simulated", "S1", ""
    ds.PatientSex, ds.PatientWeight, ds.PatientPosition = "O", round(exam.weight_kg, 3), "HFS"
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "1", "", ""
    ds.PositionReferenceIndicator, ds.Laterality = "", ""
    ds.StudyDate = ds.SeriesDate = f"{INJECTION:%Y%m%d}"
    ds.StudyTime = ds.SeriesTime = f"{INJECTION:%H%M%S}"
    ds.Units, ds.DecayCorrection, ds.CountsSource = "BQML", "START", "EMISSION"
    ds.SeriesType, ds.CollimatorType = ["DYNAMIC", "IMAGE"], "NONE"
    ds.CorrectedImage = ["ATTN", "DECY", "SCAT", "RAN", "NORM"]
    ds.DoseCalibrationFactor, ds.ImageOrientationPatient = 1, [-1, 0, 0, 0, -1, 0]
    ds.PatientOrientationCodeSequence = ds.PatientGantryRelationshipCodeSequence = []
    item = Dataset()
    item.RadionuclideTotalDose = round(exam.injected_bq)
    item.RadionuclideHalfLife = exam.isotope.half_life_s
    item.RadiopharmaceuticalStartTime = f"{INJECTION:%H%M%S}"
    item.RadiopharmaceuticalStartDateTime = f"{INJECTION:%Y%m%d%H%M%S}"
    item.RadionuclideCodeSequence = []
    ds.RadiopharmaceuticalInformationSequence = [item]
    return ds


def _set_pixels(ds: Dataset, bqml: NDArray[np.floating]) -> None:
    slope = float(f"{max(float(bqml.max()), 1e-6) / 32767:.8g}")
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = bqml.shape
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = f"{slope:.8g}", 0
    ds.add_new(0x7FE00010, "OW", np.rint(bqml / slope).clip(max=32767).astype("<i2").tobytes())


def check_dicom(source: Path, derived: Path) -> None:
    """Print whether all frames and times are there, and what dciodvfy finds that is new."""
    keys = ("AcquisitionTime", "FrameReferenceTime", "ActualFrameDuration", "DecayFactor",
            "NumberOfTimeSlices", "SeriesType", "ImagePositionPatient")  # fmt: skip
    before, after = (
        {int(ds.ImageIndex): [ds[key].value for key in keys] for ds in map(dcmread, f.iterdir())}
        for f in (source, derived)
    )
    print(f"DICOM: {len(after)} of {len(before)} slices, times equal: {before == after}")
    if shutil.which("dciodvfy"):
        known = {line for path in list(source.iterdir())[:1] for line in _errors(path)}
        new = {line for path in derived.iterdir() for line in _errors(path)} - known
        print(f"dciodvfy: {len(new)} errors that the source has not", *sorted(new), sep="\n  ")


def _errors(path: Path) -> list[str]:
    done = subprocess.run(["dciodvfy", path], capture_output=True, check=False)
    lines = (done.stdout + done.stderr).decode("latin-1").splitlines()
    return [line for line in lines if line.startswith("Error")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--extent", default="thorax")
    parser.add_argument("--scanner", default="vision600")
    parser.add_argument("--voxel-size", type=float, default=4.0)
    parser.add_argument("--model", default="flow3d")
    options = parser.parse_args()
    options.output.mkdir(parents=True)
    study = simulated(options.seed, options.extent, options.scanner, options.voxel_size)
    petdiff.write(study.measured, options.output / "measured.nii.gz")
    petdiff.write(study.reference, options.output / "reference.nii.gz")
    write_dicom(study, options.output / "dicom")
    for name, made in (("measured.nii.gz", "from-nifti"), ("dicom", "from-dicom")):
        request = Request(options.output / name, model=options.model)
        denoise_scan(request, options.output / made)
    denoised = petdiff.read(options.output / "from-nifti" / "denoised.nii.gz")
    assert isinstance(denoised, PETFrames)
    gains, filtered = quality(study, denoised)
    results = {"model": denoised, "gaussian": filtered}
    found = curves(study, results, within=True)
    whole = curves(study, results, within=False)
    print(
        f"NIfTI: {len(denoised)} frames, times equal: {denoised.timings == study.measured.timings}"
    )
    check_dicom(options.output / "dicom", options.output / "from-dicom" / "denoised")
    again = petdiff.read(options.output / "from-dicom" / "denoised")
    assert isinstance(again, PETFrames)
    apart = max(
        float(np.abs(one.suv - other.suv).max()) / float(one.suv.max())
        for one, other in zip(denoised, again, strict=True)
    )
    print(f"DICOM and NIfTI differ by at most {100 * apart:.2f} % of a frame's maximum")
    figures = {"gain_db": gains, "curves_percent": found, "whole_structures_percent": whole}
    (options.output / "figures.json").write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
