"""Which scans are denoised: folders that are searched, lists, globs and single files; one shard."""

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
    """One scan to denoise: the name of its results, and what is asked of it.

    is_damaged  whether there are only damaged files, so that the reason is all that comes of it
    """

    name: str
    request: Request
    is_damaged: bool = False


@dataclass(frozen=True)
class Jobs:
    """All scans that were found, and the notes that a person should read."""

    jobs: tuple[Job, ...]
    notes: tuple[str, ...] = ()

    @property
    def readable(self) -> int:
        """How many of them are not known to be damaged."""
        return sum(not job.is_damaged for job in self.jobs)


def find_jobs(inputs: Sequence[Path], template: Request, output: Path) -> Jobs:
    """Return a job for each scan of the inputs, in the order of their names.

    inputs    folders, which are searched through all their levels; lists (.csv) of scans; patterns
              with `*`, `?` or `[`; files of scans
    template  what is asked of each scan; its own path and series are put in
    output    folder of the results, which is not searched

    Raises InputRefused where there is no scan, or an input does not exist.
    """
    given = [path for one in inputs for path in _expanded(one)]
    scans, left_out = _searched([path for path in given if not is_list(path)], output)
    requests = [
        replace(template, scan=scan.path, series=scan.series, recursive=scan.recursive)
        for scan in scans
    ]
    listed = [row for path in given if is_list(path) for row in read_list(path, template)]
    top = _top([row.request.scan for row in listed])
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
    for one, other in pairwise(jobs):
        if one.name == other.name:
            raise InputRefused(f"{one.request.scan} is listed twice: give each row a name")
    if not left_out:
        return Jobs(tuple(jobs))
    note = f"left out {_masks_or_ct(left_out)}: name them by a pattern or a list to denoise them"
    return Jobs(tuple(jobs), (note,))


def shard_of(jobs: Sequence[Job], shard: str | None) -> list[Job]:
    """Return the jobs of shard "i/n": every n-th, from the i-th on; all where `shard` is None.

    Raises UsageError for what is no shard.
    """
    if shard is None:
        return list(jobs)
    found = re.fullmatch(r"(\d+)/(\d+)", shard.strip())
    number, count = (int(part) for part in found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(
            f"`shard` {shard}: give i/n with i from 1 to n, such as 2/8 for the second of 8 parts"
        )
    return list(jobs[number - 1 :: count])


def is_pattern(path: Path) -> bool:
    """Return whether a path is a pattern of paths, and not one that exists."""
    return glob.has_magic(str(path)) and not path.exists()


def _expanded(path: Path) -> list[Path]:
    if not is_pattern(path):
        return [existing(path)]
    found = sorted(glob.glob(os.path.expanduser(path), recursive=True))
    if not found:
        raise InputRefused(f"{path}: no file or folder is named like this")
    return [Path(one) for one in found]


def _searched(paths: Sequence[Path], output: Path) -> tuple[list[FoundScan], list[Path]]:
    top = paths[0] if len(paths) == 1 and paths[0].is_dir() else _top(paths)
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


def _top(paths: Sequence[Path]) -> Path:
    """Return the folder that holds all paths: names are counted from there."""
    if not paths:
        return Path()
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def _listing(inputs: Sequence[Path]) -> str:
    return ", ".join(map(str, inputs[:_SHOWN])) + (" …" if len(inputs) > _SHOWN else "")


def _masks_or_ct(files: Sequence[Path]) -> str:
    """Return the files that are not scans by their names, for a person: how many, and one name."""
    if len(files) == 1:
        return f"1 file that is named like a mask or CT, {files[0].name}"
    return f"{len(files)} files that are named like masks or CT, such as {files[0].name}"
