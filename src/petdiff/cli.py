"""The command line: one function a command, its options and nothing else.

Only the standard library and typer are imported here, so that `petdiff --help` answers at once;
each command imports what it needs (petdiff.commands, torch) when it runs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from petdiff import __version__, terminal
from petdiff.errors import UsageError
from petdiff.invocation import WRONG_USAGE, invoke, stop_on_signals
from petdiff.terminal import print_result
from petdiff.units import drf_of

app = typer.Typer(
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Scan = Annotated[
    Path,
    typer.Argument(
        metavar="IN", help="DICOM folder, file or zip; .nii, .nii.gz, .nrrd, .mha; published .npz"
    ),
]
Out = Annotated[
    Path, typer.Option("--output", "-o", help="New folder for the results", show_default=False)
]


def _set_quiet(quiet: bool) -> bool:
    if quiet:
        terminal.be_quiet()
    return quiet


Quiet = Annotated[
    bool,
    typer.Option("--quiet", callback=_set_quiet, help="Print nothing but results and errors"),
]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:N or mps")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed: the same seed gives the same result")]
Series = Annotated[
    str | None,
    typer.Option(
        metavar="UID",
        help="SeriesInstanceUID to read, if IN holds several series",
        rich_help_panel="Scan",
    ),
]
Units = Annotated[
    Literal["suv", "bqml"] | None,
    typer.Option(
        help="Unit of the stored values, if the file does not say it", rich_help_panel="Scan"
    ),
]
SuvFactor = Annotated[
    float | None,
    typer.Option(
        metavar="F",
        help="SUV = stored value × F, if the file gives no factor",
        rich_help_panel="Scan",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text")]


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
    scan: Scan,
    output: Out,
    model: Annotated[
        str,
        typer.Option(
            help="Name of a shipped model, or a .safetensors file", rich_help_panel="Model"
        ),
    ] = "flow3d",
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps per sample: more give more texture and a lower PSNR (default: the model's)",
            rich_help_panel="Model",
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            min=1,
            help="How many samples to draw; with 2 or more the uncertainty is written",
            rich_help_panel="Model",
        ),
    ] = 1,
    dose: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="The scan's share of the full dose, if known: 1/4, 25% or 0.25",
            rich_help_panel="Scan",
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    series: Series = None,
    units: Units = None,
    suv_factor: SuvFactor = None,
    voxel_size: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,Z", help="Voxel size in mm to compute with (default: the model's)"
        ),
    ] = None,
    to: Annotated[
        Literal["dicom", "nifti", "nrrd", "mha"] | None,
        typer.Option(help="Format of the result (default: the format of IN)"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Denoise a PET scan; the result has the format of IN, with a picture, a page and a record."""
    from petdiff.commands.denoise import Request, denoise_file
    from petdiff.inference.options import DenoiseOptions

    options = DenoiseOptions(
        steps=steps,
        samples=samples,
        drf=None if dose is None else _low_dose(dose),
        seed=seed,
        device=device,
        voxel_mm=_millimetres(voxel_size),
    )
    request = Request(scan, model, options, series, units, suv_factor, to)
    for path in denoise_file(request, output, quiet=quiet):
        print_result(path)


@app.command()
def simulate(
    output: Out,
    tracer: Annotated[
        str | None,
        typer.Option(
            help="Tracer: fdg, psma, dotatate or fapi",
            show_default="fdg",
            rich_help_panel="Patient",
        ),
    ] = None,
    extent: Annotated[
        str | None,
        typer.Option(
            help="Part of the body: torso, head-neck, thorax, abdomen, pelvis or total-body",
            show_default="total-body",
            rich_help_panel="Patient",
        ),
    ] = None,
    no_lesions: Annotated[
        bool,
        typer.Option(
            "--no-lesions", help="The same patient without lesions", rich_help_panel="Patient"
        ),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Random seed of the first patient: the same seed gives the same patient",
            show_default="0",
            rich_help_panel="Patient",
        ),
    ] = None,
    patients: Annotated[
        int,
        typer.Option(
            min=1, help="How many patients; each has the next seed", rich_help_panel="Patient"
        ),
    ] = 1,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Label map to take the anatomy from",
            rich_help_panel="Patient from a file",
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Names of its labels, JSON or table (default: the .json beside it, or its header)",
            rich_help_panel="Patient from a file",
        ),
    ] = None,
    again: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="scan.json",
            help="Scan the patient of this file again; options not given keep their values",
            rich_help_panel="Patient from a file",
        ),
    ] = None,
    scanner: Annotated[
        str | None,
        typer.Option(
            help="Scanner: quadra, uexplorer, vision600, discovery-mi or mct-flow",
            show_default="quadra",
            rich_help_panel="Scan",
        ),
    ] = None,
    dose: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE,…",
            help="Shares of the full dose to simulate",
            show_default="1/4,1/20,1/100",
            rich_help_panel="Scan",
        ),
    ] = None,
    voxel_size: Annotated[
        float | None,
        typer.Option(
            metavar="MM",
            help="Voxel size of all images in mm (default: the scanner's)",
            rich_help_panel="Scan",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Simulate patients: full-dose scan, low-dose scans, true activity, organs and lesions."""
    from petdiff.commands.simulate import Study, simulate_patients

    study = Study(
        scanner, tracer, None if dose is None else tuple(map(drf_of, dose.split(","))), patients,
        seed, not no_lesions, voxel_size, extent, labels, names, again,
    )  # fmt: skip
    for path in simulate_patients(study, output, quiet=quiet):
        print_result(path)


@app.command()
def train(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD", help="Method: flow3d, ddpm3d, ddpm2d, unet3d, gan3d or logunet"
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder of the run, which grows as it trains", show_default=False
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of your own pairs of scans", show_default="simulated scans"
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Size of the network: tiny, default or paper")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Settings that differ from the defaults"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the newest checkpoint, if there is one")
    ] = False,
    device: Annotated[
        str, typer.Option(help="Where to compute: auto, cpu, cuda or cuda:N")
    ] = "auto",
    units: Units = None,
    suv_factor: SuvFactor = None,
    quiet: Quiet = False,
) -> None:
    """Train a model on simulated scans or on your own pairs; can be stopped and resumed."""
    from petdiff.commands.train import train_model

    path = train_model(
        method, output, data=data, preset=preset, config=config, resume=resume, device=device,
        units=units, suv_factor=suv_factor, quiet=quiet,
    )  # fmt: skip
    if int(os.environ.get("RANK", 0)) == 0:  # of torchrun's processes
        print_result(path)


@app.command()
def evaluate(
    output: Out,
    cohort: Annotated[
        Path | None,
        typer.Argument(metavar="[COHORT.toml]", help="File that names the methods and the scans"),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Scan to compare with: full dose, or the truth")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Scan to measure, such as a denoised one")
    ] = None,
    low: Annotated[
        Path | None, typer.Option(help="Low-dose scan that was denoised: measured as well")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Label volume: each organ is measured", rich_help_panel="Regions"),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            help="Names of the labels (default: the .json beside the volume)",
            rich_help_panel="Regions",
        ),
    ] = None,
    lesions: Annotated[
        Path | None,
        typer.Option(
            help="lesions.json, or a volume with a label for each lesion",
            rich_help_panel="Regions",
        ),
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring scans and labels to the reference's grid")
    ] = False,
    series: Annotated[
        list[str] | None,
        typer.Option(
            metavar="UID",
            help="SeriesInstanceUID to read, if a scan holds several; can be repeated",
            rich_help_panel="Scan",
        ),
    ] = None,
    units: Units = None,
    suv_factor: SuvFactor = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes of a cohort", show_default="one a core")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Measure how close a scan is to a reference, or compare methods on a cohort of scans."""
    if cohort is not None:
        given = (reference, test, low, labels, names, lesions, resample, series, units, suv_factor)
        if any(given):
            raise UsageError("the cohort file names its scans: only --workers may be given with it")
        from petdiff.commands.evaluate_cohort import evaluate_cohort

        for path in evaluate_cohort(cohort, output, workers=workers, quiet=quiet):
            print_result(path)
        return
    if reference is None or test is None:
        raise UsageError("give --reference FILE and --test FILE, or the TOML file of a cohort")
    if workers is not None:
        raise UsageError(
            f"--workers {workers} is for a cohort file: leave it out for a single scan"
        )
    from petdiff.commands.evaluate import Pair, evaluate_pair

    chosen = tuple(series or ())
    pair = Pair(reference, test, low, labels, names, lesions, resample, units, suv_factor, chosen)
    print_result(evaluate_pair(pair, output, quiet=quiet))


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
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Scan, model file, or name of a shipped model; without it: this installation",
        ),
    ] = None,
    series: Series = None,
    json: Json = False,
) -> None:
    """Describe a scan, a model file, or this installation with its devices and models."""
    from petdiff.commands.info import describe

    print_result(describe(file, series, as_json=json))


@app.command()
def convert(
    published: Annotated[
        Path, typer.Argument(metavar="FILE.pt", help="Checkpoint of the published code")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="New .safetensors file", show_default=False)
    ],
) -> None:
    """Convert a checkpoint of the published 3-D DDPM to a model file for petdiff."""
    from petdiff.methods.convert import convert as convert_checkpoint
    from petdiff.runs import require_absent

    require_absent(output)
    convert_checkpoint(published, output)
    print_result(output)


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="New folder for the results")
    ] = Path("petdiff-demo"),
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
    """The `petdiff` program."""
    terminal.prepare_streams()
    stop_on_signals()
    code = run(sys.argv[1:])
    sys.exit(terminal.finish_results() or code)


def _millimetres(text: str | None) -> tuple[float, float, float] | None:
    """Three sizes from "1.65,1.65,2", or one for all three."""
    if text is None:
        return None
    sizes = _numbers(text, "--voxel-size")
    if len(sizes) not in (1, 3) or not all(0.2 <= size <= 50 for size in sizes):
        raise UsageError(f"--voxel-size {text}: give one size or three, X,Y,Z, 0.2 to 50 mm each")
    x, y, z = sizes * 3 if len(sizes) == 1 else sizes
    return x, y, z


def _low_dose(text: str) -> float:
    """Return the dose reduction factor of a share of the full dose that is below 1."""
    drf = drf_of(text)
    if drf <= 1:
        raise UsageError(f"--dose {text} is the full dose: leave it out")
    return drf


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text}: give numbers with commas between them") from None
