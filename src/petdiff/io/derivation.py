"""What made a derived image, as its headers will tell it."""

from __future__ import annotations

from dataclasses import dataclass

from petdiff import __version__


@dataclass(frozen=True)
class Derivation:
    """Provenance of a derived DICOM series.

    model and weights_sha256 name the network, description says in words what was done (both go into
    every slice's headers), series_prefix is put before the source's SeriesDescription.
    """

    description: str = "Written by petdiff, for research only"
    model: str = "none"
    weights_sha256: str = ""
    version: str = __version__
    series_prefix: str = "petdiff "
