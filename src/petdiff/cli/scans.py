"""Commands that denoise scans, and measure and audit the results."""

from __future__ import annotations

from petdiff.cli.options import many as of_many
from petdiff.cli.options import measurement as of_run
from petdiff.cli.options.audit import Alpha, Denoised, Measured
from petdiff.cli.options.model import Device, Interval, Model, Samples, Seed, Steps, VoxelSize
from petdiff.cli.options.result import Format, Json, Out, Quiet
from petdiff.cli.options.scan import Dose, Series, SeveralSeries, SuvFactor, Units
from petdiff.commands.values import low_dose, millimetres
from petdiff.terminal import print_result


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
    from petdiff.commands.measure import MeasureRequest, as_text, measure_file

    spheres = tuple(sphere or ())
    request = MeasureRequest(
        run, scan, mask, names, spheres, lesions, kind, resample, interval, frame
    )
    record = measure_file(request, output, sr, quiet=quiet)
    print_result(record.model_dump_json(indent=2) if json else as_text(record))


def audit(
    measured: Measured,
    denoised: Denoised,
    output: Out,
    alpha: Alpha = 0.01,
    series: SeveralSeries = None,
    units: Units = None,
    suv_factor: SuvFactor = None,
    quiet: Quiet = False,
) -> None:
    """Find foci that a denoised scan shows without support in the measured one, or has lost."""
    from petdiff.commands.audit import Pair, audit_files

    pair = Pair(measured, denoised, tuple(series or ()), units, suv_factor, alpha)
    print_result(audit_files(pair, output, quiet=quiet))
