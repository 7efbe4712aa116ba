"""Read, check and split the user's own pairs of scans; one pair is in memory at a time.

Errors in training data show late, as a model that smooths lesions or shifts SUV. Therefore
`check_pairs` checks every scan before the training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from petdiff.data.checks import (
    ODD,
    TWICE,
    UNIT,
    UNREADABLE,
    Finding,
    Summary,
    check_order,
    check_pair,
    check_scan,
    summarise,
)
from petdiff.data.layouts import Drf, PairFiles, dose_text, find_pairs
from petdiff.errors import InputRefused, SeveralSeriesRefused, UsageError
from petdiff.image import PETImage
from petdiff.io import in_suv, read_static
from petdiff.io.npz import FULL, read_npz
from petdiff.io.stored_units import REMEDY
from petdiff.progress import ProgressCallback
from petdiff.units import counted


class HasPatient(Protocol):
    """A scan or pair with its name and that of its patient."""

    @property
    def name(self) -> str: ...

    @property
    def patient(self) -> str: ...


Item = TypeVar("Item", bound=HasPatient)

__all__ = ["PairFiles", "check_pairs", "find_pairs", "read_pair", "split"]

_MAX_LINES = 20


def read_pair(
    files: PairFiles, factor: Drf, *, needs_suv: bool = True
) -> tuple[PETImage, PETImage]:
    """Read the low-dose scan of a pair at a dose reduction factor, and the full-dose scan.

    needs_suv  refuse scans in other units

    Raises UsageError for a factor that the patient does not have, and errors of petdiff.read.
    """
    if factor not in files.lows:
        doses = ", ".join(dose_text(f) for f in files.lows)
        raise UsageError(f"{files.name} has no scan at {dose_text(factor)}, only {doses}")
    low, full = _read_low(files, factor), _read_full(files)
    if needs_suv:
        return in_suv(files.lows[factor], low), in_suv(files.full, full)
    return low, full


def split(
    scans: Sequence[Item], validation_share: float, seed: int
) -> tuple[list[Item], list[Item]]:
    """Split patients into training and validation, at least one in each; both in name order.

    scans  pairs or full-dose scans; all scans of a patient are in one part

    The order of patients for the choice is a hash of seed and name, so that a patient added later
    hardly changes the validation patients. Raises InputRefused for fewer than two patients.
    """
    if not 0 < validation_share < 1:
        raise UsageError(f"the validation share is {validation_share}, not between 0 and 1")
    patients = {one.patient for one in scans}
    if len(patients) < 2:
        raise InputRefused(
            f"{counted(len(patients), 'patient')} cannot be split into training and validation: "
            "give two or more"
        )
    count = min(max(round(len(patients) * validation_share), 1), len(patients) - 1)
    ranked = sorted(
        patients,
        key=lambda name: hashlib.blake2b(
            f"{seed}/{name}".encode(errors="surrogateescape")
        ).digest(),
    )
    validating = set(ranked[:count])
    ordered = sorted(scans, key=lambda one: (one.patient, one.name))
    return (
        [one for one in ordered if one.patient not in validating],
        [one for one in ordered if one.patient in validating],
    )


def check_pairs(
    pairs: Sequence[PairFiles],
    *,
    needs_suv: bool = True,
    progress: ProgressCallback | None = None,
) -> list[str]:
    """Check every scan before training; returns warnings, one line each.

    Give all pairs, also those for validation: no scan may occur twice.

    needs_suv  the method needs SUV; else both scans of a pair may be in any common unit
    progress   called with (pairs done, pairs in all)

    Raises InputRefused with up to 20 lines, worst first, for scans that make training useless: a
    scan that cannot be read, occurs twice, has another grid than its partner, is not SUV, has
    another activity or another content, or has not more noise than at full dose.
    """
    if not pairs:
        raise InputRefused("there are no pairs to check")
    found: list[Finding] = []
    known: dict[str, str] = {}
    for done, files in enumerate(pairs, 1):
        found += _findings(files, known, needs_suv)
        if progress is not None:
            progress(done, len(pairs))
    if len({files.patient for files in pairs}) == 1:
        line = f"{pairs[0].patient} is the only patient: there is none for validation"
        found.append(Finding(ODD, line))
    found.sort(key=lambda finding: finding.rank)
    fatal = [finding.line for finding in found if finding.rank < ODD]
    if fatal:
        more = len(fatal) - _MAX_LINES
        rest = [f"and {more} more"] if more > 0 else []
        if any(finding.rank == UNIT for finding in found):
            rest.append(f"scans must be SUV: {REMEDY}")
        raise InputRefused("; ".join([*fatal[:_MAX_LINES], *rest]))
    return [finding.line for finding in found]


def _findings(files: PairFiles, known: dict[str, str], needs_suv: bool) -> Iterator[Finding]:
    """Yield all findings about one pair.

    known  names of the scans of the pairs before, by fingerprint
    """
    scans: dict[Drf, Summary] = {}
    for factor in (1.0, *files.lows):
        name = f"{files.name}, {dose_text(factor)}"
        try:
            image = _read_full(files) if factor == 1 else _read_low(files, factor)
        except InputRefused as problem:
            yield Finding(UNREADABLE, f"{name}: {problem}")
            continue
        if needs_suv and not image.in_suv:
            yield Finding(UNIT, f"{name}: {image.no_suv_reason}")
            continue
        scan = summarise(image)
        scans[factor] = scan
        yield from check_scan(name, scan, needs_suv=needs_suv)
        if factor != 1 and 1.0 in scans:
            yield from check_pair(name, scan, scans[1.0], factor)
    yield from _repeated(files.name, scans, known)
    noises = {f: scan.noise for f, scan in scans.items() if scan.noise and f is not None}
    yield from check_order(files.name, noises)


def _repeated(pair: str, scans: dict[Drf, Summary], known: dict[str, str]) -> Iterator[Finding]:
    """Yield scans that another pair also has, or that this pair has at two low doses."""
    low_doses: dict[str, str] = {}
    for factor, scan in scans.items():
        dose = dose_text(factor)
        if other := known.get(scan.fingerprint):
            yield Finding(
                TWICE,
                f"{pair}, {dose}: equals {other} voxel by voxel: remove one, because training "
                "and validation may have the same scan",
            )
        if factor != 1 and (other := low_doses.setdefault(scan.fingerprint, dose)) != dose:
            yield Finding(TWICE, f"{pair}: {other} and {dose} are one scan, voxel by voxel")
    for factor, scan in scans.items():
        dose = dose_text(factor)
        known.setdefault(scan.fingerprint, f"{pair}, {dose}")


def _read_low(files: PairFiles, factor: Drf) -> PETImage:
    return _read_only_series(files.lows[factor], files)


def _read_full(files: PairFiles) -> PETImage:
    if files.full in files.lows.values():
        return read_npz(files.full, files.units, files.suv_factor, FULL).scan()
    return _read_only_series(files.full, files)


def _read_only_series(path: Path, files: PairFiles) -> PETImage:
    """Read a scan. Raises InputRefused if its folder has several series."""
    try:
        return read_static(path, units=files.units, suv_factor=files.suv_factor)
    except SeveralSeriesRefused as several:
        raise InputRefused(
            f"{several.found}: keep one, and move the others to another folder: {several.listing}"
        ) from several
