"""The options for reading a scan, for records that hold a scan's path and its options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from petdiff.frames import PETFrames
from petdiff.image import PETImage
from petdiff.io import Units, read, read_static

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """The arguments of `petdiff.read` except the path.

    series      SeriesInstanceUID to read, if the path holds several series
    units       unit of the stored values; None: the file states it
    suv_factor  SUV = stored value × factor; None: derived from the header
    recursive   search a folder through all its levels; else only its own DICOM files
    """

    series: str | None = None
    units: Units | None = None
    suv_factor: float | None = None
    recursive: bool = True

    def read_scan(self, path: Path) -> PETImage | PETFrames:
        """Read a scan, as `petdiff.read` does."""
        return self._read_by(read, path)

    def read_static(self, path: Path) -> PETImage:
        """Read a scan of one frame. Raises InputRefused for several frames."""
        return self._read_by(read_static, path)

    def _read_by(self, reader: Callable[..., T], path: Path) -> T:
        return reader(
            path,
            series=self.series,
            units=self.units,
            suv_factor=self.suv_factor,
            recursive=self.recursive,
        )
