"""`petdiff evaluate`: one scan judged against a reference, beside the scan it came from."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from petdiff.commands.evaluate_inputs import on_grid, read_labels, read_lesions, read_names
from petdiff.commands.evaluate_tables import tables
from petdiff.errors import UsageError
from petdiff.evaluation.evaluate import BEST_GAUSSIAN, evaluate
from petdiff.evaluation.lesions import Lesion
from petdiff.evaluation.protocol import Row, of_whole_image
from petdiff.image import PETImage
from petdiff.io import Units, read_in_suv
from petdiff.io.forms import form_of
from petdiff.progress import Progress
from petdiff.records import RunFacts
from petdiff.runs import whole_folder, write_json

_MOST_NAMED = 5


@dataclass(frozen=True)
class Pair:
    """Hold what was asked for, as on the command line."""

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


def evaluate_pair(pair: Pair, output: Path, *, quiet: bool = False) -> str:
    """Write metrics.json and metrics.csv into the new folder `output`; returns tables to read.

    With the low-dose scan, that scan and its best Gaussian filter are judged too. Raises
    InputRefused where the scans are not on one grid, a lesion lies outside it, or the reference is
    empty; UsageError for names without labels.
    """
    if pair.names and not pair.labels:
        raise UsageError("--names says what labels mean: give the label volume too, --labels FILE")
    progress = Progress(quiet)
    with whole_folder(output) as folder:
        with progress.stage("reading"):
            scans, regions = _read(pair, progress)
        found = evaluate(**scans, **regions, stage=progress.stage)
        extra = {BEST_GAUSSIAN: {"fwhm_mm": found.gaussian_fwhm_mm}}
        files = {k: str(v) for k, v in vars(pair).items() if isinstance(v, Path)}
        nested = {name: _nested(rows) | extra.get(name, {}) for name, rows in found.rows.items()}
        asked = {"resampled": pair.resample, "units": pair.units, "suv_factor": pair.suv_factor}
        record = {"files": files, **asked, "results": nested}
        facts = RunFacts(seconds=progress.seconds).model_dump(mode="json")
        write_json(folder / "metrics.json", record | facts)
        _write_csv(folder / "metrics.csv", found.rows)
    return tables(found.rows)


class _Scans(TypedDict):
    reference: PETImage
    test: PETImage
    low: PETImage | None


class _Regions(TypedDict):
    labels: NDArray[np.int32] | None
    names: dict[int, str]
    lesions: list[Lesion]


def _read(pair: Pair, progress: Progress) -> tuple[_Scans, _Regions]:
    """Read the scans, all on the reference's grid, and what is to be measured in them."""

    def read(path: Path) -> PETImage:
        series = pair.series if form_of(path) == "dicom" else ()
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
            progress.say(
                f"{pair.labels} has no names beside it: regions are called by their numbers, and "
                "no liver is known (--names FILE.json gives names)"
            )
    lesions = _lesions(pair.lesions, grid, pair.resample, progress) if pair.lesions else []
    scans: _Scans = {"reference": grid, "test": test, "low": low}
    return scans, {"labels": labels, "names": names, "lesions": lesions}


def _require_used(series: Sequence[str], scans: Sequence[PETImage]) -> None:
    """Raise UsageError for a series that no scan is."""
    unused = set(series) - {scan.facts.get("series_uid") for scan in scans}
    if unused:
        raise UsageError(f"`series` {sorted(unused)[0]}: no scan that was read is that series")


def _lesions(path: Path, grid: PETImage, resample: bool, progress: Progress) -> list[Lesion]:
    lesions, outside = read_lesions(path, grid, resample=resample)
    if outside:
        shown = ", ".join(outside[:_MOST_NAMED]) + (" …" if len(outside) > _MOST_NAMED else "")
        progress.say(f"{path}: {len(outside)} lesions outside the field of view left out: {shown}")
    return lesions


def _nested(rows: Iterable[Row]) -> dict[str, object]:
    """Return figures of the whole image by metric; those of regions by region and metric."""
    whole: dict[str, object] = {}
    regions: dict[str, dict[str, float | None]] = {}
    for row in rows:
        if of_whole_image(row):
            whole[row.metric] = row.value
        else:
            regions.setdefault(row.region, {})[row.metric] = row.value
    return whole | ({"regions": regions} if regions else {})


def _write_csv(path: Path, results: Mapping[str, Iterable[Row]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "metric", "region", "value", "unit"))
        for name, rows in results.items():
            for metric, region, value, unit in rows:
                writer.writerow((name, metric, region, "" if value is None else value, unit))
