"""Commands that denoise scans, and measure and audit the results."""

from __future__ import annotations

from petdiff.cli.options import many as many_options
from petdiff.cli.options import measurement as measurement_options
from petdiff.cli.options.audit import Alpha, Denoised, Measured
from petdiff.cli.options.model import Device, Interval, Model, Samples, Seed, Steps, VoxelSize
from petdiff.cli.options.result import Format, Json, Out, Quiet
from petdiff.cli.options.scan import Dose, Series, SeveralSeries, SuvFactor, Units
from petdiff.commands.values import interval_level, low_dose, millimetres
from petdiff.terminal import print_result


def denoise(
    scans: many_options.Scans,
    output: many_options.Out,
    model: Model = "flow3d",
    steps: Steps = None,
    samples: Samples = None,
    interval: Interval = None,
    dose: Dose = None,
    seed: Seed = 0,
    device: Device = "auto",
    series: Series = None,
    units: Units = None,
    suv_factor: SuvFactor = None,
    voxel_size: VoxelSize = None,
    to: Format = None,
    shard: many_options.Shard = None,
    cluster: many_options.Cluster = None,
    quiet: Quiet = False,
) -> int:
    """Denoise a PET scan, or many; results have the format of IN, a picture, a page, a record."""
    from petdiff.commands.denoise import denoise_inputs
    from petdiff.denoising.request import Request
    from petdiff.inference.options import DenoiseOptions

    remedy = ", or leave it out for a scan of the full dose"
    options = DenoiseOptions.of(
        {
            "steps": steps,
            "samples": samples,
            "drf": None if dose is None else low_dose(dose, remedy),
            "seed": seed,
            "device": device,
            "voxel_mm": millimetres(voxel_size),
        }
    )
    level = interval_level(interval)
    request = Request(
        scans[0], model, options, to, level, series=series, units=units, suv_factor=suv_factor
    )
    done = denoise_inputs(scans, output, request, shard=shard, cluster=cluster, quiet=quiet)
    for path in done.files:
        print_result(path)
    return done.exit_code


def measure(
    run: measurement_options.Run,
    output: measurement_options.Folder = None,
    mask: measurement_options.Mask = None,
    names: measurement_options.MaskNames = None,
    sphere: measurement_options.Spheres = None,
    lesions: measurement_options.Foci = None,
    kind: measurement_options.Kind = None,
    resample: measurement_options.ToGrid = False,
    scan: measurement_options.MeasuredScan = None,
    frame: measurement_options.FrameNumber = None,
    interval: measurement_options.Level = None,
    sr: measurement_options.Report = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure regions of a run: mean, maximum, peak and volume, each with its interval."""
    from petdiff.commands.measure import MeasureRequest, measure_file
    from petdiff.measurement.tables import table

    spheres, level = tuple(sphere or ()), interval_level(interval)
    request = MeasureRequest(run, scan, mask, names, spheres, lesions, kind, resample, level, frame)
    record = measure_file(request, output, sr, quiet=quiet)
    print_result(record.model_dump_json(indent=2) if json else table(record.measurement))


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
    from petdiff.commands.audit import AuditRequest, audit_files

    request = AuditRequest(measured, denoised, tuple(series or ()), units, suv_factor, alpha)
    print_result(audit_files(request, output, quiet=quiet))
