"""Determine the kind of a region from its name."""

from __future__ import annotations

from petdiff.measurement.region import Kind
from petdiff.simulation.labels.label_names import is_organ

# Parts of words: "brain metastasis" is not the brain.
_DISEASE = (
    "lesion", "tumor", "tumour", "metast", "mass", "cancer", "carcin", "lymphom", "sarcom",
    "nodule", "gtv", "ctv", "ptv",
)  # fmt: skip


def kind_of(name: str) -> Kind:
    """Return organ for the name of a known organ without a word for disease, else lesion."""
    diseased = any(part in name.lower() for part in _DISEASE)
    return "organ" if is_organ(name) and not diseased else "lesion"
