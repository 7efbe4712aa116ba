"""run.json: what ran, on what, and with what, so that a result can be traced and repeated."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from petdiff import __version__

NOTICE = "For research, not a medical device."
_PACKAGES = ("numpy", "scipy", "torch", "pydicom", "nibabel")


def run_record(**parts: Any) -> dict[str, Any]:
    """The record of a run: versions, time and memory, and the verb's own parts after them."""
    return {
        "notice": NOTICE,
        "petdiff": __version__,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": package_versions(),
        "machine": platform.platform(),
        **parts,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def package_versions() -> dict[str, str]:
    """Of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def peak_memory_bytes() -> dict[str, int | None]:
    """The most memory this process has held so far, in main memory and on the GPU it used."""
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "main": _resident_peak_bytes(),
        "cuda": torch.cuda.max_memory_allocated() if torch is not None and on_gpu else None,
    }


def _resident_peak_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has no such count
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
