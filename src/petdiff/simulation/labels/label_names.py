"""Map label names, such as TotalSegmentator's, to structures, tissues and materials."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from petdiff.errors import InputRefused
from petdiff.simulation.anatomy.names import LABELS

# Prefix of a name in another label map → name in LABELS. Names in LABELS need no entry.
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
# Prefix of a structure's name → tissue, material, uptake factor. The first match is used.
COMPOSITION: tuple[tuple[str, tuple[str, str, float]], ...] = (
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
DEFAULT_STRUCTURE = "muscle"
BODY_OUTLINES = ("skin", "subcutaneous_fat", "body")  # labels that extend to the skin


def structure_names(present: Mapping[int, str]) -> dict[int, str]:
    """Return the structure name for each label; DEFAULT_STRUCTURE for an unknown name.

    Raises InputRefused if no label has a known name.
    """
    structures = {label: _structure_name(name) for label, name in present.items()}
    if not any(structures.values()):
        given = ", ".join(repr(name) for name in list(present.values())[:3] if name)
        raise InputRefused(
            f"none of the {len(present)} labels has a name that is known "
            f"({given or 'none is named'}): use TotalSegmentator's class names, such as 'liver'"
        )
    return {label: structure or DEFAULT_STRUCTURE for label, structure in structures.items()}


def unknown_labels(present: Mapping[int, str]) -> dict[int, str]:
    """Return the labels of unknown names, each with a similar known name if there is one."""
    unknown = {}
    for label, name in present.items():
        if _structure_name(name) is None:
            near = get_close_matches(name, [*LABELS, *ALIASES], n=1, cutoff=0.75)
            unknown[label] = (
                f"{name} (did you mean {near[0]}?)" if near else name or "without a name"
            )
    return unknown


def include_body_outline(present: Mapping[int, str]) -> bool:
    """Return whether the labels include the outline of the body."""
    return any(name.lower().startswith(BODY_OUTLINES) for name in present.values())


def composition_of(name: str) -> tuple[str, str, float]:
    """Return a structure's tissue, material, and uptake relative to that tissue's."""
    matches = (composition for start, composition in COMPOSITION if name.startswith(start))
    return next(matches, ("muscle", "soft", 1.0))


def is_organ(name: str) -> bool:
    """Return whether a name is that of a known organ or tissue."""
    return _structure_name(name) not in (None, "lesion")


def _structure_name(name: str) -> str | None:
    name = "_".join(name.split()).lower()
    by_lower_name = {structure.lower(): structure for structure in LABELS}
    matches = (structure for start, structure in ALIASES.items() if name.startswith(start.lower()))
    return by_lower_name.get(name) or next(matches, None)
