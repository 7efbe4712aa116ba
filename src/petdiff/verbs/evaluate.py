"""`petdiff evaluate`: one scan judged against a reference, beside the scan it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.outputs import whole_folder, write_json
from petdiff.progress import Progress
from petdiff.verbs.record import run_record

_HEADLINE = ("psnr_db", "psnr_whole_db", "ssim", "nrmse", "nmae", "activity_change", "noise_level")


def evaluate_pair(
    reference: Path,
    test: Path,
    low: Path | None,
    labels: Path | None,
    output: Path,
    *,
    quiet: bool = False,
) -> str:
    """Write metrics.json into the new folder `output`; returns a table of it for a person.

    With the low-dose scan, that scan and its best Gaussian filter are judged too. Raises
    InputRefused where the scans are not on one grid.
    """
    from petdiff.io import read

    progress = Progress(quiet)
    with whole_folder(output) as folder:
        with progress.stage("reading"):
            paths = {"reference": reference, "test": test} | ({"low": low} if low else {})
            images = {name: read(path) for name, path in paths.items()}
            regions, names = _labels(labels) if labels else (None, {})
        truth = images.pop("reference")
        _require_one_grid(truth, {**images, **({"labels": regions} if regions else {})}, paths)
        with progress.stage("measuring"):
            label_array = None if regions is None else regions.suv.round().astype(np.int64)
            results = _measure(truth, images, label_array, names)
        record = {"files": {name: str(path) for name, path in paths.items()}, "results": results}
        write_json(folder / "metrics.json", record | run_record(seconds=progress.seconds))
    return _table(results)


def _measure(
    truth: PETImage,
    images: dict[str, PETImage],
    labels: NDArray[np.int64] | None,
    names: dict[int, str],
) -> dict[str, Any]:
    from petdiff.evaluation.baselines import best_gaussian
    from petdiff.evaluation.metrics import compare, noise_level, region_bias
    from petdiff.evaluation.regions import body_mask

    body = body_mask(truth.suv, truth.spacing_mm)
    if not body.any():
        raise InputRefused("the reference holds no activity, so nothing can be measured against it")
    scans = {name: image.suv for name, image in images.items()}
    extra: dict[str, Any] = {}
    if "low" in scans:
        gaussian = best_gaussian(scans["low"], truth.suv, truth.spacing_mm, body)
        scans["best Gaussian"] = gaussian.suv
        extra["best Gaussian"] = {"fwhm_mm": gaussian.strength}
    results = {}
    for name, suv in scans.items():
        found = compare(truth.suv, suv, body)
        found["noise_level"] = noise_level(suv, truth.spacing_mm)
        found |= extra.get(name, {})
        if labels is not None:
            found["regions"] = region_bias(truth.suv, suv, labels, names)
        results[name] = found
    return results


def _labels(path: Path) -> tuple[PETImage, dict[int, str]]:
    """A label volume, and the names in the .json beside it where there is one."""
    from petdiff.io import read

    beside = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    names = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    return read(path), {int(label): str(name) for label, name in names.items()}


def _require_one_grid(truth: PETImage, images: dict[str, Any], paths: dict[str, Path]) -> None:
    for name, image in images.items():
        same_shape = image.suv.shape == truth.suv.shape
        if not same_shape or not np.allclose(image.affine, truth.affine, atol=1e-2):
            raise InputRefused(
                f"{paths.get(name, name)} has shape {image.suv.shape} and the reference "
                f"{truth.suv.shape}, or another affine: bring both to one grid first"
            )


def _table(results: dict[str, Any]) -> str:
    rows = [("", *results)]
    for key in _HEADLINE:
        values = (found[key] for found in results.values())
        rows.append((key, *("-" if value is None else f"{value:.4f}" for value in values)))
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    )
