"""A BIDS derivative data set of denoised scans: names, sidecars with provenance, description."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from petdiff import __version__
from petdiff.errors import InputRefused, UsageError
from petdiff.io.bids_dataset import DESCRIPTION, LOWER, UNCERTAINTY, UPPER, BidsScan
from petdiff.io.json_files import read_json
from petdiff.io.sidecar import read_sidecar
from petdiff.records import NOTICE
from petdiff.runs import absolute, whole_file, write_json

BIDS_VERSION = "1.10.0"
DENOISED = "denoised"
# The desc- label and the description of each volume that `petdiff denoise` writes.
_LABELS = {DENOISED: DENOISED, "uncertainty": UNCERTAINTY, "lower": LOWER, "upper": UPPER}
_BOUND = "bound of the interval, at IntervalLevel, in which the full-dose scan's voxel is expected"
_DESCRIPTIONS = {
    DENOISED: f"Denoised PET scan. {NOTICE}",
    "uncertainty": "One standard deviation of the full-dose scan about the denoised scan",
    "lower": f"Lower {_BOUND}",
    "upper": f"Upper {_BOUND}",
}
_SOURCE = "raw"  # name of the source data set in BIDS URIs
_GENERATOR = "petdiff"
_README = f"""PET scans denoised with petdiff. {NOTICE}

`desc-denoised` is the denoised scan, `desc-uncertainty` one standard deviation of each voxel of the
full-dose scan about it, `desc-lowerBound` and `desc-upperBound` the interval in which each voxel of
the full-dose scan is expected, all in the unit of the measured scan. The sidecars
name the model and its settings. `figures` holds a picture, a page and the record (run.json) of each
run.
"""
# Keys of dcm2niix without anonymisation that identify a person or an examination.
_PERSONAL = {
    "PatientName", "PatientID", "PatientBirthDate", "PatientAddress", "AccessionNumber", "StudyID",
    "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "ImageComments",
    "StudyInstanceUID", "SeriesInstanceUID", "AcquisitionDateTime",
}  # fmt: skip
_IGNORED = "sub-*/figures\nsub-*/ses-*/figures\nsummary.csv\nindex.html\n"


@dataclass(frozen=True)
class BidsDerivative:
    """The results of one scan in a derivative data set.

    scan  the measured scan
    root  folder of the derivative data set, which may hold other scans
    """

    scan: BidsScan
    root: Path

    def relative_path(self, name: str) -> Path:
        """Return the path within the data set of a result of `petdiff denoise`."""
        stem, _, suffix = name.partition(".")
        folder = self.scan.subject_folder
        if stem in _LABELS:
            return folder / "pet" / f"{self.scan.described(_LABELS[stem])}_pet.{suffix}"
        return folder / "figures" / f"{self.scan.described(DENOISED)}_{stem}.{suffix}"

    def check(self) -> None:
        """Raise UsageError if the folder is another data set, or has the result already."""
        target = self.root / self.relative_path(f"{DENOISED}.nii.gz")
        if os.path.lexists(target):
            raise UsageError(f"{target} exists: remove the scan's results, or name another folder")
        described = self.root / DESCRIPTION
        if not described.exists():
            if self.root.is_dir() and any(self.root.glob("sub-*")):
                raise UsageError(f"{self.root} holds subjects and no {DESCRIPTION}: name another")
            return
        content = read_json(described)
        own = content if isinstance(content, dict) else {}
        links = own.get("DatasetLinks")
        if not isinstance(links, dict) or not _is_own(own):
            raise UsageError(f"{self.root} is a data set of another program: name another folder")
        if links.get(_SOURCE) != self._link():
            raise UsageError(
                f"{self.root} holds results of the data set {links.get(_SOURCE)}, and this scan is "
                f"of {self._link()}: name another folder"
            )

    def arrange(self, folder: Path, unit: str, provenance: Mapping[str, object]) -> list[Path]:
        """Move the results of a run in `folder` to their BIDS paths within it.

        Writes a sidecar for each volume: all keys of the measured scan, the unit and the times of
        the result, and its sources. `provenance` is the content of the key Petdiff. Returns the
        paths of all files within `folder`.
        """
        for name in sorted(entry.name for entry in folder.iterdir() if entry.is_file()):
            place = folder / self.relative_path(name)
            place.parent.mkdir(parents=True, exist_ok=True)
            (folder / name).rename(place)
        for what in _LABELS:
            volume = folder / self.relative_path(f"{what}.nii.gz")
            if volume.is_file():
                sidecar = folder / self.relative_path(f"{what}.json")
                content = read_json(sidecar) if sidecar.is_file() else {}
                times = content if isinstance(content, dict) else {}
                write_json(sidecar, self._sidecar(what, provenance) | times | {"Units": unit})
        return sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())

    def describe(self) -> None:
        """Write the files of the data set as a whole if they do not exist."""
        for name, text in (("README.md", _README), (".bidsignore", _IGNORED)):
            if not (self.root / name).exists():
                with whole_file(self.root / name, replace=True) as file:
                    file.write_text(text, encoding="utf-8")
        if not (self.root / DESCRIPTION).exists():
            with whole_file(self.root / DESCRIPTION, replace=True) as file:
                write_json(file, self._description())

    def _sidecar(self, what: str, provenance: Mapping[str, object]) -> dict[str, object]:
        source, _ = read_sidecar(self.scan.path)
        content = source.content if source is not None else {}
        keys = {key: value for key, value in content.items() if key not in _PERSONAL}
        keys.setdefault("SkullStripped", False)  # required of derivative images
        origin = {
            "Description": _DESCRIPTIONS[what],
            "Sources": [f"bids:{_SOURCE}:{self.scan.relative}"],
        }
        return keys | origin | {"Petdiff": {"Version": __version__, **provenance}}

    def _description(self) -> dict[str, object]:
        try:
            source = read_json(self.scan.root / DESCRIPTION)
        except InputRefused:
            source = {}
        source = source if isinstance(source, dict) else {}
        fields = {
            key: source[name] for name, key in _OF_SOURCE.items() if _is_text(source.get(name))
        }
        source_name = f" of {source['Name']}" if _is_text(source.get("Name")) else ""
        return {
            "Name": f"Denoised PET{source_name}",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [
                {"Name": _GENERATOR, "Version": __version__, "Description": "PET denoising"}
            ],
            "SourceDatasets": [{"URL": self._link(), **fields}],
            "DatasetLinks": {_SOURCE: self._link()},
        }

    def _link(self) -> str:
        """Return the relative path to the measured data set, so that both can be moved."""
        try:
            return Path(os.path.relpath(self.scan.root.resolve(), absolute(self.root))).as_posix()
        except ValueError:  # another drive
            return self.scan.root.resolve().as_uri()


_OF_SOURCE = {"DatasetDOI": "DOI", "DatasetVersion": "Version"}


def _is_own(description: Mapping[str, object]) -> bool:
    generators = description.get("GeneratedBy")
    first = generators[0] if isinstance(generators, list) and generators else None
    return isinstance(first, dict) and first.get("Name") == _GENERATOR


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
