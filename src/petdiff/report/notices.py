"""What a reader of a run must know before trusting it, from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from petdiff.evaluation.activity import ActivityChange
from petdiff.report.trained_on import trained_on

_NOTABLE_CHANGE = 0.02
_NOTABLE_ERRORS = 4.0  # standard errors that a change must exceed: noise alone makes smaller ones
_NOTABLE_VOLUME_ML = 10.0  # a smaller region's activity changes with the noise that is taken away
_AIR_SUV = 0.1  # regions below it are air and noise


def notices(record: Mapping[str, Any]) -> list[str]:
    """Sentences for what is off or limited in a run, the gravest first; `record` as in run.json."""
    scan, run = record["input"], record["denoising"]
    suv = scan.get("suv") or {}
    found = [*suv.get("warnings", ()), *scan.get("warnings", ())]
    found = [f"Header: {warning}" for warning in found]
    frames, unit = _frames(run.get("frames") or ()), _unit(scan)
    activity = activity_notices(ActivityChange.model_validate(record["activity"]))
    return [*activity, *frames, *unit, *found, *_grid(scan, run), *_model(run["model"])]


def _unit(scan: Mapping[str, Any]) -> list[str]:
    """Say that values are no SUV, and why."""
    unit, suv = scan.get("values_in", "SUV"), scan.get("suv") or {}
    if unit == "SUV":
        return []
    return [f"All values are in {unit}, not in SUV: {suv.get('reason')}."]


def _frames(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is shown of a scan of frames, and which frames are empty or changed their activity."""
    if not rows:
        return []
    found = [
        f"Pictures and activity are those of the mean over {len(rows)} frames, each weighted by "
        "its duration; frames.png shows the frames' curves."
    ]
    empty = [str(row["frame"]) for row in rows if row["unchanged"]]
    if empty:
        found.append(f"No activity, so left as they were: frame {', '.join(empty)}.")
    changed = [
        f"{row['frame']} ({row['relative_change']:+.1%})"
        for row in rows
        if row.get("relative_change") is not None and abs(row["relative_change"]) > _NOTABLE_CHANGE
    ]
    if changed:
        found.append(
            f"Activity changed by more than {_NOTABLE_CHANGE:.0%} in frame {', '.join(changed)}."
        )
    return found


def activity_notices(activity: ActivityChange) -> list[str]:
    """Return which changes of activity are large, and larger than noise makes them."""
    limit = f"more than the {_NOTABLE_CHANGE:.0%} that are expected"
    found = []
    whole = activity.relative_change
    if whole is not None and abs(whole) > _NOTABLE_CHANGE:
        found.append(f"Activity of the whole scan changed by {whole:+.1%}, {limit}.")
    for band in activity.by_suv:
        change, low, high = band.relative_change, band.suv_from, band.suv_to
        if change is None or (low or 0) < _AIR_SUV or band.volume_ml < _NOTABLE_VOLUME_ML:
            continue
        noise = _NOTABLE_ERRORS * (band.standard_error or 0)
        if abs(change) > max(_NOTABLE_CHANGE, noise):
            where = f"SUV {low:g} to {high:g}" if high is not None else f"SUV {low:g} and more"
            found.append(
                f"Activity of the regions of {where} ({band.volume_ml:,.0f} ml) changed by "
                f"{change:+.1%}, {limit} and more than noise explains."
            )
    return found


def _grid(scan: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    own, worked = scan["spacing_mm"], run["working_voxel_mm"]
    if all(abs(a - b) <= 0.01 * a for a, b in zip(sorted(own), sorted(worked), strict=True)):
        return []
    return [
        f"Denoised on voxels of {millimetres(worked)} and resampled from and to the scan's own "
        f"{millimetres(own)}."
    ]


def _model(model: Mapping[str, Any]) -> list[str]:
    found = [model["limits"]] if model.get("limits") else []
    training = trained_on(model.get("training"))
    if training.is_simulated and not found:
        found.append("The model was trained on simulated scans only; for research only.")
    elif not training.data:
        found.append("The model does not say what it was trained on; for research only.")
    if "NC" in str(model["licence"]).upper().split("-"):
        found.append(f"The model's licence, {model['licence']}, forbids commercial use.")
    return found


def millimetres(sizes: list[float]) -> str:
    """A voxel size for a person."""
    return " × ".join(f"{size:.4g}" for size in sizes) + " mm"
