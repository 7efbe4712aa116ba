"""Find the scans to denoise: in folders, lists, patterns and files; and select a shard."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from petdiff.denoising.request import Request
from petdiff.errors import InputRefused, UsageError
from petdiff.io.formats import existing
from petdiff.io.scan_search import FoundScan, find_scans, name_within, with_unique_names
from petdiff.many.scan_list import is_list, read_list

_SHOWN = 5


@dataclass(frozen=True)
class Job:
    """One scan to denoise: the name of its results, and the request.

    is_damaged  whether all its files are damaged, so that it has no result but a reason
    """

    name: str
    request: Request
    is_damaged: bool = False


@dataclass(frozen=True)
class Jobs:
    """All scans that were found, and notes for the user."""

    jobs: tuple[Job, ...]
    notes: tuple[str, ...] = ()

    @property
    def readable(self) -> int:
        """The number of jobs that are not known to be damaged."""
        return sum(not job.is_damaged for job in self.jobs)


def find_jobs(inputs: Sequence[Path], template: Request, output: Path) -> Jobs:
    """Return a job for each scan of the inputs, in the order of their names.

    inputs    folders, which are searched through all their levels; lists (.csv) of scans; patterns
              with `*`, `?` or `[`; files of scans
    template  request for each scan, to which path and series are added
    output    folder of the results, which is not searched

    Raises InputRefused if there is no scan, or if an input does not exist.
    """
    paths = [path for one in inputs for path in _expanded(one)]
    scans, left_out = _search([path for path in paths if not is_list(path)], output)
    requests = [
        replace(template, scan=scan.path, series=scan.series, recursive=scan.recursive)
        for scan in scans
    ]
    listed = [row for path in paths if is_list(path) for row in read_list(path, template)]
    top = _common_folder([row.request.scan for row in listed])
    for row in listed:
        name = row.name or name_within(top, row.request.scan)
        scans.append(FoundScan(name, row.request.scan, row.request.series))
        requests.append(row.request)
    named = with_unique_names(scans)
    jobs = [
        Job(scan.name, request, scan.is_damaged)
        for scan, request in zip(named, requests, strict=True)
    ]
    jobs.sort(key=lambda job: job.name)
    if not jobs:
        only = f", only {_masks_or_ct(left_out)}" if left_out else ""
        raise InputRefused(f"{_listing(inputs)}: no PET scan was found{only}")
    for job, following in pairwise(jobs):
        if job.name == following.name:
            raise InputRefused(f"{job.request.scan} is listed twice: give each row a name")
    if not left_out:
        return Jobs(tuple(jobs))
    note = f"left out {_masks_or_ct(left_out)}: name them by a pattern or a list to denoise them"
    return Jobs(tuple(jobs), (note,))


def shard_slice(shard: str | None) -> slice:
    """Return the part of a list that shard "i/n" is: every n-th, from the i-th on; None: all.

    Raises UsageError for any other text.
    """
    if shard is None:
        return slice(None)
    found = re.fullmatch(r"(\d+)/(\d+)", shard.strip())
    number, count = (int(part) for part in found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(
            f"`shard` {shard}: give i/n with i from 1 to n, such as 2/8 for the second of 8 parts"
        )
    return slice(number - 1, None, count)


def is_pattern(path: Path) -> bool:
    """Return whether a path is a pattern and does not exist itself."""
    return glob.has_magic(str(path)) and not path.exists()


def _expanded(path: Path) -> list[Path]:
    if not is_pattern(path):
        return [existing(path)]
    found = sorted(glob.glob(os.path.expanduser(path), recursive=True))
    if not found:
        raise InputRefused(f"{path}: no file or folder is named like this")
    return [Path(one) for one in found]


def _search(paths: Sequence[Path], output: Path) -> tuple[list[FoundScan], list[Path]]:
    top = paths[0] if len(paths) == 1 and paths[0].is_dir() else _common_folder(paths)
    scans: list[FoundScan] = []
    left_out: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = find_scans(path, top=top, without=output)
            scans += found.scans
            left_out += found.left_out
        else:
            scans.append(FoundScan(name_within(top, path), path))
    unique = {(scan.path.resolve(), scan.series): scan for scan in scans}
    return list(unique.values()), left_out


def _common_folder(paths: Sequence[Path]) -> Path:
    """Return the folder that contains all paths, to which names are relative."""
    if not paths:
        return Path()
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def _listing(inputs: Sequence[Path]) -> str:
    return ", ".join(map(str, inputs[:_SHOWN])) + (" …" if len(inputs) > _SHOWN else "")


def _masks_or_ct(files: Sequence[Path]) -> str:
    """Describe files that are not scans by their names: their number, and one name."""
    if len(files) == 1:
        return f"1 file that is named like a mask or CT, {files[0].name}"
    return f"{len(files)} files that are named like masks or CT, such as {files[0].name}"
