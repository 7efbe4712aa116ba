"""The command that checks a denoised scan against the measured one; see `petdiff.cli`."""

from __future__ import annotations

from petdiff.commands.options.audit import Alpha, Denoised, Measured
from petdiff.commands.options.result import Out, Quiet
from petdiff.commands.options.scan import SeveralSeries, SuvFactor, Units
from petdiff.terminal import print_result


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
