"""Read and write NRRD and MetaImage with SimpleITK (extra `formats`)."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.image import PETImage, spacing_of
from petdiff.io.formats import suffix_of
from petdiff.io.geometry import LPS_TO_RAS, affine_in_mm
from petdiff.io.itk_header import TextHeader, read_text_header
from petdiff.io.missing_values import fill_air
from petdiff.io.sidecar import Sidecar, bids_unit, read_sidecar
from petdiff.io.stored_units import UnitEvidence, find_unit
from petdiff.io.stored_values import read_label_values, read_scan_values
from petdiff.io.volume_source import (
    StoredVolume,
    VolumeSource,
    missing,
    stored_factor,
    stored_unit,
)
from petdiff.runs import whole_file

_READERS = {
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
_GEOMETRY_SUFFIX = {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}
_MAX_UNIT_CHARACTERS = 40
_UNITS_KEY = "Units"  # written by write_itk, with the unit names of BIDS


def read_itk(path: Path, units: str | None, suv_factor: float | None) -> StoredVolume:
    """Read a 3-D NRRD or MetaImage; its unit is found as for NIfTI."""
    header = _header(path)
    affine, warnings = _affine(path, header)
    values, damage = read_scan_values(header.stored)
    nan, absent = fill_air(path.name, values, affine)
    sidecar, ignored = read_sidecar(path)
    if sidecar is None and (text := header.fields.get(_UNITS_KEY.lower())):
        sidecar = Sidecar(path.name, {"Units": text[:_MAX_UNIT_CHARACTERS]})
    unit = find_unit(UnitEvidence(path.name, units, suv_factor, sidecar), values, affine)
    return StoredVolume(
        values,
        affine,
        unit,
        suffix_of(path).removeprefix("."),
        [*warnings, *damage, *absent, *ignored],
        VolumeSource(affine=affine, nan=nan),
    )


def read_itk_labels(path: Path) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Read a label map and its affine. Raises InputRefused for values that are no labels."""
    header = _header(path)
    return read_label_values(header.stored), _affine(path, header)[0]


def write_itk(image: PETImage, path: Path) -> None:
    """Write compressed float32 in the unit of the volume file that was read, or `image.values`.

    For .nhdr and .mhd the values are in a second file. Raises PetdiffError for NaN or infinite
    values, UsageError if a file of either name exists.
    """
    if not np.isfinite(image.values).all():
        raise PetdiffError(f"{path.name} is not written: the image holds NaN or infinite values")
    sitk = _simple_itk()
    values = image.values * np.float32(stored_factor(image))
    nan = missing(image)
    if nan is not None:
        values[nan] = np.nan
    output = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    affine = LPS_TO_RAS @ image.affine
    sizes = spacing_of(affine)
    output.SetSpacing(sizes)
    output.SetDirection((affine[:3, :3] / sizes).ravel().tolist())
    output.SetOrigin(affine[:3, 3].tolist())
    output.SetMetaData(_UNITS_KEY, bids_unit(stored_unit(image)))
    with whole_file(path) as unfinished:
        folder = unfinished.with_name(f"{unfinished.name}.parts")
        folder.mkdir()
        try:
            _execute(sitk, output, folder / path.name)
            for part in sorted(folder.iterdir()):
                target = unfinished if part.name == path.name else path.with_name(part.name)
                if target != unfinished and target.exists():
                    raise UsageError(f"{target} exists: name another, or remove it")
                part.replace(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _execute(sitk: Any, image: Any, path: Path) -> None:
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.SetImageIO(_READERS[suffix_of(path)])
    writer.SetUseCompression(True)
    writer.SetCompressionLevel(1)  # noise does not compress: higher levels gain 1 %
    try:
        writer.Execute(image)
    except RuntimeError as problem:
        raise PetdiffError(f"{path.name} could not be written ({_short(problem)})") from problem


def _header(path: Path) -> TextHeader:
    try:
        return read_text_header(path)
    except OSError as problem:
        raise InputRefused(f"{path.name} cannot be read ({problem.strerror})") from problem


def _affine(path: Path, header: TextHeader) -> tuple[NDArray[np.float64], list[str]]:
    """Return the affine in mm, as SimpleITK reads the geometry, and warnings."""
    sitk = _simple_itk()
    suffix = _GEOMETRY_SUFFIX[suffix_of(path)]
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"geometry{suffix}"
        file.write_text(header.geometry, encoding="ascii")
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(file))
        reader.SetImageIO(_READERS[suffix])
        try:
            reader.ReadImageInformation()
        except RuntimeError as problem:
            raise InputRefused(f"{path.name} has a damaged header ({_short(problem)})") from None
    lps = np.eye(4)
    with np.errstate(over="ignore", invalid="ignore"):
        lps[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * np.array(reader.GetSpacing())
    lps[:3, 3] = reader.GetOrigin()
    affine, warnings = affine_in_mm(path.name, LPS_TO_RAS @ lps, header.length_unit)
    if not header.has_directions:
        warnings.append(
            f"{path.name} does not say its directions: left, posterior, superior are assumed"
        )
    return affine, warnings


def _simple_itk() -> Any:
    """Return SimpleITK without warnings. Raises UsageError if the extra is not installed."""
    try:
        import SimpleITK
    except ImportError:
        raise UsageError(
            "NRRD and MetaImage need SimpleITK: pip install 'petdiff[formats]', or convert to NIfTI"
        ) from None
    SimpleITK.ProcessObject.GlobalWarningDisplayOff()
    return SimpleITK


def _short(problem: Exception) -> str:
    """Return the last line of ITK's message, which has the reason."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(problem).__name__
