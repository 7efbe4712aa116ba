"""Messages between the node and a worker process: one JSON line for each job and each reply.

The first line to the worker has its settings, and the worker replies when the model is loaded. Each
further line is a job: a series in working/.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

# ready: the model is loaded; unusable: it cannot be loaded with these settings; denoised: the
# result is complete; refused: a second attempt would fail too; failed: a second one may succeed.
Outcome = Literal["ready", "unusable", "denoised", "refused", "failed"]


class Reply(BaseModel, frozen=True, extra="forbid"):
    """The reply of a worker.

    reason     of a failure, for reason.txt; it may quote headers, so it is not logged
    public     the reason without header content, for the log
    disk_full  whether the disk was full, which is no fault of the series
    """

    outcome: Outcome
    reason: str = ""
    public: str = ""
    disk_full: bool = False


class Job(BaseModel, frozen=True, extra="forbid"):
    """A series to denoise: its folder, and its dose if it differs from the settings."""

    path: str
    dose: str | float | None = None
