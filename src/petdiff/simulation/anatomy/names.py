"""Label names: those of TotalSegmentator's classes where they exist."""

from __future__ import annotations

from types import MappingProxyType

_SIDES = ("right", "left")

STRUCTURE_NAMES: tuple[str, ...] = (
    "skin", "subcutaneous_fat", "breast_glands", "muscle", "iliopsoas_right", "iliopsoas_left",
    "visceral_fat", "brown_fat", "mediastinum",
    "skull", "cerebrospinal_fluid", "cerebrum_grey", "cerebrum_white", "cerebellum", "brainstem",
    "deep_nuclei", "ventricles", "pituitary", "eyes", "lacrimal_glands", "airway", "pharynx",
    "tongue", "tonsils",
    *(f"parotid_gland_{side}" for side in _SIDES),
    *(f"submandibular_gland_{side}" for side in _SIDES),
    "sublingual_glands", "thyroid_gland", "spinal_cord",
    *(f"vertebrae_C{n}" for n in range(1, 8)),
    *(f"vertebrae_T{n}" for n in range(1, 13)),
    *(f"vertebrae_L{n}" for n in range(1, 6)),
    "sacrum",
    *(f"rib_{side}_{n}" for n in range(1, 13) for side in _SIDES),
    "sternum",
    *(f"{bone}_{side}" for bone in ("clavicula", "scapula", "hip", "femur", "tibia", "fibula",
                                    "patella", "foot", "humerus", "radius", "ulna", "hand")
      for side in _SIDES),
    *(f"lung_{side}" for side in _SIDES),
    "trachea", "esophagus", "heart", "heart_myocardium", "heart_ventricle_left",
    "heart_ventricle_right", "heart_atrium_left", "heart_atrium_right", "pulmonary_vessels",
    "aorta",
    "pulmonary_artery", "superior_vena_cava", "inferior_vena_cava", "brachiocephalic_vessels",
    *(f"iliac_artery_{side}" for side in _SIDES),
    *(f"iliac_vena_{side}" for side in _SIDES),
    "portal_vein_and_splenic_vein", "liver", "gallbladder", "spleen", "pancreas",
    *(f"adrenal_gland_{side}" for side in _SIDES),
    *(f"kidney_{side}{part}" for side in _SIDES for part in ("", "_medulla", "_pelvis")),
    *(f"ureter_{side}" for side in _SIDES),
    "stomach", "stomach_contents", "duodenum", "small_bowel", "small_bowel_contents", "colon",
    "colon_contents", "rectum", "urinary_bladder_wall", "urinary_bladder", "prostate",
    "seminal_vesicles", "testes", "uterus", "ovaries", "lesion",
)  # fmt: skip

NAMES = MappingProxyType(dict(enumerate(STRUCTURE_NAMES, start=1)))
LABELS = MappingProxyType({name: label for label, name in NAMES.items()})
