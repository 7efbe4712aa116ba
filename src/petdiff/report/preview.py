"""Write preview.png: measured scan, denoised scan, change and uncertainty.

The scans are shown as maximum-intensity projections in inverted grey, with the patient's right on
the left, true proportions and the SUV window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from petdiff.image import PETImage
from petdiff.terminal import one_line
from petdiff.volume.orientation import to_ras
from petdiff.volume.plane_ranges import smoothed
from petdiff.volume.regions import Spacing, body_box, typical_uptake

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUV_WINDOWS = (5.0, 10.0, 20.0)
_WINDOW_FACTOR = 2.5  # end of the grey scale over the third quartile of the body's rays
Picture = NDArray[np.float32]
_CORONAL, _SAGITTAL = 1, 0  # RAS axis of the projection
_WIDEST_IN, _HIGHEST_IN, _DPI = 12.5, 6.4, 160
_GAP_IN, _HEAD_IN, _FOOT_IN = 0.14, 0.9, 0.8
_VIEW_GAP_MM = 8.0
_CHANGE_LIMIT_PERCENT = 10.0
_CHANGE_SMOOTHING_MM = 5.0  # standard deviation
_FAINTEST_SUV, _HOTTEST_SUV = 2.0, 40.0  # range of the projection of a body
_INK, _FAINT = "#1c2733", "#7a8794"
CHANGE = ("#0b3c78", "#4f93c8", "#ffffff", "#e07b5f", "#8c1420")  # colours for less, equal, more
_MAX_CHARACTERS = 160  # of a title or note
_RESEARCH = "For research, not a medical device"


@dataclass(frozen=True)
class _View:
    """One projection; the first row is at the head."""

    picture: Picture
    height_mm: float
    width_mm: float


@dataclass(frozen=True)
class _Panel:
    """Views with one caption, colour map (a name or a list of colours) and colour bar."""

    caption: str
    views: list[_View]
    colours: str | tuple[str, ...]
    window: tuple[float, float]
    unit: str

    @property
    def width_mm(self) -> float:
        return sum(view.width_mm + _VIEW_GAP_MM for view in self.views) - _VIEW_GAP_MM


def write_preview(
    path: Path,
    measured: PETImage,
    denoised: PETImage,
    spread: NDArray[np.float32] | None = None,
    *,
    title: str,
    note: str = "",
) -> None:
    """Draw the projections of a scan before and after denoising as a PNG.

    measured, denoised  on one grid
    spread              standard deviation in their unit [i, j, k], if several samples were drawn
    title, note         model, steps and seed; a second, fainter line
    """
    ras = to_ras(denoised.values, denoised.affine)
    spacing_mm = ras.spacing_mm
    box = body_box(ras.volume, spacing_mm)
    before = to_ras(measured.values, measured.affine).volume[box]
    after = ras.volume[box]
    unit = denoised.unit_name
    grey = (0.0, display_window(after.max(axis=_CORONAL), denoised))

    def views(volume: Picture) -> list[_View]:
        axes = (_CORONAL, _SAGITTAL) if spread is None else (_CORONAL,)
        return [_view(volume.max(axis=axis), axis, spacing_mm) for axis in axes]

    panels = [
        _Panel("measured", views(before), "Greys", grey, unit),
        _Panel("denoised", views(after), "Greys", grey, unit),
        _changed(_view(_ray_change(before, after, spacing_mm), _CORONAL, spacing_mm)),
    ]
    if spread is not None:
        panels.append(_spread(views(to_ras(spread, denoised.affine).volume[box]), unit))
    _save(panels, title, note, path)


def write_scans(path: Path, scans: Mapping[str, PETImage], *, title: str, note: str = "") -> None:
    """Draw coronal projections of scans on one grid side by side, with one grey scale."""
    first = next(iter(scans.values()))
    ras = to_ras(first.values, first.affine)
    spacing_mm = ras.spacing_mm
    box = body_box(ras.volume, spacing_mm)
    projections = {
        name: to_ras(image.values, image.affine).volume[box].max(axis=_CORONAL)
        for name, image in scans.items()
    }
    grey = (0.0, display_window(next(iter(projections.values())), first))
    panels = [
        _Panel(name, [_view(projection, _CORONAL, spacing_mm)], "Greys", grey, first.unit_name)
        for name, projection in projections.items()
    ]
    _save(panels, title, note, path)


def literal(text: str) -> str:
    """Return text for matplotlib without formulas and control characters, in one line."""
    shown = one_line(text)
    if len(shown) > _MAX_CHARACTERS:
        shown = f"{shown[: _MAX_CHARACTERS // 2]} … {shown[-_MAX_CHARACTERS // 2 :]}"
    return shown.replace("$", r"\$")


def coronal_projection(image: PETImage) -> Picture:
    """Return the coronal maximum-intensity projection of the body's bounding box."""
    ras = to_ras(image.values, image.affine)
    projection: Picture = ras.volume[body_box(ras.volume, ras.spacing_mm)].max(axis=_CORONAL)
    return projection


def display_window(projection: Picture, image: PETImage) -> float:
    """Return the upper end of the grey scale for a projection of `image`, in its own unit.

    For SUV it is `suv_window`; for other units it is computed from the values.
    """
    if image.in_suv:
        return suv_window(projection)
    return round_up(_WINDOW_FACTOR * _third_quartile(projection))


def suv_window(projection: Picture) -> float:
    """Return the upper end of the grey scale in SUV: 5, 10 or 20, the usual windows.

    The nearest to 2.5 times the third quartile of the body's rays is chosen, so that torso and
    liver are medium grey, independent of bladder and brain. For values unlike those of a body, such
    as a phantom's, the window is derived from the maximum.
    """
    quartile, hottest = _third_quartile(projection), float(np.quantile(projection, 0.995))
    if hottest < _FAINTEST_SUV or quartile > _HOTTEST_SUV:
        return round_up(hottest)
    return min(SUV_WINDOWS, key=lambda top: abs(np.log(top / max(_WINDOW_FACTOR * quartile, 1.0))))


def _third_quartile(projection: Picture) -> float:
    """Return the third quartile of the body's rays."""
    body = projection[projection > 0.12 * typical_uptake(projection)]
    return float(np.quantile(body, 0.75)) if body.size else 0.0


def _changed(view: _View) -> _Panel:
    limits = (-_CHANGE_LIMIT_PERCENT, _CHANGE_LIMIT_PERCENT)
    return _Panel("change", [view], CHANGE, limits, "% of the mean on each ray")


def _spread(views: list[_View], unit: str) -> _Panel:
    top = round_up(float(np.quantile(views[0].picture, 0.995)))
    return _Panel("uncertainty", views, "hot", (0.0, top), f"{unit}, 1 standard deviation")


def _ray_change(before: Picture, after: Picture, spacing_mm: Spacing) -> Picture:
    """Return the relative change in per cent of the mean on each ray from front to back, [x, z].

    Means over rays are smoothed, so that noise cancels and regional changes remain. Rays outside
    the body have no change.
    """
    sigmas = [_CHANGE_SMOOTHING_MM / spacing_mm[axis] for axis in (0, 2)]
    old, new = (smoothed(v.mean(axis=_CORONAL)[None], [0, *sigmas])[0] for v in (before, after))
    body = old > 0.12 * typical_uptake(old)
    change: Picture = np.zeros_like(old)
    change[body] = 100 * (new[body] / old[body] - 1)
    return change


def _view(projection: Picture, axis: int, spacing_mm: Spacing) -> _View:
    """Convert [x or y, z] to rows from the head down, with right or front on the left."""
    picture = projection[::-1, ::-1].T
    across_mm = spacing_mm[0 if axis == _CORONAL else 1]
    return _View(picture, picture.shape[0] * spacing_mm[2], picture.shape[1] * across_mm)


def _save(panels: list[_Panel], title: str, note: str, path: Path) -> None:
    """Save the figure with matplotlib's default settings, not the user's."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        _draw(panels, title, note).savefig(path, dpi=_DPI, format="png")


def _draw(panels: list[_Panel], title: str, note: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height_mm = max(view.height_mm for panel in panels for view in panel.views)
    in_per_mm = min(
        _HIGHEST_IN / height_mm,
        (_WIDEST_IN - _GAP_IN * (len(panels) + 1)) / sum(panel.width_mm for panel in panels),
    )
    height_in = _HEAD_IN + height_mm * in_per_mm + _FOOT_IN
    width_in = sum(panel.width_mm * in_per_mm + _GAP_IN for panel in panels) + _GAP_IN
    figure = Figure(figsize=(max(width_in, 5.0), height_in), facecolor="white")
    FigureCanvasAgg(figure)

    left_in = _GAP_IN
    for panel in panels:
        _show(figure, panel, left_in, in_per_mm)
        left_in += panel.width_mm * in_per_mm + _GAP_IN

    def write(
        text: str, from_top_in: float, size: float, color: str, weight: str = "normal"
    ) -> None:
        x, y = _GAP_IN / figure.get_figwidth(), 1 - from_top_in / height_in
        figure.text(x, y, literal(text), size=size, weight=weight, color=color, va="center")

    write(title, 0.25, 13, _INK, "bold")
    write(note, 0.48, 8.5, _FAINT)
    write(_RESEARCH, height_in - 0.13, 8, _FAINT)
    return figure


def _show(figure: Figure, panel: _Panel, left_in: float, in_per_mm: float) -> None:
    """Draw a panel's views from `left_in` on, its caption above and its colour bar below."""
    from matplotlib.colors import LinearSegmentedColormap

    figure_in = (figure.get_figwidth(), figure.get_figheight())

    def axes(left: float, bottom: float, width: float, height: float) -> Axes:
        (w, h) = figure_in
        return figure.add_axes((left / w, bottom / h, width / w, height / h))

    stops = panel.colours
    cmap = stops if isinstance(stops, str) else LinearSegmentedColormap.from_list("", stops)
    view_left_in = left_in
    for view in panel.views:
        width_in, height_in = view.width_mm * in_per_mm, view.height_mm * in_per_mm
        view_axes = axes(view_left_in, _FOOT_IN, width_in, height_in)
        image = view_axes.imshow(
            view.picture,
            cmap=cmap,
            vmin=panel.window[0],
            vmax=panel.window[1],
            aspect="auto",  # the axes have the true proportions
            interpolation="bilinear",
        )
        view_axes.set_axis_off()
        view_left_in += width_in + _VIEW_GAP_MM * in_per_mm

    width_in = panel.width_mm * in_per_mm
    middle_in = left_in + width_in / 2
    top_in = _FOOT_IN + height_in + 0.12
    figure.text(
        middle_in / figure_in[0], top_in / figure_in[1], literal(panel.caption),
        size=10, color=_INK, ha="center", va="center",
    )  # fmt: skip
    bar_in = min(0.8 * width_in, 2.4)
    bar = axes(middle_in - bar_in / 2, _FOOT_IN - 0.16, bar_in, 0.07)
    figure.colorbar(image, cax=bar, orientation="horizontal")
    bar.tick_params(labelsize=7.5, length=2, pad=2, colors=_INK)
    bar.set_xlabel(panel.unit, size=8, color=_INK, labelpad=2)
    bar.locator_params(nbins=5)


def round_up(value: float) -> float:
    """Return the next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10 times a power of ten; 1 for 0."""
    if not value > 0:
        return 1.0
    scale = 10.0 ** np.floor(np.log10(value))
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
    return float(scale * next(step for step in steps if step >= 0.999 * value / scale))
