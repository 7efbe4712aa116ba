"""Record the facts of a run, so that its result can be traced and repeated."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field, SkipValidation

from petdiff import __version__

NOTICE = "For research, not a medical device."
_PACKAGES = ("numpy", "scipy", "torch", "pydicom", "nibabel")
_version = cache(version)  # which takes a millisecond for each package

# The name of a file or folder, which may hold bytes that are not UTF-8.
FileName = Annotated[str, SkipValidation]


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


class PeakMemory(BaseModel, frozen=True):
    """The most bytes that the process has held so far; None where that is not known.

    main  main memory
    cuda  memory of the GPU; None if none was used
    """

    main: int | None
    cuda: int | None

    @classmethod
    def now(cls) -> PeakMemory:
        """Measure this process."""
        torch = sys.modules.get("torch")
        on_gpu = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
        return cls(
            main=_resident_peak_bytes(),
            cuda=torch.cuda.max_memory_allocated() if torch is not None and on_gpu else None,
        )


class RunFacts(BaseModel, frozen=True):
    """The facts that every run records. Made at its end, it fills in the facts of now.

    seconds  of each stage
    missing  pictures and pages that could not be made, by file name, with the reason
    """

    notice: str = NOTICE
    petdiff: str = __version__
    finished: AwareDatetime = Field(
        default_factory=lambda: datetime.now(UTC).replace(microsecond=0)
    )
    versions: dict[str, str] = Field(default_factory=package_versions)
    machine: str = Field(default_factory=platform.platform)
    seconds: dict[str, float] = {}
    missing: dict[FileName, str] = {}
    peak_memory_bytes: PeakMemory = Field(default_factory=PeakMemory.now)


def _resident_peak_bytes() -> int | None:
    """Return the peak of this process.

    On Linux it is VmHWM: ru_maxrss begins with the peak of the process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows has no such count
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
