"""Read a scan and its reference onto one grid, with labels and lesions; write the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import UsageError
from petdiff.evaluation.evaluate import BEST_GAUSSIAN, Evaluation
from petdiff.evaluation.inputs import on_grid, read_labels, read_lesions, read_names
from petdiff.evaluation.protocol import Row, of_whole_image
from petdiff.evaluation.weighted_mask import WeightedMask
from petdiff.image import PETImage
from petdiff.io import Units, read_in_suv
from petdiff.io.formats import format_of
from petdiff.runs import write_csv
from petdiff.units import counted

_MAX_NAMED = 5


@dataclass(frozen=True)
class Pair:
    """The files of a comparison, and how they are read.

    reference, test, low  scans; `low` is the one that was denoised
    labels, names         label volume, and the names of its labels if not in the .json beside it
    lesions               list as `petdiff simulate` writes it, or a volume of labels
    resample              bring scans and labels to the reference's grid
    units, suv_factor, series  as in petdiff.io.read
    """

    reference: Path
    test: Path
    low: Path | None = None
    labels: Path | None = None
    names: Path | None = None
    lesions: Path | None = None
    resample: bool = False
    units: Units | None = None
    suv_factor: float | None = None
    series: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.names and not self.labels:
            raise UsageError("`names` names labels: give the label volume too, `labels`")

    def files(self) -> dict[str, str]:
        """Return the paths that were given, by name."""
        return {name: str(path) for name, path in vars(self).items() if isinstance(path, Path)}


@dataclass(frozen=True, eq=False)
class PairContent:
    """The scans of a pair on the reference's grid, and the regions to measure."""

    reference: PETImage
    test: PETImage
    low: PETImage | None
    labels: NDArray[np.int32] | None
    names: dict[int, str]
    lesions: list[WeightedMask]


def read_pair(pair: Pair, notify: Callable[[str], None]) -> PairContent:
    """Read the files of a pair.

    notify  called with a line on each unexpected property of the files

    Raises InputRefused if scans or labels are not on the reference's grid and `resample` is False;
    UsageError for a series that is not among the scans.
    """

    def read(path: Path) -> PETImage:
        series = pair.series if format_of(path) == "dicom" else ()
        return read_in_suv(
            path, series=series or None, units=pair.units, suv_factor=pair.suv_factor
        )

    grid = read(pair.reference)
    test = on_grid(pair.test, read(pair.test), grid, resample=pair.resample)
    low = on_grid(pair.low, read(pair.low), grid, resample=pair.resample) if pair.low else None
    _require_used(pair.series, [grid, test, *([low] if low else [])])
    labels, names = None, {}
    if pair.labels:
        labels = read_labels(pair.labels, grid, resample=pair.resample)
        names = read_names(pair.labels, pair.names)
        if not names:
            notify(
                f"{pair.labels} has no .json with names: regions have numbers as names, and no "
                "liver is known (`names` FILE.json gives names)"
            )
    lesions = _lesions(pair.lesions, grid, pair.resample, notify) if pair.lesions else []
    return PairContent(grid, test, low, labels, names, lesions)


def _require_used(series: Sequence[str], scans: Sequence[PETImage]) -> None:
    """Raise UsageError for a series that is not among the scans."""
    unused = set(series) - {scan.facts.get("series_uid") for scan in scans}
    if unused:
        raise UsageError(f"`series` {sorted(unused)[0]}: no scan that was read is that series")


def _lesions(
    path: Path, grid: PETImage, resample: bool, notify: Callable[[str], None]
) -> list[WeightedMask]:
    lesions, outside = read_lesions(path, grid, resample=resample)
    if outside:
        shown = ", ".join(outside[:_MAX_NAMED]) + (" …" if len(outside) > _MAX_NAMED else "")
        notify(
            f"{path}: {counted(len(outside), 'lesion')} outside the field of view left out: {shown}"
        )
    return lesions


def figures_by_scan(found: Evaluation) -> dict[str, dict[str, object]]:
    """Return figures by scan and metric; under "regions", by region and metric."""
    nested = {name: _nested(rows) for name, rows in found.rows.items()}
    if BEST_GAUSSIAN in nested:
        nested[BEST_GAUSSIAN]["fwhm_mm"] = found.gaussian_fwhm_mm
    return nested


def _nested(rows: Iterable[Row]) -> dict[str, object]:
    whole: dict[str, object] = {}
    regions: dict[str, dict[str, float | None]] = {}
    for row in rows:
        if of_whole_image(row):
            whole[row.metric] = row.value
        else:
            regions.setdefault(row.region, {})[row.metric] = row.value
    return whole | ({"regions": regions} if regions else {})


def write_rows(path: Path, results: Mapping[str, Iterable[Row]]) -> None:
    """Write a CSV file with a line for each scan, metric and region."""
    rows = ((name, *row) for name, of_scan in results.items() for row in of_scan)
    write_csv(path, ("file", *Row._fields), rows)
