"""The status of each scan: one small file per scan, read by resumed runs and the summary.

The files are in a hidden folder of the results, so that several processes and machines can write at
the same time.
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
from petdiff.runs import replace_json

FOLDER = ".petdiff"

# Settings that do not change the result.
_WITHOUT_EFFECT = ("scan", "device", "tile")
_METADATA = (".json", ".tsv")  # files with metadata of BIDS scans
_COMPANIONS = (".json", ".img", ".img.gz", ".raw", ".raw.gz", ".zraw")


class ScanRow(IndexEntry, frozen=True):
    """The status of one scan: the content of index.html, and data to compare in a resumed run.

    cpu_seconds  processor time, which does not depend on other programs
    record       path of its run.json, relative to the folder of all results
    asked        the settings, and the SHA-256 of the model
    stamp        hash of names, sizes and times of the input files
    """

    cpu_seconds: float = 0.0
    record: FileName | None = None
    asked: dict[str, JsonValue] = Field(default_factory=dict)
    stamp: str = ""

    @property
    def is_done(self) -> bool:
        """Whether the scan has a result."""
        return self.status == "denoised"


def row_file(output: Path, name: str) -> Path:
    """Return the file with the status of a scan."""
    return output / FOLDER / f"{name}.json"


def read_row(output: Path, name: str) -> ScanRow | None:
    """Return the status of a scan; None if there is none or its file is damaged."""
    try:
        row = ScanRow.model_validate_json(row_file(output, name).read_bytes())
    except (OSError, ValidationError):
        return None
    return row if row.scan == name else None


def store_row(output: Path, row: ScanRow) -> None:
    """Write the status of a scan, replacing a former one."""
    file = row_file(output, row.scan)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_json(file, row)


def compared_settings(options: RunOptions, sha256: str) -> dict[str, JsonValue]:
    """Return the options on which a result depends, with the SHA-256 of the model as `model`."""
    settings = options.model_dump(mode="json")
    compared = {key: value for key, value in settings.items() if key not in _WITHOUT_EFFECT}
    return compared | {"model": sha256}


def is_current(row: ScanRow | None, output: Path, request: Request, sha256: str) -> bool:
    """Return whether a scan has a result with the same settings and an unchanged input."""
    return (
        row is not None
        and row.is_done
        and row.asked == compared_settings(request.run_options(), sha256)
        and row.record is not None
        and (output / row.record).is_file()
        and row.stamp == stamp(request)
    )


def stamp(request: Request) -> str:
    """Return a digest of the names, sizes and times of the files that a scan is read from."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(_input_files(request)):
        try:
            facts = file.stat()
        except OSError:
            continue
        digest.update(f"{os.fspath(file)}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(
            errors="surrogateescape"))  # fmt: skip
    return digest.hexdigest()


def _input_files(request: Request) -> Iterable[Path]:
    """Return all files that may influence the reading of a scan."""
    path = request.scan
    if path.is_dir():
        return _in_folder(path, recursive=request.recursive)
    stem = stem_of(path)
    files = {path, *(path.with_name(stem + suffix) for suffix in _COMPANIONS)}
    if bids_scan(path) is None:
        return files
    above = [file for folder in folders_above(path) for file in folder.glob("*")]
    return {*files, *(file for file in above if file.suffix in _METADATA)}


def _in_folder(folder: Path, *, recursive: bool) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        yield from (Path(parent) / name for name in names)
        if not recursive:
            folders.clear()
