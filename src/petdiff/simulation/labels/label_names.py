"""Map the label names of other label maps to structures, tissues and materials."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from petdiff.errors import InputRefused
from petdiff.simulation.anatomy.names import LABELS

# Start of another label map's name → name in LABELS. Names in LABELS need no entry.
ALIASES = {
    "lung_upper_lobe_left": "lung_left", "lung_lower_lobe_left": "lung_left",
    "lung_upper_lobe_right": "lung_right", "lung_middle_lobe_right": "lung_right",
    "lung_lower_lobe_right": "lung_right", "kidney_cyst_left": "kidney_left",
    "kidney_cyst_right": "kidney_right", "vertebrae_S1": "sacrum",
    "pulmonary_vein": "pulmonary_artery", "brachiocephalic": "brachiocephalic_vessels",
    "subclavian": "brachiocephalic_vessels", "common_carotid": "brachiocephalic_vessels",
    "atrial_appendage_left": "heart_atrium_left", "gluteus": "muscle", "autochthon": "muscle",
    "brain": "cerebrum_grey", "costal_cartilages": "muscle", "body": "muscle",
    "body_trunc": "muscle", "body_extremities": "muscle", "skeletal_muscle": "muscle",
    "torso_fat": "visceral_fat",
}  # fmt: skip
# Start of a structure's name → tissue, material, factor. The first match counts.
MADE_OF: tuple[tuple[str, tuple[str, str, float]], ...] = (
    ("skin", ("skin", "soft", 1.0)),
    ("subcutaneous_fat", ("fat", "fat", 1.0)),
    ("visceral_fat", ("fat", "fat", 1.0)),
    ("lung", ("lung", "lung", 1.0)),
    ("trachea", ("gas", "gas", 1.0)),
    ("airway", ("gas", "gas", 1.0)),
    ("rib", ("marrow", "marrow", 0.75)),
    *((name, ("marrow", "marrow", 1.0)) for name in ("vertebrae", "sacrum", "hip", "sternum")),
    *((name, ("marrow", "marrow", 0.6)) for name in ("clavicula", "scapula", "skull")),
    *((name, ("yellow_marrow", "marrow", 1.0)) for name in ("femur", "humerus", "tibia", "fibula",
      "patella", "foot", "radius", "ulna", "hand")),
    *((name, ("blood", "soft", 1.0)) for name in ("aorta", "pulmonary", "superior", "inferior",
      "brachio", "iliac", "portal", "heart_ventricle", "heart_atrium")),
    ("heart", ("myocardium", "soft", 0.5)),  # wall and blood in one label
    ("kidney", ("kidney_cortex", "soft", 1.0)),
    ("ureter", ("ureter", "soft", 1.0)),
    ("urinary_bladder_wall", ("muscle", "soft", 1.0)),
    ("urinary_bladder", ("bladder", "soft", 1.0)),
    ("cerebrum_grey", ("grey_matter", "soft", 1.0)),
    ("cerebrum_white", ("white_matter", "soft", 1.0)),
    ("deep_nuclei", ("deep_grey", "soft", 1.0)),
    ("parotid", ("parotid", "soft", 1.0)),
    ("submandibular", ("submandibular", "soft", 1.0)),
    ("adrenal", ("adrenal", "soft", 1.0)),
    ("thyroid", ("thyroid", "soft", 1.0)),
    ("esophagus", ("oesophagus", "soft", 1.0)),
    ("seminal", ("seminal_vesicle", "soft", 1.0)),
    ("testes", ("testis", "soft", 1.0)),
    ("ovaries", ("ovary", "soft", 1.0)),
    *((name, (name, "soft", 1.0)) for name in ("liver", "spleen", "pancreas", "stomach",
      "gallbladder", "duodenum", "small_bowel", "colon", "rectum", "prostate", "uterus",
      "cerebellum", "brainstem", "pituitary", "spinal_cord", "tongue", "pharynx")),
)  # fmt: skip
UNKNOWN_IS = "muscle"
OUTLINES = ("skin", "subcutaneous_fat", "body")  # labels that extend to the skin


def structure_names(present: Mapping[int, str]) -> dict[int, str]:
    """Return the structure name for each label; UNKNOWN_IS for an unknown name.

    Raises InputRefused if no label has a known name.
    """
    found = {label: _known(name) for label, name in present.items()}
    if not any(found.values()):
        given = ", ".join(repr(name) for name in list(present.values())[:3] if name)
        raise InputRefused(
            f"none of the {len(present)} labels has a name that is known "
            f"({given or 'none is named'}): use TotalSegmentator's class names, such as 'liver'"
        )
    return {label: known or UNKNOWN_IS for label, known in found.items()}


def unknown_labels(present: Mapping[int, str]) -> dict[int, str]:
    """Return the labels that became UNKNOWN_IS, each with a similar known name if there is one."""
    found = {}
    for label, name in present.items():
        if _known(name) is None:
            near = get_close_matches(name, [*LABELS, *ALIASES], n=1, cutoff=0.75)
            found[label] = f"{name} (did you mean {near[0]}?)" if near else name or "without a name"
    return found


def reach_the_skin(present: Mapping[int, str]) -> bool:
    """Return whether the labels include the body's outline, so that none need be assumed."""
    return any(name.lower().startswith(OUTLINES) for name in present.values())


def made_of(name: str) -> tuple[str, str, float]:
    """Return a structure's tissue, material, and uptake relative to that tissue's."""
    found = (made for start, made in MADE_OF if name.startswith(start))
    return next(found, ("muscle", "soft", 1.0))


def is_organ(name: str) -> bool:
    """Return whether a name is that of an organ or tissue that is known here."""
    return _known(name) not in (None, "lesion")


def _known(name: str) -> str | None:
    name = "_".join(name.split()).lower()
    ours = {known.lower(): known for known in LABELS}
    starts = (known for start, known in ALIASES.items() if name.startswith(start.lower()))
    return ours.get(name) or next(starts, None)
