"""The command line: one function a command, its options and nothing else.

Their types, with the help texts, are in `petdiff.commands.options`. A new command is a function
here that takes options of those types and calls a module of `petdiff.commands`, which it imports
when it runs: `petdiff --help` must answer at once, so only the standard library and typer are
imported above.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from petdiff import __version__, terminal
from petdiff.cgroup import limit_threads
from petdiff.cli_acceptance import accept, thin
from petdiff.cli_audit import audit
from petdiff.commands.options import many as of_many
from petdiff.commands.options import measurement as of_run
from petdiff.commands.options import simulation as of_patient
from petdiff.commands.options.evaluation import (
    Cohort,
    LabelNames,
    Labels,
    Lesions,
    Low,
    Reference,
    Resample,
    Test,
    Workers,
)
from petdiff.commands.options.model import (
    Device,
    Interval,
    Model,
    PublishedCheckpoint,
    Samples,
    Seed,
    Steps,
    VoxelSize,
)
from petdiff.commands.options.node import NodeConfig
from petdiff.commands.options.result import Format, Json, ModelOut, Out, OutDefault, Quiet
from petdiff.commands.options.scan import (
    Described,
    Dose,
    Scan,
    Series,
    SeveralSeries,
    SuvFactor,
    Units,
)
from petdiff.commands.options.training import (
    Config,
    Data,
    Init,
    Method,
    Preset,
    Resume,
    RunFolder,
    TrainingDevice,
)
from petdiff.commands.options.values import doses, low_dose, millimetres
from petdiff.errors import UsageError
from petdiff.invocation import WRONG_USAGE, invoke, stop_on_signals
from petdiff.terminal import print_result

app = typer.Typer(
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_result(f"petdiff {__version__}")
        raise typer.Exit


@app.callback()
def _petdiff(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit"
        ),
    ] = False,
) -> None:
    """Denoise whole-body PET with 3-D diffusion models. For research, not a medical device."""
    if context.invoked_subcommand is None:
        context.get_help()  # prints it
        raise typer.Exit(WRONG_USAGE)


@app.command()
def denoise(
    scans: of_many.Scans,
    output: of_many.Out,
    model: Model = "flow3d",
    steps: Steps = None,
    samples: Samples = 1,
    interval: Interval = None,
    dose: Dose = None,
    seed: Seed = 0,
    device: Device = "auto",
    series: Series = None,
    units: Units = None,
    suv_factor: SuvFactor = None,
    voxel_size: VoxelSize = None,
    to: Format = None,
    shard: of_many.Shard = None,
    cluster: of_many.Cluster = None,
    quiet: Quiet = False,
) -> int:
    """Denoise a PET scan, or many; results have the format of IN, a picture, a page, a record."""
    from petdiff.commands.denoise import denoise_inputs
    from petdiff.denoising.request import Request
    from petdiff.inference.options import DenoiseOptions

    options = DenoiseOptions(
        steps=steps,
        samples=samples,
        drf=low_dose(dose),
        seed=seed,
        device=device,
        voxel_mm=millimetres(voxel_size),
    )
    request = Request(scans[0], model, options, series, units, suv_factor, to, interval)
    done = denoise_inputs(scans, output, request, shard=shard, cluster=cluster, quiet=quiet)
    for path in done.files:
        print_result(path)
    return done.exit_code


@app.command()
def measure(
    run: of_run.Run,
    output: of_run.Folder = None,
    mask: of_run.Mask = None,
    names: of_run.MaskNames = None,
    sphere: of_run.Spheres = None,
    lesions: of_run.Foci = None,
    kind: of_run.Kind = None,
    resample: of_run.ToGrid = False,
    scan: of_run.MeasuredScan = None,
    frame: of_run.FrameNumber = None,
    interval: of_run.Level = None,
    sr: of_run.Report = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure regions of a run: mean, maximum, peak and volume, each with its interval."""
    from petdiff.commands.measure import Asked, as_text, measure_file

    spheres = tuple(sphere or ())
    asked = Asked(run, scan, mask, names, spheres, lesions, kind, resample, interval, frame)
    record = measure_file(asked, output, sr, quiet=quiet)
    print_result(record.model_dump_json(indent=2) if json else as_text(record))


@app.command()
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


app.command()(thin)
app.command()(accept)
app.command()(audit)


@app.command()
def train(
    method: Method,
    output: RunFolder,
    data: Data = None,
    init: Init = None,
    preset: Preset = None,
    config: Config = None,
    resume: Resume = False,
    device: TrainingDevice = "auto",
    units: Units = None,
    suv_factor: SuvFactor = None,
    quiet: Quiet = False,
) -> None:
    """Train or adapt a model, on simulated scans or your own; can be stopped and resumed."""
    from petdiff.commands.train import train_model

    path = train_model(
        method, output, data=data, init=init, preset=preset, config=config, resume=resume,
        device=device, units=units, suv_factor=suv_factor, quiet=quiet,
    )  # fmt: skip
    if int(os.environ.get("RANK", 0)) == 0:  # of torchrun's processes
        print_result(path)


@app.command()
def evaluate(
    output: Out,
    cohort: Cohort = None,
    reference: Reference = None,
    test: Test = None,
    low: Low = None,
    labels: Labels = None,
    names: LabelNames = None,
    lesions: Lesions = None,
    resample: Resample = False,
    series: SeveralSeries = None,
    units: Units = None,
    suv_factor: SuvFactor = None,
    workers: Workers = None,
    cluster: of_many.Cluster = None,
    quiet: Quiet = False,
) -> None:
    """Measure how close a scan is to a reference, or compare methods on a cohort of scans."""
    if cohort is not None:
        given = (reference, test, low, labels, names, lesions, resample, series, units, suv_factor)
        if any(given):
            raise UsageError("the cohort file names its scans: give --workers or --cluster only")
        from petdiff.commands.evaluate_cohort import evaluate_cohort_file

        for path in evaluate_cohort_file(
            cohort, output, workers=workers, cluster=cluster, quiet=quiet
        ):
            print_result(path)
        return
    if reference is None or test is None:
        raise UsageError("give --reference FILE and --test FILE, or the TOML file of a cohort")
    for option, value in (("--workers", workers), ("--cluster", cluster)):
        if value is not None:
            raise UsageError(f"{option} {value} is for a cohort file: leave it out for one scan")
    from petdiff.commands.evaluate import Pair, evaluate_pair

    chosen = tuple(series or ())
    pair = Pair(reference, test, low, labels, names, lesions, resample, units, suv_factor, chosen)
    print_result(evaluate_pair(pair, output, quiet=quiet))


@app.command()
def module() -> int:
    """Run as a module of a DICOM router: folders and settings come from the environment."""
    from petdiff.commands.module import run_as_module

    return run_as_module()


@app.command()
def node(config: NodeConfig) -> None:
    """Run a DICOM node: receive PET series, denoise them and send the results on."""
    from petdiff.commands.node import serve

    serve(config)


@app.command()
def suv(
    scan: Scan,
    series: Series = None,
    units: Units = None,
    suv_factor: SuvFactor = None,
    json: Json = False,
) -> None:
    """Show the SUV factor of a scan, the rule behind it, and what other rules would give."""
    from petdiff.commands.suv import explain_suv

    print_result(explain_suv(scan, series, units, suv_factor, as_json=json))


@app.command()
def info(
    file: Described = None,
    series: Series = None,
    json: Json = False,
) -> None:
    """Describe a scan, a model file, or this installation with its devices and models."""
    from petdiff.commands.info import describe

    print_result(describe(file, series, as_json=json))


@app.command()
def convert(
    published: PublishedCheckpoint,
    output: ModelOut,
) -> None:
    """Convert a checkpoint of the published 3-D DDPM to a model file for petdiff."""
    from petdiff.methods.convert import convert as convert_checkpoint
    from petdiff.runs import require_absent

    require_absent(output)
    convert_checkpoint(published, output)
    print_result(output)


@app.command()
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


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; every failure is one line on stderr."""
    return invoke(app, arguments)


def main() -> None:
    """Run the `petdiff` program and exit with its code."""
    limit_threads(os.environ)
    terminal.prepare_streams()
    stop_on_signals()
    code = run(sys.argv[1:])
    sys.exit(terminal.finish_results() or code)
