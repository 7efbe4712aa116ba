"""What became of each scan: one small file per scan, which a resumed run and the summary read.

The files lie in a hidden folder of the results, so that several processes and machines write at
once without waiting for one another.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import Field, JsonValue, ValidationError

from petdiff.denoising.request import Request
from petdiff.inference.run_record import RunOptions
from petdiff.io.bids_dataset import bids_scan, folders_above
from petdiff.io.formats import stem_of
from petdiff.records import FileName
from petdiff.report.index_page import IndexEntry
from petdiff.runs import whole_file, write_json

FOLDER = ".petdiff"

# Settings that change where a scan is computed, and not what comes out.
_OF_THE_PLACE = ("scan", "device", "tile")
_INHERITED = (".json", ".tsv")  # what describes the scans of a BIDS data set
_BESIDE = (".json", ".img", ".img.gz", ".raw", ".raw.gz", ".zraw")


class ScanRow(IndexEntry):
    """What became of one scan: what index.html shows of it, and what a resumed run compares.

    cpu_seconds  of the processor, which other programs do not lengthen
    record       its run.json within the folder of all results
    asked        the settings, and the SHA-256 of the model
    stamp        of the input's files: names, sizes and times
    """

    cpu_seconds: float = 0.0
    record: FileName | None = None
    asked: dict[str, JsonValue] = Field(default_factory=dict)
    stamp: str = ""

    @property
    def is_done(self) -> bool:
        """Whether there is a result."""
        return self.status == "denoised"


def row_file(output: Path, name: str) -> Path:
    """Return the file that holds what became of a scan."""
    return output / FOLDER / f"{name}.json"


def read_row(output: Path, name: str) -> ScanRow | None:
    """Return what became of a scan; None where nothing is known, or its file is damaged."""
    try:
        row = ScanRow.model_validate_json(row_file(output, name).read_bytes())
    except (OSError, ValidationError):
        return None
    return row if row.scan == name else None


def store_row(output: Path, row: ScanRow) -> None:
    """Keep what became of a scan, in place of what was kept before."""
    file = row_file(output, row.scan)
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file, replace=True) as unfinished:
        write_json(unfinished, row)


def asked_of(request: Request, sha256: str) -> dict[str, JsonValue]:
    """Return the settings on which the result of a scan depends, as they are compared."""
    return settings_of(request.run_options(), sha256)


def settings_of(asked: RunOptions, sha256: str) -> dict[str, JsonValue]:
    """Return the settings of a record in the form of `asked_of`."""
    settings = asked.model_dump(mode="json")
    kept = {key: value for key, value in settings.items() if key not in _OF_THE_PLACE}
    return kept | {"model": sha256}


def is_current(row: ScanRow | None, output: Path, request: Request, sha256: str) -> bool:
    """Return whether a scan's result is there, of the same settings and of an untouched input."""
    return (
        row is not None
        and row.is_done
        and row.asked == asked_of(request, sha256)
        and row.record is not None
        and (output / row.record).is_file()
        and row.stamp == stamp(request)
    )


def stamp(request: Request) -> str:
    """Return a digest of the names, sizes and times of the files that a scan is read from."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(_files_of(request)):
        try:
            facts = file.stat()
        except OSError:
            continue
        digest.update(f"{os.fspath(file)}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(
            errors="surrogateescape"))  # fmt: skip
    return digest.hexdigest()


def _files_of(request: Request) -> Iterable[Path]:
    """Return the files that may shape how a scan is read, some of other scans among them."""
    path = request.scan
    if path.is_dir():
        return _in_folder(path, recursive=request.recursive)
    stem = stem_of(path)
    beside = {path, *(path.with_name(stem + suffix) for suffix in _BESIDE)}
    if bids_scan(path) is None:
        return beside
    above = [file for folder in folders_above(path) for file in folder.glob("*")]
    return {*beside, *(file for file in above if file.suffix in _INHERITED)}


def _in_folder(folder: Path, *, recursive: bool) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        yield from (Path(parent) / name for name in names)
        if not recursive:
            folders.clear()
