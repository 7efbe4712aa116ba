"""Commands that describe a scan, a model or this installation."""

from __future__ import annotations

from json import dumps

from petdiff.cli.options.result import Json
from petdiff.cli.options.scan import Described, Scan, Series, SuvFactor, Units
from petdiff.errors import with_scan_options
from petdiff.terminal import print_result


def suv(
    scan: Scan,
    series: Series = None,
    units: Units = None,
    suv_factor: SuvFactor = None,
    json: Json = False,
) -> None:
    """Show the SUV factor of a scan, the rule behind it, and what other rules would give."""
    from petdiff.io import read_suv
    from petdiff.suv.result import explain

    result = read_suv(scan, series=series, units=units, suv_factor=suv_factor)
    if json:
        print_result(dumps(result.as_dict(), indent=2, ensure_ascii=False))
    else:
        print_result(with_scan_options(explain(result)))


def info(
    file: Described = None,
    series: Series = None,
    json: Json = False,
) -> None:
    """Describe a scan, a model file, or this installation with its devices and models."""
    from petdiff.commands.info import describe

    text = describe(file, series, as_json=json)
    print_result(text if json else with_scan_options(text))
