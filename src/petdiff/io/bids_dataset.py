"""Find the PET scans of BIDS data sets, the entities of their names and their metadata files.

A scan is `sub-*/[ses-*/]pet/*_pet.nii[.gz]`. Its metadata are in `*_pet.json` beside it and in the
folders above (the inheritance principle), its weight there or in a table of the data set.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from petdiff.errors import InputRefused
from petdiff.io.formats import NIFTI, stem_of, suffix_of

DESCRIPTION = "dataset_description.json"
UNCERTAINTY, LOWER, UPPER = "uncertainty", "lowerBound", "upperBound"
# Endings of desc- of volumes that are not scans but uncertainties of one.
_NO_SCANS = tuple(label.lower() for label in (UNCERTAINTY, LOWER, UPPER))
_MAX_LEVELS = 5  # from a file up to its data set
_ENTITY = re.compile(r"([a-zA-Z0-9]+)-([a-zA-Z0-9+]+)")
_PET_FOLDERS = ("sub-*/pet", "sub-*/ses-*/pet", "ses-*/pet", "pet")
_SHOWN = 20


@dataclass(frozen=True)
class BidsScan:
    """A PET scan of a BIDS data set.

    root      folder of the data set
    path      the NIfTI file
    entities  of its name, in their order: ("sub", "01"), ("ses", "1"), ("trc", "FDG"), …
    """

    root: Path
    path: Path
    entities: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """The name without suffix: sub-01_ses-1_trc-FDG_rec-osem_run-1."""
        return _joined(self.entities)

    @property
    def relative(self) -> str:
        """The path within the data set, with slashes."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def subject_folder(self) -> Path:
        """The folder of the subject or session within the data set: sub-01/ses-1."""
        return self.path.relative_to(self.root).parent.parent

    def described(self, label: str) -> str:
        """Return the name with the entity desc- last; an existing desc- is put before the label."""
        given = dict(self.entities).get("desc", "")
        whole = given + label[:1].upper() + label[1:] if given else label
        others = [pair for pair in self.entities if pair[0] != "desc"]
        return _joined((*others, ("desc", whole)))


def find_bids_scans(folder: str | Path) -> list[BidsScan]:
    """Return the PET scans of a BIDS data set, or of a subject's, session's or `pet` folder of one.

    They are sorted by path. Data sets within the data set (derivatives, sourcedata)
    are not searched; maps of uncertainty and bounds are left out. Files that were not fetched
    (broken links of DataLad) are returned as well. Empty where the folder belongs to no BIDS data
    set.
    """
    folder = _absolute(folder)
    pets = [found for pattern in _PET_FOLDERS for found in folder.glob(pattern)]
    pets += [folder] if folder.name == "pet" else []
    files = [file for found in pets for file in found.glob("*_pet.nii*")]
    scans = (bids_scan(file) for file in sorted(files))
    return [scan for scan in scans if scan is not None]


def bids_scan(file: str | Path) -> BidsScan | None:
    """Return a file as a scan of its BIDS data set; None if it is no PET scan of one."""
    path = _absolute(file)
    if suffix_of(path) not in NIFTI:
        return None
    entities = entities_of(stem_of(path), "pet")
    root = dataset_of(path)
    desc = dict(entities).get("desc", "").lower()
    if not entities or root is None or desc.endswith(_NO_SCANS):
        return None
    parts = path.relative_to(root).parts[:-1]
    labels = dict(entities)
    folders = [f"{key}-{labels[key]}" for key in ("sub", "ses") if key in labels]
    return BidsScan(root, path, entities) if list(parts) == [*folders, "pet"] else None


def one_scan(path: Path) -> Path:
    """Return the file of the one PET scan of a BIDS folder; any other path as it is.

    Raises InputRefused that lists them if there are several.
    """
    if not path.is_dir():
        return path
    found = find_bids_scans(path)
    if len(found) > 1:
        listed = ", ".join(str(scan.path.relative_to(_absolute(path))) for scan in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise InputRefused(
            f"{path} is a BIDS folder of {len(found)} PET scans, and one is needed: give the path "
            f"of one: {listed}{more}"
        )
    return found[0].path if found else path


def entities_of(stem: str, suffix: str) -> tuple[tuple[str, str], ...]:
    """Return the entities of a name such as sub-01_ses-1_pet; empty for another name."""
    *parts, last = stem.split("_")
    matches = [_ENTITY.fullmatch(part) for part in parts]
    if last != suffix or not parts or not parts[0].startswith("sub-"):
        return ()
    pairs = tuple((found[1], found[2]) for found in matches if found is not None)
    return pairs if len(pairs) == len(parts) else ()


def dataset_of(file: Path) -> Path | None:
    """Return the folder of the data set of a file; None if it is in none.

    For a file in sub-*/[ses-*/]pet/ this is the folder above sub-*, also without a description,
    which converters do not write. For other files it is the nearest folder above with a
    dataset_description.json.
    """
    path = _absolute(file)
    above = list(path.parents)[:_MAX_LEVELS]
    subject = next((folder for folder in above[1:3] if folder.name.startswith("sub-")), None)
    if subject is not None and above[0].name == "pet":
        return subject.parent
    return next((folder for folder in above if (folder / DESCRIPTION).is_file()), None)


def folders_above(file: Path) -> list[Path]:
    """Return the folders from a file's own up to its data set's; only its own if it has none."""
    path, root = _absolute(file), dataset_of(file)
    if root is None:
        return [path.parent]
    return [folder for folder in path.parents if folder.is_relative_to(root)]


def _absolute(path: str | Path) -> Path:
    """Return the absolute path without resolving links, which in DataLad lead elsewhere."""
    return Path(os.path.abspath(path))


def _joined(entities: tuple[tuple[str, str], ...]) -> str:
    return "_".join(f"{key}-{value}" for key, value in entities)
