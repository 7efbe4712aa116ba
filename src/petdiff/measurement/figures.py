"""The figures of a region in one scan: mean, maximum, peak, total, 41 % isocontour volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from petdiff.evaluation.weighted_mask import measure_mask
from petdiff.measurement.region import Region
from petdiff.uncertainty.calibration.record import CalibratedFigure
from petdiff.volume.regions import Spacing, Volume

FigureName = Literal["mean", "max", "peak", "tlg", "mtv_41"]
FIGURES: tuple[FigureName, ...] = get_args(FigureName)

# The calibrated figure behind each; the total has the interval of the mean, times the volume.
CALIBRATED: Mapping[FigureName, CalibratedFigure] = {
    "mean": "suv_mean",
    "max": "suv_max",
    "peak": "suv_peak",
    "tlg": "suv_mean",
    "mtv_41": "volume_41_ml",
}


def unit_of(figure: FigureName, unit: str) -> str:
    """Return the unit of a figure in a scan whose values are in `unit`."""
    return {"tlg": f"{unit}·ml", "mtv_41": "ml"}.get(figure, unit)


def title_of(figure: FigureName, unit: str) -> str:
    """Return the name of a figure in tables: SUVmean if the unit is SUV, else mean."""
    if figure == "tlg":
        return "TLG" if unit == "SUV" else "total"
    if figure == "mtv_41":
        return "MTV 41 %"
    return f"SUV{figure}" if unit == "SUV" else figure


def region_figures(
    region: Region, values: Volume, spacing_mm: Spacing
) -> dict[FigureName, float | None]:
    """Measure a region in a scan [i, j, k].

    mean    over the region; voxels have the weight of their fraction in it
    max     over the voxels that are in it by at least half
    peak    highest mean over 1 cm³ spheres centred on one of these voxels (Wahl 2009)
    tlg     mean times volume (total lesion glycolysis if the tracer is FDG)
    mtv_41  volume in ml of the voxels of at least 41 % of the maximum that are connected with the
            hottest one; None if they extend more than 10 mm beyond the region, and for organs
    """
    found = measure_mask(region.mask, values, spacing_mm, contour=region.kind != "organ")
    mean = found["suv_mean"]
    return {
        "mean": mean,
        "max": found["suv_max"],
        "peak": found["suv_peak"],
        "tlg": None if mean is None else mean * region.volume_ml,
        "mtv_41": found["volume_41_ml"],
    }
