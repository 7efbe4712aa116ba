"""Read label maps: NIfTI volumes of integers, with the names of the labels."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused
from petdiff.image import spacing_of
from petdiff.io.formats import existing, stem_of
from petdiff.io.json_files import read_json, read_text
from petdiff.io.labels import read_label_volume
from petdiff.simulation.anatomy.description import Record
from petdiff.simulation.labels.label_map import LabelMap

MAX_LABELS = 1000
HIGHEST_LABEL = (1 << 16) - 1
# Finer label maps are subsampled to about this voxel size, because no scanner resolves less.
FINEST_VOXEL_MM = 1.5
# TotalSegmentator writes its names into the NIfTI header, in the format of Connectome Workbench.
_HEADER_LABEL = re.compile(r'<Label Key="(\d+)"[^>]*>\s*<!\[CDATA\[([^\]]*)\]\]>')
_DELIMITERS = "\t;,"


class LabelSource(Record):
    """The file of a label map, its SHA-256, and the names given to its labels."""

    path: str
    sha256: str
    names: dict[int, str]


def read_label_map(
    path: str | Path, names: str | Path | Mapping[int, str] | None = None
) -> tuple[LabelMap, LabelSource]:
    """Read a label map of any orientation; return it and its source for `reread_label_map`.

    `names` is a mapping, or a file as for `read_names`. None: the .json beside the map, or the
    names that TotalSegmentator wrote into its header.

    Raises InputRefused if the volume has no labels, or if there are no names.
    """
    path = existing(path)
    volume = read_label_volume(path)
    _require_labels(path, volume.labels)
    label_names = (
        dict(names) if isinstance(names, Mapping) else _names(path, volume.header_text, names)
    )
    source = LabelSource(path=str(path.resolve()), sha256=sha256(path), names=label_names)
    return _subsampled(LabelMap(volume.labels, volume.affine, label_names)), source


def reread_label_map(source: LabelSource, moved_to: str | Path | None = None) -> LabelMap:
    """Read a recorded label map from its recorded path, or from its new path `moved_to`.

    Raises InputRefused if the file is missing or has changed.
    """
    path = Path(moved_to or source.path).expanduser()
    if not path.is_file():
        raise InputRefused(
            f"{path}, the patient's label map, is missing: put it back, or give its new "
            "path as `labels`"
        )
    if sha256(path) != source.sha256:
        raise InputRefused(
            f"{path} is not the label map that the patient was made from (its sha256 differs): "
            "give the old file, or simulate a new patient from `labels`"
        )
    return read_label_map(path, source.names)[0]


def read_names(path: Path) -> dict[int, str]:
    """Read label names from JSON ({"1": "spleen"}) or from a table with one label per line.

    Columns are separated by tabs, semicolons, commas or blanks. Further columns and a header line
    are ignored. Raises InputRefused if the file holds no names.
    """
    try:
        if path.suffix.lower() == ".json":
            content = read_json(path)
            if not isinstance(content, dict):
                raise ValueError("it is not an object of label and name")
            label_names = {int(label): printable(str(name)) for label, name in content.items()}
        else:
            label_names = _table(read_text(path))
        if not label_names:
            raise ValueError("it is empty")
    except (InputRefused, ValueError, IndexError, csv.Error) as error:
        raise InputRefused(
            f"{path}: no label names can be read ({error}): give JSON such as "
            '{"1": "spleen"}, or a line "1,spleen" per label'
        ) from None
    return label_names


def printable(name: str) -> str:
    """Return a name with ? in place of control characters."""
    return "".join(c if c.isprintable() else "?" for c in name)


def sha256(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _table(text: str) -> dict[int, str]:
    lines = [line for line in text.splitlines() if line.strip()]
    delimiter = next((mark for mark in _DELIMITERS if lines and mark in lines[-1]), " ")
    rows = [
        [cell.strip() for cell in row]
        for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    ]
    if rows and not rows[0][0].lstrip("+-").isdigit():
        rows = rows[1:]  # the header
    return {int(row[0]): printable(row[1]) for row in rows}


def _names(path: Path, header_text: str, names: str | Path | None) -> dict[int, str]:
    sidecar = path.with_name(stem_of(path) + ".json")
    if names is not None or sidecar.is_file():
        return read_names(Path(names or sidecar).expanduser())
    label_names = {
        int(label): printable(name) for label, name in _HEADER_LABEL.findall(header_text)
    }
    if not label_names:
        raise InputRefused(
            f"{path} comes without the names of its labels: give a file as `names` (JSON "
            f'such as {{"1": "liver"}}, or lines "1,liver") or in {sidecar.name} beside it'
        )
    return label_names


def _require_labels(path: Path, labels: NDArray[np.int32]) -> None:
    """Raise InputRefused for an empty map, and for values that look like those of a scan."""
    if not labels.any():
        raise InputRefused(f"{path} is an empty label map: every voxel is 0")
    highest = int(labels.max())
    in_range = highest <= HIGHEST_LABEL
    count = np.count_nonzero(np.bincount(labels.ravel())) if in_range else len(np.unique(labels))
    if count > MAX_LABELS:
        raise InputRefused(f"{path} is not a label map: it has as many different values as a scan")
    if not in_range:
        raise InputRefused(
            f"{path} has a label {highest}, and the highest allowed is {HIGHEST_LABEL}: "
            "number the labels from 1 up"
        )


def _subsampled(label_map: LabelMap) -> LabelMap:
    """Return a label map subsampled by integer steps if its voxels are 1 mm or smaller."""
    voxel_mm = spacing_of(label_map.affine)
    steps = np.maximum(1, np.rint(np.divide(FINEST_VOXEL_MM, voxel_mm))).astype(int)
    if (steps == 1).all():
        return label_map
    first = (steps - 1) // 2
    i, j, k = (slice(int(f), None, int(n)) for f, n in zip(first, steps, strict=True))
    affine = label_map.affine @ np.diag([*steps, 1.0])
    affine[:3, 3] = label_map.affine[:3, 3] + label_map.affine[:3, :3] @ first
    return LabelMap(np.ascontiguousarray(label_map.labels[i, j, k]), affine, label_map.names)
