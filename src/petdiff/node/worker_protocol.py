"""What a worker process and the node say to each other: a JSON line for each job and each reply.

The first line to the worker holds its settings, which it replies to when the model is loaded; each
further line is the path of a series in working/.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

# ready: the model is loaded; unusable: it cannot be, with these settings; denoised: result/ is
# complete; refused: no second attempt would change it; failed: one might.
Outcome = Literal["ready", "unusable", "denoised", "refused", "failed"]


class Reply(BaseModel):
    """The answer of a worker.

    reason     why not, for reason.txt; it may quote the images' headers, so no log has it
    public     the same for the log, in words of petdiff alone
    disk_full  whether the disk was full, which says nothing of the series
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    outcome: Outcome
    reason: str = ""
    public: str = ""
    disk_full: bool = False


class Job(BaseModel):
    """A series to denoise: its folder, and its dose where that is not the settings'."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    dose: str | float | None = None
