"""Commands that ask what a model would do on one's own scans at a lower dose; see `petdiff.cli`."""

from __future__ import annotations

from petdiff.commands.options.model import Seed
from petdiff.commands.options.result import Format, Out, Quiet
from petdiff.commands.options.scan import Scan, Series, SuvFactor, Units, WantedDose
from petdiff.commands.options.values import low_dose
from petdiff.terminal import print_result


def thin(
    scan: Scan,
    output: Out,
    dose: WantedDose,
    seed: Seed = 0,
    series: Series = None,
    units: Units = None,
    suv_factor: SuvFactor = None,
    to: Format = None,
    quiet: Quiet = False,
) -> None:
    """Turn a full-dose scan into what a share of its dose would have shown."""
    from petdiff.commands.thin import Asked, thin_file

    drf = low_dose(dose)
    assert drf is not None  # --dose is required
    asked = Asked(scan, drf, seed, series, units, suv_factor, to)
    for path in thin_file(asked, output, quiet=quiet):
        print_result(path)
