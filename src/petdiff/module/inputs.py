"""Find the PET series in a router's folder, before a model is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

from petdiff.io import read
from petdiff.io.dicom_file import lenient_pydicom
from petdiff.io.dicom_search import Series, search_dicom

_MAKER = "petdiff"  # Manufacturer in the ContributingEquipmentSequence of derived series


@dataclass(frozen=True)
class PetSeries:
    """The SeriesInstanceUID of a PET series, and whether petdiff has made it."""

    uid: str
    is_own: bool


def find_pet_series(folder: Path) -> list[PetSeries]:
    """Return the PET series of a folder; projections of PET only if there is nothing else.

    Raises InputRefused if there is no PET; the message says what the folder holds.
    """
    with lenient_pydicom(), search_dicom(folder) as (found, _):
        series = [PetSeries(one.uid, _is_own(one)) for one in found.volumes or found.pet]
    if not series:
        read(folder)  # raises InputRefused with the content of the folder
    return series


def _is_own(series: Series) -> bool:
    """Return whether petdiff has made a series; denoising it again would make an endless loop."""
    return any(
        str(item.get("Manufacturer", "")) == _MAKER for item in _equipment(series.files[0].dataset)
    )


def _equipment(header: Dataset) -> list[Dataset]:
    try:
        return list(header.get("ContributingEquipmentSequence") or [])
    except Exception:  # pydicom raises a dozen kinds on damaged values
        return []
