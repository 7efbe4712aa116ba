"""What the labels of a foreign label map stand for in ours: structure, tissue and material."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from petdiff.errors import InputRefused
from petdiff.simulation.anatomy.names import LABELS

# What foreign names start with → our structure. Our own names need no entry.
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
# Structures by what their names start with: tissue, material, factor. The first that fits counts.
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
    ("heart", ("myocardium", "soft", 0.5)),  # unsegmented: wall and blood together
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
OUTLINES = ("skin", "subcutaneous_fat", "body")  # names of labels beyond which there is air


def structure_names(present: Mapping[int, str]) -> dict[int, str]:
    """Our name for each label; one without a name that we know is UNKNOWN_IS.

    Raises InputRefused where no label at all has a name that we know.
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
    """The labels that became UNKNOWN_IS, with the nearest name that is known where one is near."""
    found = {}
    for label, name in present.items():
        if _known(name) is None:
            near = get_close_matches(name, [*LABELS, *ALIASES], n=1, cutoff=0.75)
            found[label] = f"{name} (did you mean {near[0]}?)" if near else name or "without a name"
    return found


def reach_the_skin(present: Mapping[int, str]) -> bool:
    """Whether the labels are the whole body, so that nothing need be guessed around them."""
    return any(name.lower().startswith(OUTLINES) for name in present.values())


def made_of(name: str) -> tuple[str, str, float]:
    """Tissue, material, and uptake against that tissue's, of a structure by our name for it."""
    found = (made for start, made in MADE_OF if name.startswith(start))
    return next(found, ("muscle", "soft", 1.0))


def _known(name: str) -> str | None:
    name = "_".join(name.split()).lower()
    ours = {known.lower(): known for known in LABELS}
    starts = (known for start, known in ALIASES.items() if name.startswith(start.lower()))
    return ours.get(name) or next(starts, None)
