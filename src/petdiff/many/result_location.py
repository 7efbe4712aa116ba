"""The location of the results of one scan: its own folder, or files of a BIDS derivative."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from petdiff import disk
from petdiff.denoising.bids import derivative_of
from petdiff.io.bids_derivative import BidsDerivative
from petdiff.io.scan_search import RECORD
from petdiff.many.jobs import Job
from petdiff.many.rows import FOLDER
from petdiff.runs import remove_unfinished

_REPLACED = ".unfinished-replaced"  # a name that remove_unfinished removes


@dataclass(frozen=True)
class ResultLocation:
    """The location of one scan's results.

    output  folder of all results
    name    of the scan
    bids    for results in a BIDS derivative; None for a folder of its own
    """

    output: Path
    name: str
    bids: BidsDerivative | None

    @classmethod
    def of(cls, job: Job, output: Path) -> ResultLocation:
        """Return the location for a job. Raises UsageError for `to` bids of a scan outside BIDS."""
        return cls(output, job.name, derivative_of(job.request.scan, output, job.request.to))

    @property
    def folder(self) -> Path:
        """The output folder of `denoise_scan`."""
        return self.output if self.bids is not None else self.output / self.name

    @property
    def new(self) -> Path:
        """The folder in which a result is made that is to replace the one in `folder`."""
        return self.output / FOLDER / "new" / self.name

    @property
    def former(self) -> Path:
        """The folder that keeps files of a BIDS derivative while new ones are made."""
        return self.output / FOLDER / "former" / self.name

    def file(self, name: str) -> Path:
        """Return the path of a file of the results, such as run.json."""
        relative = Path(name) if self.bids is None else self.bids.relative_path(name)
        return self.folder / relative

    def relative(self, name: str) -> str | None:
        """Return the path of a file within the folder of all results; None if it does not exist."""
        file = self.file(name)
        return file.relative_to(self.output).as_posix() if file.is_file() else None

    @property
    def is_taken(self) -> bool:
        """Whether results of petdiff exist there."""
        return self.file(RECORD).is_file()

    def clear(self) -> None:
        """Remove unfinished files of a killed run; bring back results that it was replacing."""
        if self.bids is None:
            disk.remove(self.new)
            folders = [self.new.parent, self.output]
        else:
            self._bring_back()
            folders = [self.former.parent]
        for folder in (*folders, self.output / FOLDER):
            if folder.is_dir():
                remove_unfinished(folder, [self.name])

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Keep the results in a BIDS derivative aside for the block, which makes new ones.

        If the block fails they are brought back, else removed.
        """
        for file in self._bids_files():
            aside = self.former / file.relative_to(self.output)
            aside.parent.mkdir(parents=True, exist_ok=True)
            file.replace(aside)
        try:
            yield
        except BaseException:
            self._bring_back()
            raise
        # Renamed first, so that a kill during the removal does not bring a part back.
        replaced = self._replaced(self.former)
        self.former.replace(replaced)
        disk.remove(replaced)

    def _bring_back(self) -> None:
        for aside in sorted(self.former.rglob("*")):
            if aside.is_file():
                file = self.output / aside.relative_to(self.former)
                file.parent.mkdir(parents=True, exist_ok=True)
                aside.replace(file)
        disk.remove(self.former)

    def _bids_files(self) -> list[Path]:
        assert self.bids is not None
        found: list[Path] = []
        for name in ("denoised", "uncertainty", "lower", "upper", "run"):
            file = self.bids.relative_path(f"{name}.json")
            stem = file.name.removesuffix(".json").removesuffix("_run")
            found += (self.output / file.parent).glob(f"{stem}[._]*")
        return found

    def replace_by_new(self) -> None:
        """Replace the result in `folder` by the one in `new`."""
        # Renamed first, so that a kill during the removal leaves no part of a result.
        replaced = self._replaced(self.folder)
        self.folder.rename(replaced)
        self.new.rename(self.folder)
        disk.remove(replaced)

    def _replaced(self, folder: Path) -> Path:
        """Return the hidden name of a folder that is removed; `clear` removes it after a kill."""
        return folder.with_name(f".{self.name}{_REPLACED}")
