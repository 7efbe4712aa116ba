"""Tell which scans are of one patient, so that none is in training and in validation."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from petdiff.io.dicom_search import patient_id

_BIDS_SUBJECT = re.compile(r"\bsub[- ][A-Za-z0-9]+")


def patients_of(entries: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Return the patient of each scan: its PatientID, else its entry of the data set.

    entries  the entry (file or folder) of the data set that holds each scan
    ids      PatientID of each scan; "" if it is not stated

    A scan without PatientID in an entry that has one PatientID is of this patient: it is often a
    copy. Where fewer than two PatientIDs differ, as in anonymised data, each entry is a patient.
    """
    if len(set(ids) - {""}) < 2:
        return list(entries)
    inside: defaultdict[str, set[str]] = defaultdict(set)
    for entry, known in zip(entries, ids, strict=True):
        if known:
            inside[entry].add(known)
    return [
        known or (min(inside[entry]) if len(inside[entry]) == 1 else entry)
        for entry, known in zip(entries, ids, strict=True)
    ]


def patients_of_pairs(full: Mapping[str, Path]) -> dict[str, str]:
    """Return, by the name of each pair, the name of the first pair of the same patient.

    full  the full-dose scan by the name of its pair, which is a path within the data set

    Where PatientIDs do not tell the patient (`patients_of`), it is the first folder of the name, or
    its `sub-…` of BIDS. Files of several pairs in one folder are each of another patient.
    """
    names = sorted(full)
    in_folder = Counter(path.parent for path in full.values())

    def entry(name: str) -> str:
        if found := _BIDS_SUBJECT.search(name):
            return found[0]
        return name if in_folder[full[name].parent] > 1 else name.split("/")[0]

    patients = patients_of([entry(name) for name in names], [patient_id(full[n]) for n in names])
    first: dict[str, str] = {}
    return {n: first.setdefault(one, n) for n, one in zip(names, patients, strict=True)}
