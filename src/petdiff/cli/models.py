"""Commands that train models, compare them and convert published ones."""

from __future__ import annotations

import os

from petdiff.cli.options import many as many_options
from petdiff.cli.options.evaluation import (
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
from petdiff.cli.options.model import PublishedCheckpoint
from petdiff.cli.options.result import ModelOut, Out, Quiet
from petdiff.cli.options.scan import SeveralSeries, SuvFactor, Units
from petdiff.cli.options.training import (
    Config,
    Data,
    Init,
    Method,
    Preset,
    Resume,
    RunFolder,
    TrainingDevice,
)
from petdiff.errors import UsageError
from petdiff.terminal import print_result


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
    """Train or adapt a model on simulated scans or your own; can be stopped and resumed."""
    from petdiff.progress import Progress
    from petdiff.training.recipe import read_recipe
    from petdiff.training.run import TrainOptions
    from petdiff.training.run import train as train_model

    recipe = read_recipe(config, preset=preset, init=init)
    options = TrainOptions(
        method=method, output=output, data=data, recipe=recipe, resume=resume, device=device,
        units=units, suv_factor=suv_factor,
    )  # fmt: skip
    path = train_model(options, progress=Progress(quiet))
    if int(os.environ.get("RANK", 0)) == 0:  # of torchrun's processes
        print_result(path)


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
    cluster: many_options.Cluster = None,
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
    from petdiff.commands.evaluate import evaluate_pair
    from petdiff.evaluation.pair import Pair

    chosen = tuple(series or ())
    pair = Pair(reference, test, low, labels, names, lesions, resample, units, suv_factor, chosen)
    print_result(evaluate_pair(pair, output, quiet=quiet))


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
