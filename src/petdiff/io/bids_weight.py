"""Read the body weight from the tables of a BIDS data set."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

from petdiff.errors import InputRefused
from petdiff.io.bids_dataset import dataset_of
from petdiff.io.formats import stem_of
from petdiff.io.json_files import read_json, read_text

# Names of the column, in lower case without blanks and signs; factors of its units to kg.
_BODY = ("weight", "bodyweight", "participantweight", "patientweight", "subjectweight")
_KG = {"kg": 1.0, "kgs": 1.0, "kilogram": 1.0, "kilograms": 1.0, "g": 1e-3, "gram": 1e-3,
       "grams": 1e-3, "lb": 0.45359237, "lbs": 0.45359237, "pound": 0.45359237,
       "pounds": 0.45359237}  # fmt: skip


def weight_from_tables(file: Path) -> float | None:
    """Return the weight in kg for a scan from the tables of its data set; None if there is none.

    The tables are read in this order: the scan's row of *_scans.tsv, the session's of
    *_sessions.tsv, the subject's of participants.tsv. A column is in kg unless its name or the
    .json beside the table (Units) says g or lb.
    """
    root = dataset_of(file)
    parts = stem_of(file).split("_")
    subject = next((part for part in parts if part.startswith("sub-")), None)
    session = next((part for part in parts if part.startswith("ses-")), None)
    if root is None or subject is None:
        return None
    folder = root / subject
    scan_folder = folder / session if session else folder
    scans = scan_folder / ("_".join(filter(None, (subject, session))) + "_scans.tsv")
    rows = [(scans, "filename", f"pet/{file.name}")]
    if session:
        rows.append((folder / f"{subject}_sessions.tsv", "session_id", session))
    rows.append((root / "participants.tsv", "participant_id", subject))
    weights = (_weight_in(*row) for row in rows)
    return next((weight for weight in weights if weight is not None), None)


def _weight_in(table: Path, key: str, value: str) -> float | None:
    """Return the weight in kg of the row whose `key` is `value`."""
    if not table.is_file():
        return None
    try:
        rows = csv.DictReader(read_text(table).splitlines(), delimiter="\t")
        row = next((row for row in rows if row.get(key) == value), {})
    except (InputRefused, csv.Error):
        return None
    for column, text in row.items():
        name, unit = _split(str(column))
        if name not in _BODY:
            continue
        factor = _KG.get(unit or _stated_unit(table, str(column)))
        try:
            return float(text) * factor if factor else None
        except (ValueError, TypeError):  # n/a
            return None
    return None


def _split(column: str) -> tuple[str, str]:
    """Return a column's name and the unit in it: weight_kg, Weight (kg), body weight."""
    words = [word for word in re.findall(r"[a-z]+", column.lower()) if word != "in"]
    unit = words[-1] if len(words) > 1 and words[-1] in _KG else ""
    return "".join(words[:-1] if unit else words), unit


def _stated_unit(table: Path, column: str) -> str:
    """Return the unit that the .json beside a table gives a column; kg if there is none."""
    beside = table.with_suffix(".json")
    if not beside.is_file():
        return "kg"
    try:
        content: Any = read_json(beside)
    except InputRefused:
        return "kg"
    described = content.get(column) if isinstance(content, dict) else None
    unit = described.get("Units") if isinstance(described, dict) else None
    return str(unit).strip().lower() if unit else "kg"
