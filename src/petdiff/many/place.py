"""Where the results of one scan of many lie: a folder of its own, or files of a BIDS derivative."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from petdiff import disk
from petdiff.denoising.bids import derivative_of
from petdiff.io.bids_derivative import BidsDerivative
from petdiff.io.scan_search import RECORD
from petdiff.many.jobs import Job
from petdiff.many.rows import FOLDER
from petdiff.runs import remove_unfinished

_NEW = "new"


@dataclass(frozen=True)
class Place:
    """The place of one scan's results.

    output  folder of all results
    name    of the scan
    bids    its place in a BIDS derivative; None where it has a folder of its own
    """

    output: Path
    name: str
    bids: BidsDerivative | None

    @classmethod
    def of(cls, job: Job, output: Path) -> Place:
        """Return the place of a job's results. Raises UsageError for `to` bids of another scan."""
        return cls(output, job.name, derivative_of(job.request.scan, output, job.request.to))

    @property
    def folder(self) -> Path:
        """The folder that `denoise_scan` is given."""
        return self.output if self.bids is not None else self.output / self.name

    @property
    def staging(self) -> Path:
        """Where a result is made that takes the place of another."""
        return self.output / FOLDER / _NEW / self.name

    def file(self, name: str) -> Path:
        """Return where a file of the results lies, such as run.json."""
        inside = Path(name) if self.bids is None else self.bids.place(name)
        return self.folder / inside

    def relative(self, name: str) -> str | None:
        """Return the path of a file within the folder of all results; None where it is absent."""
        file = self.file(name)
        return file.relative_to(self.output).as_posix() if file.is_file() else None

    @property
    def is_taken(self) -> bool:
        """Whether there are results of petdiff."""
        return self.file(RECORD).is_file()

    def clear(self) -> None:
        """Remove what a killed run has left half-written."""
        disk.remove(self.staging)
        kept = self.staging.parent
        for folder in (kept, kept.parent, *([] if self.bids else [self.output])):
            if folder.is_dir():
                remove_unfinished(folder, [self.name])

    def remove(self) -> None:
        """Remove the results."""
        if self.bids is None:
            disk.remove(self.folder)
            return
        for name in ("denoised", "uncertainty", "lower", "upper", "run"):
            file = self.bids.place(f"{name}.json")
            stem = file.name.removesuffix(".json").removesuffix("_run")
            for old in (self.output / file.parent).glob(f"{stem}[._]*"):
                disk.remove(old)

    def replace_by_staged(self) -> None:
        """Let the result that was made in `staging` take the place of the old one."""
        self.remove()
        self.staging.rename(self.folder)
