"""Write preview.png: measured scan, denoised scan, change and uncertainty.

The scans are shown as maximum-intensity projections in inverted grey, with the patient's right on
the left, true proportions and the SUV window.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petdiff.image import PETImage
from petdiff.report.panels import Panel, View, save_panels
from petdiff.report.png import CHANGE, GREYS, HOT, Picture
from petdiff.volume.orientation import to_ras
from petdiff.volume.plane_ranges import smoothed
from petdiff.volume.regions import Spacing, above_air, body_box

SUV_WINDOWS = (5.0, 10.0, 20.0)
_WINDOW_FACTOR = 2.5  # end of the grey scale over the third quartile of the body's rays
_CORONAL, _SAGITTAL = 1, 0  # RAS axis of the projection
_CHANGE_LIMIT_PERCENT = 10.0
_CHANGE_SMOOTHING_MM = 5.0  # standard deviation
_FAINTEST_SUV, _HOTTEST_SUV = 2.0, 40.0  # range of the projection of a body


def write_preview(
    path: Path,
    measured: PETImage,
    denoised: PETImage,
    uncertainty: NDArray[np.float32] | None = None,
    *,
    title: str,
    note: str = "",
) -> None:
    """Draw the projections of a scan before and after denoising as a PNG.

    measured, denoised  on one grid
    uncertainty         standard deviation in their unit [i, j, k], if several samples were drawn
    title, note         model, steps and seed; a second, fainter line
    """
    ras = to_ras(denoised.values, denoised.affine)
    spacing_mm = ras.spacing_mm
    box = body_box(ras.volume, spacing_mm)
    before = to_ras(measured.values, measured.affine).volume[box]
    after = ras.volume[box]
    unit = denoised.unit_name
    grey = (0.0, display_window(after.max(axis=_CORONAL), denoised))

    def views(volume: Picture) -> list[View]:
        axes = (_CORONAL, _SAGITTAL) if uncertainty is None else (_CORONAL,)
        return [_view(volume.max(axis=axis), axis, spacing_mm) for axis in axes]

    panels = [
        Panel("measured", views(before), GREYS, grey, unit),
        Panel("denoised", views(after), GREYS, grey, unit),
        _changed(_view(_ray_change(before, after, spacing_mm), _CORONAL, spacing_mm)),
    ]
    if uncertainty is not None:
        panels.append(_uncertainty(views(to_ras(uncertainty, denoised.affine).volume[box]), unit))
    save_panels(panels, title, note, path)


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
        Panel(name, [_view(projection, _CORONAL, spacing_mm)], GREYS, grey, first.unit_name)
        for name, projection in projections.items()
    ]
    save_panels(panels, title, note, path)


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
    body = projection[above_air(projection)]
    return float(np.quantile(body, 0.75)) if body.size else 0.0


def _changed(view: View) -> Panel:
    limits = (-_CHANGE_LIMIT_PERCENT, _CHANGE_LIMIT_PERCENT)
    return Panel("change", [view], CHANGE, limits, "% of the mean on each ray")


def _uncertainty(views: list[View], unit: str) -> Panel:
    top = round_up(float(np.quantile(views[0].picture, 0.995)))
    return Panel("uncertainty", views, HOT, (0.0, top), f"{unit}, 1 standard deviation")


def _ray_change(before: Picture, after: Picture, spacing_mm: Spacing) -> Picture:
    """Return the relative change in per cent of the mean on each ray from front to back, [x, z].

    Means over rays are smoothed, so that noise cancels and regional changes remain. Rays outside
    the body have no change.
    """
    sigmas = [_CHANGE_SMOOTHING_MM / spacing_mm[axis] for axis in (0, 2)]
    old, new = (smoothed(v.mean(axis=_CORONAL)[None], [0, *sigmas])[0] for v in (before, after))
    body = above_air(old)
    change: Picture = np.zeros_like(old)
    change[body] = 100 * (new[body] / old[body] - 1)
    return change


def _view(projection: Picture, axis: int, spacing_mm: Spacing) -> View:
    """Convert [x or y, z] to rows from the head down, with right or front on the left."""
    picture = projection[::-1, ::-1].T
    across_mm = spacing_mm[0 if axis == _CORONAL else 1]
    return View(picture, picture.shape[0] * spacing_mm[2], picture.shape[1] * across_mm)


def round_up(value: float) -> float:
    """Return the next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10 times a power of ten; 1 for 0."""
    if not value > 0:
        return 1.0
    scale = 10.0 ** np.floor(np.log10(value))
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
    return float(scale * next(step for step in steps if step >= 0.999 * value / scale))
