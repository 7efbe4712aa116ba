"""Commands that simulate patients: as a cohort, or one as a demonstration."""

from __future__ import annotations

from pathlib import Path

from petdiff.cli.options import many as of_many
from petdiff.cli.options import simulation as of_patient
from petdiff.cli.options.model import Device, Seed
from petdiff.cli.options.result import Out, OutDefault, Quiet
from petdiff.commands.values import doses
from petdiff.terminal import print_result


def simulate(
    output: Out,
    tracer: of_patient.Tracer = None,
    extent: of_patient.Extent = None,
    no_lesions: of_patient.NoLesions = False,
    seed: of_patient.FirstSeed = None,
    patients: of_patient.Patients = 1,
    labels: of_patient.LabelMap = None,
    names: of_patient.LabelMapNames = None,
    again: of_patient.EarlierScan = None,
    scanner: of_patient.Scanner = None,
    dose: of_patient.Doses = None,
    voxel_size: of_patient.ImageVoxelSize = None,
    cluster: of_many.Cluster = None,
    quiet: Quiet = False,
) -> None:
    """Simulate patients: full-dose scan, low-dose scans, true activity, organs and lesions."""
    from petdiff.commands.simulate import simulate_patients
    from petdiff.commands.simulate_patient import Study

    study = Study(
        scanner, tracer, doses(dose), patients,
        seed, not no_lesions, voxel_size, extent, labels, names, again,
    )  # fmt: skip
    for path in simulate_patients(study, output, cluster=cluster, quiet=quiet):
        print_result(path)


def demo(
    output: OutDefault = Path("petdiff-demo"),
    seed: Seed = 0,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Simulate a total-body scan at 1/20 dose, denoise it, and print where the pictures are."""
    from petdiff.commands.demo import run_demo

    for path in run_demo(output, seed, device, quiet=quiet):
        print_result(path)
