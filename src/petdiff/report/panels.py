"""Draw pictures side by side as a PNG, each with a caption above and a colour bar below.

With Pillow: importing matplotlib alone takes longer than all of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from petdiff.records import NOTICE
from petdiff.report.png import Colours, Picture, coloured
from petdiff.terminal import one_line
from petdiff.units import with_minus

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

_DPI = 160
_WIDEST_IN, _HIGHEST_IN, _NARROWEST_IN = 12.5, 6.4, 5.0
_GAP_IN, _HEAD_IN, _FOOT_IN = 0.14, 0.9, 0.8
_VIEW_GAP_MM = 8.0
_BAR_IN, _BAR_SHARE, _BAR_HEIGHT_IN, _TICK_IN = 2.4, 0.8, 0.07, 0.025
_TICK_STEPS = (1, 2, 5, 10)  # times a power of ten
_MOST_TICK_STEPS = 5
_LABEL_SPACE = 1.2  # least distance of two ticks, in widths of a label
_COMPRESSION = 3  # of zlib: as small as its usual 6 here, in half the time
_INK, _FAINT = "#1c2733", "#7a8794"
_MAX_CHARACTERS = 160  # of a text


@dataclass(frozen=True)
class View:
    """One projection; the first row is at the head."""

    picture: Picture
    height_mm: float
    width_mm: float


@dataclass(frozen=True)
class Panel:
    """Views with one caption, scale of colours and colour bar; `window` is the scale's two ends."""

    caption: str
    views: list[View]
    colours: Colours
    window: tuple[float, float]
    unit: str

    @property
    def width_mm(self) -> float:
        """Width of the views and of the gaps between them."""
        return sum(view.width_mm + _VIEW_GAP_MM for view in self.views) - _VIEW_GAP_MM


def save_panels(panels: Sequence[Panel], title: str, note: str, path: Path) -> None:
    """Save panels in the true proportions of their views, below a title and a fainter note."""
    height_mm = max(view.height_mm for panel in panels for view in panel.views)
    in_per_mm = min(
        _HIGHEST_IN / height_mm,
        (_WIDEST_IN - _GAP_IN * (len(panels) + 1)) / sum(panel.width_mm for panel in panels),
    )
    width_in = sum(panel.width_mm * in_per_mm + _GAP_IN for panel in panels) + _GAP_IN
    height_in = _HEAD_IN + height_mm * in_per_mm + _FOOT_IN
    sheet = _Sheet(max(width_in, _NARROWEST_IN), height_in)
    left_in = _GAP_IN
    for panel in panels:
        _show(sheet, panel, left_in, in_per_mm)
        left_in += panel.width_mm * in_per_mm + _GAP_IN
    sheet.write(title, _GAP_IN, 0.25, 13, _INK, anchor="lm", bold=True)
    sheet.write(note, _GAP_IN, 0.48, 8.5, _FAINT, anchor="lm")
    sheet.write(NOTICE, _GAP_IN, height_in - 0.13, 8, _FAINT, anchor="lm")
    sheet.image.save(path, format="png", dpi=(_DPI, _DPI), compress_level=_COMPRESSION)


def shortened(text: str) -> str:
    """Return text without control characters, in one line of limited length."""
    shown = one_line(text)
    if len(shown) > _MAX_CHARACTERS:
        shown = f"{shown[: _MAX_CHARACTERS // 2]} … {shown[-_MAX_CHARACTERS // 2 :]}"
    return shown


class _Sheet:
    """A white picture on which everything is placed in inches from its upper left corner."""

    def __init__(self, width_in: float, height_in: float) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (_pixels(width_in), _pixels(height_in)), "white")
        self._draw = ImageDraw.Draw(self.image)

    def write(
        self, text: str, x_in: float, y_in: float, points: float, colour: str, *, anchor: str,
        bold: bool = False,
    ) -> None:  # fmt: skip
        """Write a line of text; its `anchor`, as in Pillow, is at x, y."""
        place = (_pixels(x_in), _pixels(y_in))
        self._draw.text(place, shortened(text), colour, _font(points, bold), anchor=anchor)

    def paste(self, image: Image, left_in: float, top_in: float) -> None:
        """Place an image by its upper left corner."""
        self.image.paste(image, (_pixels(left_in), _pixels(top_in)))

    def frame(self, left_in: float, top_in: float, width_in: float, height_in: float) -> None:
        """Draw a rectangle of thin lines."""
        corners = (left_in, top_in, left_in + width_in, top_in + height_in)
        self._draw.rectangle([_pixels(at) for at in corners], outline=_INK)


def _show(sheet: _Sheet, panel: Panel, left_in: float, in_per_mm: float) -> None:
    """Draw a panel's views from `left_in` on, its caption above and its colour bar below."""
    view_left_in = left_in
    for view in panel.views:
        width_in, height_in = view.width_mm * in_per_mm, view.height_mm * in_per_mm
        image = _image(view.picture, panel.colours, panel.window, width_in, height_in)
        sheet.paste(image, view_left_in, _HEAD_IN)
        view_left_in += width_in + _VIEW_GAP_MM * in_per_mm
    middle_in = left_in + panel.width_mm * in_per_mm / 2
    sheet.write(panel.caption, middle_in, _HEAD_IN - 0.12, 10, _INK, anchor="mm")
    bar_in = min(_BAR_SHARE * panel.width_mm * in_per_mm, _BAR_IN)
    _draw_bar(sheet, panel, middle_in - bar_in / 2, _HEAD_IN + height_in + 0.09, bar_in)


def _draw_bar(sheet: _Sheet, panel: Panel, left_in: float, top_in: float, width_in: float) -> None:
    """Draw the scale of colours with its ticks, and the unit below."""
    low, high = panel.window
    scale = np.linspace(low, high, 256, dtype=np.float32)[None]
    image = _image(scale, panel.colours, panel.window, width_in, _BAR_HEIGHT_IN)
    sheet.paste(image, left_in, top_in)
    sheet.frame(left_in, top_in, width_in, _BAR_HEIGHT_IN)
    bottom_in = top_in + _BAR_HEIGHT_IN
    label_in = max(_font(7.5).getlength(_label(end)) for end in panel.window) / _DPI
    for tick in ticks(low, high, int(width_in / (_LABEL_SPACE * label_in))):
        x_in = left_in + width_in * (tick - low) / (high - low)
        sheet.frame(x_in, bottom_in, 0, _TICK_IN)
        sheet.write(_label(tick), x_in, bottom_in + 0.05, 7.5, _INK, anchor="mt")
    sheet.write(panel.unit, left_in + width_in / 2, bottom_in + 0.23, 8, _INK, anchor="mm")


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return round values from `low` to `high`, with at most `most` equal steps between them."""
    steps = min(max(most, 1), _MOST_TICK_STEPS)
    scale = 10.0 ** np.floor(np.log10((high - low) / steps))
    step = next(n * scale for n in _TICK_STEPS if n * scale * steps >= 0.999 * (high - low))
    first, last = np.ceil(low / step - 1e-6), np.floor(high / step + 1e-6)
    return [float(n * step) for n in np.arange(first, last + 1)]


def _label(value: float) -> str:
    return with_minus(f"{value:z.6g}")


def _image(
    picture: Picture, colours: Colours, window: tuple[float, float], width_in: float,
    height_in: float,
) -> Image:  # fmt: skip
    """Return a picture in colours at the size that it is shown with, interpolated bilinearly."""
    from PIL import Image

    low, high = window
    size = max(_pixels(width_in), 1), max(_pixels(height_in), 1)
    shown = Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BILINEAR)
    shares = np.clip((np.asarray(shown) - low) / (high - low), 0, 1)
    table = coloured(np.linspace(0, 1, 256), colours)
    return Image.fromarray(table[np.rint(255 * shares).astype(np.uint8)])


@cache
def _font(points: float, bold: bool = False) -> FreeTypeFont:
    """Return the font that matplotlib brings along, without importing matplotlib."""
    from PIL import ImageFont

    spec = find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    fonts = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(
        fonts / f"DejaVuSans{'-Bold' if bold else ''}.ttf", points * _DPI / 72
    )


def _pixels(length_in: float) -> int:
    return round(length_in * _DPI)
