"""The tables that `petdiff evaluate` prints: whole image, lesions and organs, by scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from petdiff.evaluation.protocol import Row
from petdiff.terminal import columns

Figures = Mapping[tuple[str, str], float | None]

_WHOLE = (
    "psnr_db",
    "psnr_whole_db",
    "psnr_clip16_whole_db",
    "psnr_published_whole_db",
    "ssim",
    "ssim_whole",
    "nrmse",
    "nmae",
    "activity_change",
    "noise_level",
    "cov_30mm_sphere",
    "nps_distance",
    "nps_shape_distance",
    "challenge_score",
)
_IMAGE = ("body", "volume", "all")
_MAX_LINES = 12


def tables(results: Mapping[str, Sequence[Row]]) -> str:
    """Return the tables of all scans except the reference as text."""
    figures = {n: {(r.metric, r.region): r.value for r in rows} for n, rows in results.items()}
    reference = figures.pop("reference")
    scans = list(figures.values())
    keys = [key for metric in _WHOLE for key in scans[0] if key[0] == metric]
    whole = [
        (metric if region in _IMAGE else f"{metric}, {region}", *_cells(scans, metric, region))
        for metric, region in keys
    ]
    blocks = [columns([("", *figures), *whole])]
    lesions = [region for metric, region in scans[0] if metric == "suv_peak"]
    organs = [region for metric, region in scans[0] if metric == "volume_ml"]
    organs.sort(key=lambda region: -_activity(reference, region))
    for title, regions, metrics in (
        ("lesions, bias in %", lesions, ("suv_mean", "suv_max", "suv_peak")),
        ("organs, bias in %", organs, ("suv_mean", "suv_max")),
    ):
        head = (title, *(f"{scan} {m.removeprefix('suv_')}" for scan in figures for m in metrics))
        lines = [(region, *_biases(scans, region, metrics)) for region in regions[:_MAX_LINES]]
        if lines:
            more = len(regions) - len(lines)
            blocks.append(
                columns([head, *lines]) + (f"\n{more} more in metrics.csv" if more else "")
            )
    return "\n\n".join(blocks)


def _activity(figures: Figures, region: str) -> float:
    return (figures["suv_mean", region] or 0.0) * (figures["volume_ml", region] or 0.0)


def _cells(scans: Sequence[Figures], metric: str, region: str) -> list[str]:
    values = [figures.get((metric, region)) for figures in scans]
    return ["-" if value is None else f"{value:.4g}" for value in values]


def _biases(scans: Sequence[Figures], region: str, metrics: Sequence[str]) -> list[str]:
    values = [figures.get((f"{metric}_bias", region)) for figures in scans for metric in metrics]
    return ["-" if value is None else f"{100 * value:+.1f}" for value in values]
