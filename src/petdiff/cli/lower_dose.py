"""Commands that simulate a lower dose of full-dose scans, and test a model on them."""

from __future__ import annotations

from petdiff.cli.options.acceptance import Filter, FullDoseScans, Phantom, TestedDoses
from petdiff.cli.options.model import Device, Model, Seed
from petdiff.cli.options.result import Out, Quiet, VolumeFormat
from petdiff.cli.options.scan import Scan, Series, SuvFactor, Units, WantedDose
from petdiff.commands.values import doses, low_dose
from petdiff.terminal import print_result


def thin(
    scan: Scan,
    output: Out,
    dose: WantedDose,
    seed: Seed = 0,
    series: Series = None,
    units: Units = None,
    suv_factor: SuvFactor = None,
    to: VolumeFormat = None,
    quiet: Quiet = False,
) -> None:
    """Simulate a lower dose: add the noise that a share of the dose would have had."""
    from petdiff.commands.thin import ThinRequest, thin_file

    drf = low_dose(dose)
    request = ThinRequest(scan, drf, seed, to, series=series, units=units, suv_factor=suv_factor)
    for path in thin_file(request, output, quiet=quiet):
        print_result(path)


def accept(
    scans: FullDoseScans,
    output: Out,
    dose: TestedDoses = "1/4,1/20",
    filter_fwhm: Filter = None,
    phantom: Phantom = None,
    model: Model = "flow3d",
    seed: Seed = 0,
    device: Device = "auto",
    units: Units = None,
    suv_factor: SuvFactor = None,
    quiet: Quiet = False,
) -> None:
    """Test a model on your full-dose scans: thinned, denoised, compared with themselves."""
    from petdiff.acceptance.plan import Plan
    from petdiff.commands.accept import accept_scans

    plan = Plan(
        scans, doses(dose) or (), model, filter_fwhm, phantom, seed, device, units, suv_factor
    )
    for line in accept_scans(plan, output, quiet=quiet):
        print_result(line)
