"""Find the user's own pairs: the full-dose and low-dose scans of patients in a folder.

The end of a scan's name states its dose: `full.nii.gz`, `low_drf20/`, `Full_dose`, `1-20 dose`,
`2.886 x 600 WB D20`, `DRF_20`, `normal` (the last five are folder names of the ultra-low-dose PET
challenge). A folder of such scans has one pair; a patient may have several. The .npz files of the
published 3-D DDPM do not state the dose: they have the low-dose and the full-dose scan in one
array.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from petdiff.data.patients import patients_of_pairs
from petdiff.errors import InputRefused
from petdiff.io import Units
from petdiff.io.formats import ITK
from petdiff.io.npz import holds_pair
from petdiff.units import counted

Drf = float | None  # dose reduction factor; None if no name states it
NOT_STATED = "not stated"

_SUFFIXES = (".nii.gz", ".nii", ".npz", *ITK)
_FULL = re.compile(r"(?:(?P<before>.*) )?(?:full|normal|standard|reference|ref)(?: ?dose)?")
_LOW = re.compile(
    r"(?:(?P<before>.*?) )??(?:low(?: ?dose)? )?"
    r"(?:(?:drf|d) ?(?P<drf>\d+(?:\.\d+)?)|1 (?P<part>\d+) ?dose|dose 1 (?P<after>\d+))"
)
_BARE = re.compile(
    r"1 (?P<part>\d+)"
)  # only `1-20` alone: after other words it may be a part of a patient's name
_MAX_NAMED = 20  # patients, in one error
_SUPPORTED_LAYOUTS = (
    "supported are (a) a folder per patient with full.* and low_drfN.* (NIfTI, or DICOM folders); "
    "(b) a folder per patient with DICOM folders such as Full_dose or normal beside 1-20 dose, D20 "
    "or DRF_20; (c) SUBJECT.npz whose arr_0 is [2, i, j, k], low dose then full"
)


class NoPairs(InputRefused):
    """No patient of a folder has a full- and a low-dose scan."""


@dataclass(frozen=True)
class PairFiles:
    """A full-dose scan and its low-dose scans.

    name     unique in a data set: the folder relative to the data set
    patient  name of the first pair of the same patient
    full     the full-dose scan
    lows     the low-dose scans by dose reduction factor; None if no name states it
    units, suv_factor  of all scans, as in petdiff.read

    A file that is `full` and also in `lows` has both scans, as the published .npz.
    """

    name: str
    patient: str
    full: Path
    lows: dict[Drf, Path]
    units: Units | None = None
    suv_factor: float | None = None


@dataclass(frozen=True)
class _Scan:
    """A scan whose name states its dose; `before` is the part of the name before the dose."""

    path: Path
    folder: Path
    before: str
    factor: float


def find_pairs(
    folder: Path,
    *,
    notify: Callable[[str], object] | None = None,
    units: Units | None = None,
    suv_factor: float | None = None,
) -> list[PairFiles]:
    """Find all pairs of a full-dose scan and low-dose scans under `folder`, in name order.

    notify  called with the layout that was recognised, and with each pair that is left out because
            a scan is missing. Without `notify` such a pair raises InputRefused.
    units, suv_factor  of all scans, as in petdiff.read

    Pairs of one patient are recognised by `petdiff.data.patients.patients_of_pairs`.

    Files with other names (`truth.nii.gz`, `labels.nii.gz`) are ignored. Raises NoPairs if there
    are no pairs, InputRefused if two scans of a patient have the same dose.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputRefused(f"{folder} is not a folder: give the one that holds the patients")
    scans, pair_files = _search(folder, frozenset())
    pairs = {**_by_pair(folder, scans), **_in_one_file(folder, pair_files)}
    complete = {name: doses for name, doses in pairs.items() if 1.0 in doses and len(doses) > 1}
    incomplete = _incomplete(pairs, complete)
    if not complete:
        raise NoPairs(
            f"{folder} has no pairs: {_content(folder, incomplete)}; {_SUPPORTED_LAYOUTS}"
        )
    patient_of = patients_of_pairs({name: doses[1.0] for name, doses in complete.items()})
    if notify is not None:
        notify(f"{folder}: {_recognised(complete, patient_of, pair_files)}")
        for line in incomplete:
            notify(f"{line}: left out")
    elif incomplete:
        raise InputRefused(
            f"patients without a pair ({len(incomplete)}): {_listed(incomplete)}; complete or "
            "remove them"
        )
    found = []
    for name, doses in sorted(complete.items()):
        lows = {factor: doses[factor] for factor in in_order(doses) if factor != 1.0}
        found.append(PairFiles(name, patient_of[name], doses[1.0], lows, units, suv_factor))
    return found


def _incomplete(
    pairs: Mapping[str, dict[Drf, Path]], complete: Mapping[str, dict[Drf, Path]]
) -> list[str]:
    """Return a line for each pair that is not complete: which scan is missing."""
    return [
        f"{name} has no {'low' if 1.0 in doses else 'full'}-dose scan ({_names(doses)})"
        for name, doses in sorted(pairs.items())
        if name not in complete
    ]


def dose_in_name(name: str) -> tuple[str, float] | None:
    """Return the part of a scan's name before the dose, and the dose reduction factor.

    The factor is 1 for full dose. None if the name states no dose.
    """
    words = re.sub(r"[\s_-]+", " ", name.lower()).strip()
    if found := _FULL.fullmatch(words):
        return found["before"] or "", 1.0
    if found := _LOW.fullmatch(words):
        factor = float(found["drf"] or found["part"] or found["after"])
        return (found["before"] or "", factor) if factor >= 1 else None
    if found := _BARE.fullmatch(words):
        return "", float(found["part"])
    return None


def _search(folder: Path, above: frozenset[Path]) -> tuple[list[_Scan], list[Path]]:
    """Return the scans under a folder whose names state a dose, and files that have a pair."""
    scans: list[_Scan] = []
    pair_files: list[Path] = []
    above |= {folder.resolve()}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):  # hidden files of file managers
            continue
        if entry.is_dir():
            if entry.resolve() in above:  # a link to a folder above
                continue
            inner_scans, inner_pairs = _search(entry, above)
            dose = dose_in_name(entry.name)
            if dose is not None and not inner_scans and not inner_pairs:
                # Folder names such as `2.886 x 150 WB D4` differ in more than the dose.
                scans.append(_Scan(_only_file(entry), folder, "", dose[1]))
            scans += inner_scans
            pair_files += inner_pairs
        elif stem := _stem(entry):
            if entry.suffix == ".npz" and holds_pair(entry):
                pair_files.append(entry)
            elif dose := dose_in_name(stem):
                scans.append(_Scan(entry, folder, *dose))
    return scans, pair_files


def _stem(path: Path) -> str | None:
    """Return the name without the suffix of an image; None for other files."""
    name = path.name
    return next((name[: -len(s)] for s in _SUFFIXES if name.lower().endswith(s)), None)


def _only_file(folder: Path) -> Path:
    """Return the only image file in a folder named after a dose; for DICOM, the folder."""
    images = [entry for entry in sorted(folder.iterdir()) if _stem(entry)]
    return images[0] if len(images) == 1 else folder


def _by_pair(root: Path, scans: Sequence[_Scan]) -> dict[str, dict[Drf, Path]]:
    """Sort scans by the name of their pair and by factor.

    A folder has the scans of one pair, or files named after several.
    """
    by_folder: defaultdict[Path, list[_Scan]] = defaultdict(list)
    for scan in scans:
        by_folder[scan.folder].append(scan)
    pairs: dict[str, dict[Drf, Path]] = {}
    for folder, inside in by_folder.items():
        name = folder.relative_to(root).as_posix() if folder != root else root.resolve().name
        by_name: defaultdict[str, list[_Scan]] = defaultdict(list)
        for scan in inside:
            by_name[scan.before].append(scan)
        all_are_pairs = all(
            len({s.factor == 1 for s in several}) == 2 for several in by_name.values()
        )
        if all_are_pairs or len({s.factor for s in inside}) < len(inside):
            for before, several in by_name.items():
                of_file = f"{name}/{before}" if before else name
                pairs[of_file] = _by_factor(of_file, several)
        else:
            pairs[name] = _by_factor(name, inside)
    return pairs


def _by_factor(name: str, scans: Sequence[_Scan]) -> dict[Drf, Path]:
    found: dict[Drf, Path] = {}
    for scan in scans:
        if scan.factor in found:
            raise InputRefused(
                f"{name} has two scans of one dose, {found[scan.factor].name} and "
                f"{scan.path.name}: keep one"
            )
        found[scan.factor] = scan.path
    return found


def _in_one_file(root: Path, files: Sequence[Path]) -> dict[str, dict[Drf, Path]]:
    """Sort files of the published layout by the name of their pair and by factor.

    The dose may be in the file's name, or in that of a folder above it.
    """
    pairs: dict[str, dict[Drf, Path]] = {}
    for file in files:
        parts = [*file.relative_to(root).parts[:-1], _stem(file) or ""]
        factor: Drf = None
        names: list[str] = []
        for part in parts:
            dose = dose_in_name(part)
            factor = dose[1] if dose else factor
            names += [part] if dose is None else [dose[0]] if dose[0] else []
        doses = pairs.setdefault("/".join(names) or root.resolve().name, {})
        if factor in doses:
            raise InputRefused(
                f"{file} and {doses[factor]} are one patient's at one dose: keep one"
            )
        doses[factor] = file
        doses.setdefault(1.0, file)
    return pairs


def _recognised(
    pairs: Mapping[str, dict[Drf, Path]],
    patient_of: Mapping[str, str],
    pair_files: Sequence[Path],
) -> str:
    """Return one line: number of patients by layout, and of low-dose scans by dose."""
    layouts: defaultdict[str, list[str]] = defaultdict(list)
    doses: Counter[Drf] = Counter()
    for name, files in pairs.items():
        doses.update(factor for factor in files if factor != 1)
        full = files[1.0]
        if full in pair_files:
            layouts["(c) the published .npz, low and full dose in one file"].append(name)
        elif re.fullmatch(r"full(\.\w+)*", full.name):
            layouts["(a) full and low_drfN"].append(name)
        else:
            layouts["(b) the challenge's names"].append(name)
    count = ", ".join(f"{dose_text(factor)} ({doses[factor]})" for factor in in_order(doses))
    kinds = "; ".join(
        f"{_counted(names, patient_of)} as {layout}" for layout, names in layouts.items()
    )
    return f"{kinds}; {count}"


def _counted(names: Sequence[str], patient_of: Mapping[str, str]) -> str:
    number = len({patient_of[name] for name in names})
    patients = counted(number, "patient")
    return patients if number == len(names) else f"{patients} with {len(names)} full-dose scans"


def dose_text(factor: Drf) -> str:
    """Return a dose as text: 1/20 dose, full dose."""
    if factor is None:
        return "dose not stated"
    return "full dose" if factor == 1 else f"1/{factor:g} dose"


def dose_key(factor: Drf) -> str:
    """Return a dose reduction factor as key or table cell: 20."""
    return NOT_STATED if factor is None else f"{factor:g}"


def in_order(factors: Iterable[Drf]) -> list[Drf]:
    """Return dose reduction factors in ascending order; None is first."""
    return sorted(factors, key=lambda factor: factor or 0.0)


def _names(doses: dict[Drf, Path]) -> str:
    return ", ".join(path.name for path in doses.values())


def _listed(lines: Sequence[str]) -> str:
    more = len(lines) - _MAX_NAMED
    return "; ".join(lines[:_MAX_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _content(folder: Path, incomplete: Sequence[str]) -> str:
    if incomplete:
        return _listed(incomplete)
    entries = (e for e in sorted(folder.iterdir()) if not e.name.startswith("."))
    names = [f"{e.name}/" if e.is_dir() else e.name for e in entries]
    return f"found {_listed(names)}" if names else "it is empty"
