"""Commands that simulate patients: as a cohort, or one as a demonstration."""

from __future__ import annotations

from pathlib import Path

from petdiff.cli.options import many as many_options
from petdiff.cli.options import simulation as simulation_options
from petdiff.cli.options.model import Device, Seed
from petdiff.cli.options.result import Out, OutDefault, Quiet
from petdiff.commands.values import doses
from petdiff.terminal import print_result


def simulate(
    output: Out,
    tracer: simulation_options.Tracer = None,
    extent: simulation_options.Extent = None,
    no_lesions: simulation_options.NoLesions = False,
    seed: simulation_options.FirstSeed = None,
    patients: simulation_options.Patients = 1,
    labels: simulation_options.LabelMap = None,
    names: simulation_options.LabelMapNames = None,
    again: simulation_options.EarlierScan = None,
    scanner: simulation_options.Scanner = None,
    dose: simulation_options.Doses = None,
    voxel_size: simulation_options.ImageVoxelSize = None,
    cluster: many_options.Cluster = None,
    quiet: Quiet = False,
) -> None:
    """Simulate patients: full-dose scan, low-dose scans, true activity, organs and lesions."""
    from petdiff.commands.simulate import simulate_patients
    from petdiff.commands.simulate_patient import SimulateRequest

    request = SimulateRequest(
        scanner, tracer, doses(dose), patients,
        seed, not no_lesions, voxel_size, extent, labels, names, again,
    )  # fmt: skip
    for path in simulate_patients(request, output, cluster=cluster, quiet=quiet):
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
