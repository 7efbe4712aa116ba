"""Denoise one PET series of a router's folder into files named as routers name them."""

from __future__ import annotations

import time
from pathlib import Path

import pydicom

from petdiff import __version__
from petdiff.frames import mean_image
from petdiff.inference.denoise import denoise
from petdiff.io import Derivation, read, write
from petdiff.methods.model import Model
from petdiff.module.result import SeriesResult
from petdiff.module.settings import ModuleSettings
from petdiff.records import NOTICE
from petdiff.volume.activity import activity_change

_SERIES = "series"


def denoise_series(
    folder: Path, uid: str, model: Model, settings: ModuleSettings, output: Path
) -> SeriesResult:
    """Denoise one series into `output`, as files named series#instance.dcm.

    Raises InputRefused where the series cannot be used.
    """
    start = time.perf_counter()
    scan = read(folder, series=uid)
    result = denoise(scan, model, **settings.options().settings())
    derivation = Derivation(
        f"{Path(model.name).name}; petdiff {__version__}. {NOTICE}",
        Path(model.name).name,
        model.sha256,
        series_prefix=settings.series_prefix,
    )
    write(result.image, output / _SERIES, derivation)
    made, images = _named_for_routers(output / _SERIES, output)
    (output / _SERIES).rmdir()
    image = mean_image(scan)
    after = mean_image(result.image)
    change = activity_change(image.values, after.values, image.spacing_mm, in_suv=image.in_suv)
    suv = image.facts.get("suv", {})
    return SeriesResult(
        source=uid,
        status="denoised",
        made=made,
        images=images,
        values_in=image.unit_name,
        relative_change=change.relative_change,
        seconds=round(time.perf_counter() - start, 1),
        warnings=(*suv.get("warnings", ()), *image.facts.get("warnings", ())),
    )


def _named_for_routers(folder: Path, output: Path) -> tuple[str, int]:
    """Move DICOM files to `output` as series#instance.dcm; return series UID and file count."""
    uid, files = "", sorted(folder.iterdir())
    for file in files:
        header = pydicom.dcmread(
            file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "SOPInstanceUID"]
        )
        uid = str(header.SeriesInstanceUID)
        file.rename(output / f"{uid}#{header.SOPInstanceUID}.dcm")
    return uid, len(files)
