"""The PET series of a folder, denoised one after the other into files with a router's names."""

from __future__ import annotations

import time
from pathlib import Path

import pydicom
from pydicom import Dataset

from petdiff import __version__
from petdiff.frames import PETFrames
from petdiff.inference.denoise import denoise
from petdiff.io import Derivation, read, write
from petdiff.io.dicom_file import lenient_pydicom
from petdiff.io.dicom_search import Series, searched
from petdiff.methods.model import Model
from petdiff.module.result import SeriesAnswer
from petdiff.module.settings import ModuleSettings
from petdiff.volume.activity import activity_change

_MAKER = "petdiff"  # Manufacturer in the ContributingEquipmentSequence of derived series
_SERIES = "series"


def pet_series_of(folder: Path) -> list[tuple[str, bool]]:
    """Return the SeriesInstanceUIDs of a folder's PET, and whether petdiff made the series.

    Raises InputRefused where there is no PET, saying what there is.
    """
    with lenient_pydicom(), searched(folder) as (found, _):
        series = [(one.uid, _is_own(one)) for one in found.pet]
    if not series:
        read(folder)  # raises, with what the folder holds
    return series


def denoise_series(
    folder: Path, uid: str, model: Model, settings: ModuleSettings, output: Path
) -> SeriesAnswer:
    """Denoise one series into `output`, as files named series#instance.dcm.

    Raises InputRefused where the series cannot be used.
    """
    start = time.perf_counter()
    scan = read(folder, series=uid)
    result = denoise(scan, model, **settings.options().settings())
    derivation = Derivation(
        f"{Path(model.name).name}; petdiff {__version__}; for research, not a medical device",
        Path(model.name).name,
        model.sha256,
        series_prefix=settings.series_prefix,
    )
    write(result.image, output / _SERIES, derivation)
    made, images = _named_for_routers(output / _SERIES, output)
    (output / _SERIES).rmdir()
    image = scan.mean() if isinstance(scan, PETFrames) else scan
    after = result.image.mean() if isinstance(result.image, PETFrames) else result.image
    change = activity_change(image.values, after.values, image.spacing_mm, in_suv=image.in_suv)
    suv = image.facts.get("suv", {})
    return SeriesAnswer(
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
    """Move DICOM files to `output` under the names that routers give; series UID and count."""
    uid, files = "", sorted(folder.iterdir())
    for file in files:
        header = pydicom.dcmread(
            file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "SOPInstanceUID"]
        )
        uid = str(header.SeriesInstanceUID)
        file.rename(output / f"{uid}#{header.SOPInstanceUID}.dcm")
    return uid, len(files)


def _is_own(series: Series) -> bool:
    """Return whether petdiff has made a series: a router that sends it back would go in circles."""
    return any(
        str(item.get("Manufacturer", "")) == _MAKER for item in _equipment(series.files[0].dataset)
    )


def _equipment(header: Dataset) -> list[Dataset]:
    try:
        return list(header.get("ContributingEquipmentSequence") or [])
    except Exception:  # pydicom raises a dozen kinds on damaged values
        return []
