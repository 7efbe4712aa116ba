"""The user's own pairs of scans: read, checked and split; one pair is in memory at a time.

A network learns whatever it is given, so what is wrong with the data shows late, as a model that
smooths lesions or shifts SUV. `check_pairs` looks at every scan once before that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
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


class OfPatient(Protocol):
    """Whatever is known to be of a patient."""

    @property
    def patient(self) -> str: ...


Of = TypeVar("Of", bound=OfPatient)

__all__ = ["PairFiles", "check_pairs", "find_pairs", "read_pair", "split"]

_MAX_LINES = 20


def read_pair(
    files: PairFiles, factor: Drf, *, needs_suv: bool = True
) -> tuple[PETImage, PETImage]:
    """Read one patient's low-dose scan at a dose reduction factor, and the full-dose scan.

    needs_suv  refuse scans that are in another unit

    Raises UsageError for a factor that the patient lacks, and what petdiff.read raises.
    """
    if factor not in files.lows:
        doses = ", ".join(dose_text(f) for f in files.lows)
        raise UsageError(f"{files.patient} has no scan at {dose_text(factor)}, only {doses}")
    low, full = _read_low(files, factor), _read_full(files)
    if needs_suv:
        return in_suv(files.lows[factor], low), in_suv(files.full, full)
    return low, full


def split(scans: Sequence[Of], validation_share: float, seed: int) -> tuple[list[Of], list[Of]]:
    """Split patients into training and validation, at least one of each; both in name order.

    scans  pairs or full-dose scans; all of a patient go to one side

    Each patient's rank follows from the seed and the name alone, so that one who joins later hardly
    changes who validates. Raises InputRefused for fewer than two patients.
    """
    if not 0 < validation_share < 1:
        raise UsageError(f"the validation share is {validation_share}, not between 0 and 1")
    patients = {one.patient for one in scans}
    if len(patients) < 2:
        raise InputRefused(
            f"{len(patients)} patient(s) cannot be split into training and validation: two are "
            "needed"
        )
    count = min(max(round(len(patients) * validation_share), 1), len(patients) - 1)
    ranked = sorted(
        patients,
        key=lambda name: hashlib.blake2b(
            f"{seed}/{name}".encode(errors="surrogateescape")
        ).digest(),
    )
    validating = set(ranked[:count])
    ordered = sorted(scans, key=lambda one: one.patient)
    return (
        [one for one in ordered if one.patient not in validating],
        [one for one in ordered if one.patient in validating],
    )


def check_pairs(
    pairs: Sequence[PairFiles],
    *,
    tolerance_mm: float = 0.1,
    needs_suv: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Look at every scan before training; returns warnings, a line each.

    Give all patients, those for validation too: no scan may be there twice.

    tolerance_mm  by which the voxels of a pair may lie apart
    needs_suv     whether the method takes SUV alone; without it both scans of a pair may be in any
                  unit, the same for both
    progress      called with (patients done, patients in all)

    Raises InputRefused with up to 20 lines, worst first, for what would spoil the training: a scan
    that cannot be read or is there twice, lies on another grid than its partner, is no SUV, has
    another amount of activity, shows something else, or is no noisier than at full dose.
    """
    if not pairs:
        raise InputRefused("there are no pairs to check")
    found: list[Finding] = []
    seen: dict[str, str] = {}
    for done, files in enumerate(pairs, 1):
        found += _findings(files, tolerance_mm, seen, needs_suv)
        if progress is not None:
            progress(done, len(pairs))
    if len(pairs) == 1:
        line = f"{pairs[0].patient} is the only patient: none would be left to validate on"
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


def _findings(
    files: PairFiles,
    tolerance_mm: float,
    seen: dict[str, str],
    needs_suv: bool,
) -> Iterator[Finding]:
    """Yield all findings about one patient.

    seen  names of the scans of the patients before, by fingerprint
    """
    scans: dict[Drf, Summary] = {}
    for factor in (1.0, *files.lows):
        name = f"{files.patient}, {'full dose' if factor == 1 else dose_text(factor)}"
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
            yield from check_pair(name, scan, scans[1.0], factor, tolerance_mm)
    yield from _repeated(files.patient, scans, seen)
    noises = {f: scan.noise for f, scan in scans.items() if scan.noise and f is not None}
    yield from check_order(files.patient, noises)


def _repeated(patient: str, scans: dict[Drf, Summary], seen: dict[str, str]) -> Iterator[Finding]:
    """Yield scans that another patient has too, or that this one has at two low doses."""
    low_doses: dict[str, str] = {}
    for factor, scan in scans.items():
        dose = "full dose" if factor == 1 else dose_text(factor)
        if other := seen.get(scan.fingerprint):
            yield Finding(
                TWICE,
                f"{patient}, {dose}: voxel by voxel the same as {other}: remove one, or training "
                "and validation may share it",
            )
        if factor != 1 and (other := low_doses.setdefault(scan.fingerprint, dose)) != dose:
            yield Finding(TWICE, f"{patient}: {other} and {dose} are one scan, voxel by voxel")
    for factor, scan in scans.items():
        dose = "full dose" if factor == 1 else dose_text(factor)
        seen.setdefault(scan.fingerprint, f"{patient}, {dose}")


def _read_low(files: PairFiles, factor: Drf) -> PETImage:
    return _read_only_series(files.lows[factor], files)


def _read_full(files: PairFiles) -> PETImage:
    if files.full in files.lows.values():
        return read_npz(files.full, files.units, files.suv_factor, FULL)
    return _read_only_series(files.full, files)


def _read_only_series(path: Path, files: PairFiles) -> PETImage:
    """Read a scan; InputRefused where its folder holds several, because none can be chosen here."""
    try:
        return read_static(path, units=files.units, suv_factor=files.suv_factor)
    except SeveralSeriesRefused as several:
        raise InputRefused(
            f"{several.found}: leave one there, and move the others away: {several.listing}"
        ) from several
