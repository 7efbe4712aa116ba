"""Describe how a derived image was made, for its headers."""

from __future__ import annotations

from dataclasses import dataclass

from petdiff.records import NOTICE

DENOISED, SIMULATED = "DENOISED", "SIMULATED"  # last value of ImageType


@dataclass(frozen=True)
class Derivation:
    """Provenance of a derived DICOM series.

    model and weights_sha256 name the network, description says in words what was done (both go into
    every slice's headers), series_prefix is put before the source's SeriesDescription, and
    image_kind is the last value of ImageType.
    """

    description: str = f"Written by petdiff. {NOTICE}"
    model: str = "none"
    weights_sha256: str = ""
    series_prefix: str = "petdiff "
    image_kind: str = DENOISED
