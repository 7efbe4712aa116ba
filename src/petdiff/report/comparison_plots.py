"""The plots of a cohort's page as SVG elements, without scripts and fonts."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from petdiff.data.layouts import Drf, in_order
from petdiff.evaluation.cohort.compared_metrics import INTERVAL_LEVELS
from petdiff.evaluation.cohort.definition import FULL_DOSE, MEASURED
from petdiff.evaluation.cohort.table import Condition, Table, at_dose, fraction, nan_mean
from petdiff.evaluation.detection.froc import froc
from petdiff.evaluation.detection.lesion_study import Reading
from petdiff.evaluation.statistics import Agreement, bland_altman
from petdiff.report.panels import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours of Okabe & Ito, which colour-blind readers can distinguish; black last.
_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6a2a", "#1c2733",
)  # fmt: skip
_MEASURED_COLOUR, _INK, _FAINT = "#8a949e", "#1c2733", "#64707c"
# Metric, label of its axis, factor of its values.
_TRENDS = (
    ("psnr_db", "PSNR (dB)", 1.0),
    ("lesion_suv_peak_bias", "SUVpeak bias (%)", 100.0),
    ("audit_false_alarms", "False findings per scan", 1.0),
    ("alarms", "Scans with an alarm (%)", 100.0),
)
_COUNTS = ("audit_false_alarms", "alarms")  # drawn from zero
_MAX_POINTS = 600
_MAX_FALSE_PER_SCAN = 4.0  # end of the FROC curves


class Peak(NamedTuple):
    """SUVpeak of a lesion: at full dose, and in the image of a method at a dose."""

    method: str
    dose: Drf
    full: float
    shown: float


def literal(text: str) -> str:
    r"""Return text in one line, in which matplotlib finds no formula."""
    return shortened(text).replace("$", r"\$")


def trends(table: Table) -> str:
    """Plot the metrics of _TRENDS by dose, scanner and tracer: means over patients."""
    shown = [m for m in _TRENDS if _has_values(m[0], table)]
    if not shown:
        return _empty("No scan has a PSNR, and none a lesion.")
    scanners = tuple(dict.fromkeys(c.scanner for c in table.conditions))
    tracers = tuple(dict.fromkeys(c.tracer for c in table.conditions))
    figure = _figure(12.6, 2.9 * len(shown))
    grid = figure.subplots(len(shown), 3, sharey="row", squeeze=False)
    for row, (metric, label, scale) in enumerate(shown):
        axes = grid[row]
        _lines(axes[0], table, metric, scale)
        _dots(axes[1], table, metric, scale, scanners, lambda c: c.scanner)
        _dots(axes[2], table, metric, scale, tracers, lambda c: c.tracer)
        axes[0].set_ylabel(label)
        if metric != "psnr_db":
            for one in axes:
                one.axhline(0, color=_FAINT, lw=0.7, zorder=0)
        if metric in _COUNTS:
            axes[0].set_ylim(bottom=0)
    _legend(figure, grid[0][0])
    return _svg(figure, "trends")


def _has_values(metric: str, table: Table) -> bool:
    """Return whether a metric has values; for a count, values above zero."""
    values = table.values[metric]
    known = values[np.isfinite(values)]
    return bool((known > 0).any() if metric in _COUNTS else known.size)


def texture(table: Table) -> str:
    """Plot the perception–distortion plane: PSNR against the distance of noise spectra."""
    if not np.isfinite(table.values["nps_distance"]).any():
        return _empty("No liver with room for the cubes in which noise is measured.")
    figure = _figure(7.2, 3.8)
    axes = figure.subplots()
    for method in table.methods:
        x = [_mean(table, "nps_distance", method, at_dose(dose)) for dose in table.doses]
        y = [_mean(table, "psnr_db", method, at_dose(dose)) for dose in table.doses]
        sizes = 16 + 60 / np.sqrt(np.arange(1, len(x) + 1))
        colour = _colour(table, method)
        axes.plot(x, y, "-", color=colour, lw=0.9, alpha=0.6)
        axes.scatter(x, y, s=sizes, color=colour, label=literal(method), edgecolor="white", lw=0.5)
    axes.axvline(1, color=_FAINT, lw=0.7, ls=":", zorder=0)
    axes.set_xlabel("distance of the liver's noise spectrum from full dose (1: that of no noise)")
    axes.set_ylabel("PSNR (dB)")
    _plain_log(axes)
    _legend(figure, axes)
    return _svg(figure, "texture")


def reliability(table: Table) -> str:
    """Plot the coverage of voxel intervals against their level, a line per dose."""
    known = [
        method
        for n, method in enumerate(table.methods)
        if np.isfinite(table.values["within_interval_90"][n]).any()
    ]
    if not known:
        return _empty("No model of this comparison has calibrated intervals for these scans.")
    colour_of = _dose_colours(table.doses)
    figure = _figure(3.1 * len(known) + 0.9, 2.9)
    grid = figure.subplots(1, len(known), sharex=True, sharey=True, squeeze=False)[0]
    for axes, method in zip(grid, known, strict=True):
        axes.plot([40, 100], [40, 100], ":", color=_FAINT, lw=0.8, zorder=0)
        for dose in table.doses:
            coverage = [
                100 * _mean(table, f"within_interval_{level}", method, at_dose(dose))
                for level in INTERVAL_LEVELS
            ]
            axes.plot(
                INTERVAL_LEVELS, coverage, "o-", ms=3.5, lw=1.2, color=colour_of[dose],
                label=fraction(dose),
            )  # fmt: skip
        axes.set_title(literal(method), size=8.5, color=_INK)
        axes.set_xlabel("level of the interval (%)")
        axes.set_xlim(40, 101)
        axes.set_ylim(min(40.0, axes.get_ylim()[0]), 101)
    grid[0].set_ylabel("voxels within it (%)")
    _legend(figure, grid[0])
    return _svg(figure, "reliability")


def agreement(peaks: Sequence[Peak], table: Table) -> str:
    """Plot, per method, the change of SUVpeak against its mean (Bland and Altman).

    Bias and limits of agreement are drawn at the right for each dose separately, because the change
    varies more at lower doses. They have no confidence bands, because one lesion on several
    scanners is not several independent lesions.
    """
    peaks = [peak for peak in peaks if peak.full > 0]
    methods = [m for m in table.methods if sum(p.method == m for p in peaks) >= 2]
    if not methods:
        return _empty("Fewer than two lesions were measured.")
    levels = in_order({p.dose for p in peaks})
    colour_of = _dose_colours(levels)
    columns = min(len(methods), 5)
    rows = -(-len(methods) // columns)
    figure = _figure(2.52 * columns, 2.6 * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, method in zip(grid, methods, strict=False):
        of_method = [p for p in peaks if p.method == method]
        every = max(len(of_method) // _MAX_POINTS, 1)
        for place, dose in enumerate(levels):
            at_dose = [p for p in of_method if p.dose == dose]
            if not at_dose:
                continue
            full, shown = (
                np.array([getattr(p, name) for p in at_dose]) for name in ("full", "shown")
            )
            axes.scatter(
                ((full + shown) / 2)[::every],
                (100 * (shown / full - 1))[::every],
                s=12, lw=0, alpha=0.75, color=colour_of[dose], label=fraction(dose),
            )  # fmt: skip
            if len(at_dose) >= 2:
                at = 0.97 - 0.05 * (len(levels) - 1 - place)
                _limits(axes, bland_altman(full, shown, percent=True), at, colour_of[dose])
        axes.axhline(0, color=_FAINT, lw=0.7, zorder=0)
        axes.set_title(literal(method), size=8.5, color=_INK)
        _plain_log(axes)
    low, high = grid[0].get_xlim()
    grid[0].set_xlim(low, high * (high / low) ** (0.055 * len(levels)))  # room for the limits
    for axes in grid[len(methods) :]:
        axes.set_axis_off()
    grid[0].set_ylabel("change of SUVpeak (%)")
    figure.supxlabel("mean of SUVpeak at full dose and as shown", size=8.5, color=_INK)
    _legend(figure, grid[0])
    return _svg(figure, "agreement")


def _limits(axes: Axes, agreement: Agreement, at: float, colour: NDArray[np.float64]) -> None:
    """Draw bias and limits of one dose as an error bar; `at` is a share of the panel's width."""
    reach = [
        [agreement.bias.value - agreement.lower.value],
        [agreement.upper.value - agreement.bias.value],
    ]
    axes.errorbar(
        [at], [agreement.bias.value], yerr=reach, fmt="o", ms=3, lw=1.2, capsize=1.8, color=colour,
        transform=axes.get_yaxis_transform(),
    )  # fmt: skip


def _dose_colours(levels: Sequence[Drf]) -> dict[Drf, NDArray[np.float64]]:
    from matplotlib import colormaps

    shades = np.linspace(0.25, 0.95, len(levels)) if len(levels) > 1 else [0.3]
    return dict(zip(levels, colormaps["viridis_r"](shades), strict=True))


def froc_curves(readings: Sequence[Reading], table: Table) -> str:
    """Plot sensitivity against false foci per scan, a panel per dose, full dose in each."""
    doses = table.doses
    columns = min(len(doses), 4)
    rows = -(-len(doses) // columns)
    figure = _figure(3.1 * columns, 2.7 * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, dose in zip(grid, doses, strict=False):
        for method in (FULL_DOSE, *table.methods):
            at = 1.0 if method == FULL_DOSE else dose
            of_method = [r for r in readings if r.method == method and r.dose == at]
            if not any(len(reading.lesions) for reading in of_method):
                continue
            curve = froc([r.lesions for r in of_method], [r.false for r in of_method])
            full = method == FULL_DOSE
            # Beyond the last point the sensitivity is constant.
            end = max(_MAX_FALSE_PER_SCAN, float(curve.false_per_scan[-1]))
            axes.step(
                np.append(curve.false_per_scan, end),
                np.append(curve.sensitivity, curve.sensitivity[-1]),
                where="post",
                lw=1.2,
                label=literal(method),
                color=_INK if full else _colour(table, method),
                ls=":" if full else "-",
            )
        axes.set_title(f"dose {fraction(dose)}", size=9, color=_INK)
        axes.set_xlim(0, _MAX_FALSE_PER_SCAN)
        axes.set_ylim(0, 1.02)
    for axes in grid[len(doses) :]:
        axes.set_axis_off()
    grid[0].set_ylabel("lesions found")
    figure.supxlabel("false foci per scan", size=8.5, color=_INK)
    _legend(figure, grid[0])
    return _svg(figure, "froc")


def _lines(axes: Axes, table: Table, metric: str, scale: float) -> None:
    doses = range(len(table.doses))
    for method in table.methods:
        values = [scale * _mean(table, metric, method, at_dose(dose)) for dose in table.doses]
        axes.plot(
            doses, values, "o-", ms=3.5, lw=1.2, color=_colour(table, method), label=literal(method)
        )  # fmt: skip
    axes.set_xticks(list(doses), [fraction(dose) for dose in table.doses])
    axes.set_xlabel("dose")


def _dots(
    axes: Axes,
    table: Table,
    metric: str,
    scale: float,
    groups: Sequence[str],
    group_of: Callable[[Condition], str],
) -> None:
    """Draw methods side by side in each group, without lines, because groups have no order."""
    offsets = np.linspace(-0.3, 0.3, len(table.methods)) if len(table.methods) > 1 else [0.0]
    for offset, method in zip(offsets, table.methods, strict=True):
        values = [scale * _mean(table, metric, method, _in(group_of, group)) for group in groups]
        x = np.arange(len(groups)) + offset
        axes.plot(x, values, "o", ms=4.5, color=_colour(table, method))
    axes.set_xticks(range(len(groups)), groups)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    for edge in np.arange(len(groups) - 1) + 0.5:
        axes.axvline(edge, color="#dde3e8", lw=0.8)


def _mean(table: Table, metric: str, method: str, keep: Callable[[Condition], bool]) -> float:
    return float(nan_mean(table.of(metric, method, keep)))


def _in(group_of: Callable[[Condition], str], group: str) -> Callable[[Condition], bool]:
    return lambda condition: group_of(condition) == group


def _colour(table: Table, method: str) -> str:
    if method == MEASURED:
        return _MEASURED_COLOUR
    others = [name for name in table.methods if name != MEASURED]
    return _COLOURS[others.index(method) % len(_COLOURS)]


def _plain_log(axes: Axes) -> None:
    """Set a logarithmic x axis with tick labels 1, 2, 5 …."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _figure(width_in: float, height_in: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside right upper", frameon=False, fontsize=8.5, markerscale=1.3
    )


def _empty(why: str) -> str:
    return f'<p class="faint">{why}</p>'


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element with unique ids and text as text."""
    import matplotlib

    style: dict[str, str | float] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": "sans-serif",
        "font.size": 8.5,
    }
    for axes in figure.axes:
        axes.tick_params(labelsize=8, colors=_INK, length=2.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[:].set_color("#b9c3cc")
        axes.xaxis.label.set(size=8.5, color=_INK)
        axes.yaxis.label.set(size=8.5, color=_INK)
    file = io.StringIO()
    with matplotlib.rc_context(style):  # type: ignore[arg-type]
        without = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=without)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", '<svg class="plot" role="img" ', 1)
