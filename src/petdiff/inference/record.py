"""The record of a denoising run: the model, the settings, the grid and how it was cut."""

from __future__ import annotations

from pydantic import BaseModel

from petdiff.inference.options import Millimetres
from petdiff.methods.card import ModelCard
from petdiff.records import FileName


class ModelUsed(ModelCard, frozen=True):
    """The card of the model, with its name (or path) and the SHA-256 of its weights."""

    name: FileName
    sha256: str


class VolumeCut(BaseModel, frozen=True):
    """How a volume was cut for the network.

    tile                voxels of a slab, or of a window, along i, j, k
    blend               voxels over which neighbouring windows are blended; None for exact slabs
    predicted_tile_gib  expected memory of a slab; None for windows
    """

    tile: tuple[int, int, int] | None = None
    blend: tuple[int, int, int] | None = None
    predicted_tile_gib: float | None = None


class FrameRecord(BaseModel, frozen=True):
    """One frame of a dynamic or gated scan.

    frame          number of the frame, from 1
    start_s, duration_s, trigger_s  as in FrameTiming; None if the source has no such value
    unchanged      the frame has no activity and is returned unchanged
    seconds        time of denoising the frame
    air_share      share of its voxels that is air
    mean_measured, mean_denoised  mean in the body of the mean scan, in the unit of the image
    noise_removed  root mean square of measured − denoised, over mean_denoised
    relative_change  change of the frame's activity, denoised / measured - 1
    """

    frame: int
    start_s: float | None = None
    duration_s: float | None = None
    trigger_s: float | None = None
    unchanged: bool = False
    seconds: float = 0.0
    air_share: float = 0.0
    mean_measured: float | None = None
    mean_denoised: float | None = None
    noise_removed: float | None = None
    relative_change: float | None = None


class DenoisingRecord(VolumeCut, frozen=True):
    """The model, the device and the settings of a run, with `auto` replaced by what was used.

    working_voxel_mm, working_shape  the grid that the network worked on
    air_share                        share of its voxels that is air
    seconds                          time of denoising; 0 for a scan without positive values
    frames                           a row per frame of a dynamic or gated scan, else empty
    """

    model: ModelUsed
    device: str
    precision: str
    steps: int
    samples: int
    drf: float | None
    seed: int
    working_voxel_mm: Millimetres
    working_shape: tuple[int, int, int]
    air_share: float = 0.0
    seconds: float = 0.0
    frames: tuple[FrameRecord, ...] = ()
