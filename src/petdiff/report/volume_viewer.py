"""The 3-D viewer as a part of a page: volumes, scripts and security policy.

Measured scan, denoised scan, difference and, if it exists, uncertainty are side by side with one
crosshair. NiiVue draws the slices. It is downloaded when petdiff is installed or built (`make
viewer`); without it, a page has no viewer.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from string import Template

import numpy as np
from numpy.typing import NDArray

from petdiff.image import PETImage
from petdiff.report.html_page import FOLDER, part
from petdiff.report.packed import Packed, pack
from petdiff.report.preview import SUV_WINDOWS, coronal_projection, display_window
from petdiff.volume.orientation import to_ras

LARGEST_PAGE_BYTES = 27_000_000
_PAGE_WITHOUT_VOLUMES_BYTES = 3_500_000
WITHOUT_VIEWER = (
    "The page holds pictures only, as this installation lacks the 3-D viewer, NiiVue: run "
    "`make viewer` in the source checkout (it needs npm), or install petdiff from a wheel."
)
_SCRIPTS = ("niivue", "mip", "viewer")
_BLOCKS = ("viewer", "coarseness", "data", "scripts", "licences")


@dataclass(frozen=True)
class ViewerPart:
    """The viewer in a page.

    content  HTML by placeholder of the page's template
    policy   Content-Security-Policy of the page
    """

    content: Mapping[str, str]
    policy: str

    @property
    def exists(self) -> bool:
        """Whether the page has a viewer."""
        return bool(self.content["viewer"])


def has_viewer() -> bool:
    """Return whether this installation has NiiVue."""
    return FOLDER.joinpath("viewer/niivue.js").is_file()


def viewer_part(
    measured: PETImage, denoised: PETImage, uncertainty: NDArray[np.float32] | None = None
) -> ViewerPart:
    """Return the viewer of two scans on one grid; an empty part without NiiVue.

    uncertainty  standard deviation in their unit [i, j, k], if several samples were drawn
    """
    if not has_viewer():
        return ViewerPart(dict.fromkeys(_BLOCKS, ""), _policy(()))
    volumes = {"measured": measured.values, "denoised": denoised.values}
    if uncertainty is not None:
        volumes["spread"] = uncertainty
    packed = pack(volumes, denoised, LARGEST_PAGE_BYTES - _PAGE_WITHOUT_VOLUMES_BYTES)
    scripts = [part(f"viewer/{name}.js") for name in _SCRIPTS]
    unit = denoised.unit_name
    content = {
        "viewer": Template(part("viewer/viewer.html")).substitute(unit=escape(unit)),
        "coarseness": escape(_coarseness(packed, unit)),
        "data": _data(packed, measured, denoised, uncertainty),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
        "licences": _licences(),
    }
    return ViewerPart(content, _policy(scripts))


def _coarseness(packed: Packed, unit: str) -> str:
    step = f"steps of {packed.step:g} {unit}"
    text = f"Values are the files' voxels rounded to {step}"
    if packed.block > 1:
        n = packed.block
        text = (
            f"To keep this page small, its voxels are means of {n} × {n} × {n} voxels of the "
            f"files; values have {step}"
        )
    return f"{text}. Air far from the body is left out."


def _data(
    packed: Packed,
    measured: PETImage,
    denoised: PETImage,
    uncertainty: NDArray[np.float32] | None,
) -> str:
    """Return the volumes and their geometry as data blocks, which browsers do not run."""
    change = denoised.values - measured.values
    np.abs(change, out=change)
    shown = display_window(coronal_projection(denoised), denoised)
    # The initial window is one of the presets or `auto`; in the second case `auto` is that window.
    auto = _top(denoised) if shown in SUV_WINDOWS and denoised.in_suv else shown
    windows = {"shown": shown, "suv": auto, "change": _top(denoised.with_values(change))}
    if uncertainty is not None:
        windows["spread"] = _top(denoised.with_values(uncertainty))
    unit = {"unit": denoised.unit_name, "in_suv": denoised.in_suv}
    geometry = json.dumps(packed.geometry() | unit | {"auto": windows}).replace("<", "\\u003c")
    blocks = [f'<script type="application/json" id="geometry">{geometry}</script>']
    blocks += [
        f'<script type="text/plain" class="volume" data-name="{name}">{text}</script>'
        for name, text in packed.volumes.items()
    ]
    return "\n".join(blocks)


def _top(image: PETImage) -> float:
    """Return the end of a window: the 99.5th percentile of the coronal projection."""
    projection = to_ras(image.values, image.affine).volume.max(axis=1)
    top = float(np.quantile(projection, 0.995))
    return float(f"{top:.2g}") if top > 0 else 1.0


def _policy(scripts: Iterable[str]) -> str:
    """Return a Content-Security-Policy that allows these scripts and no network."""
    digests = (hashlib.sha256(script.encode("utf-8")).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(d).decode('ascii')}'" for d in digests)
    return (
        f"default-src 'none'; script-src {allowed or chr(39) + 'none' + chr(39)}; "
        "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; connect-src data:"
    )


def _licences() -> str:
    text = escape(part("viewer/niivue.licences.txt"))
    return f"<details><summary>Licences of the viewer</summary><pre>{text}</pre></details>"
