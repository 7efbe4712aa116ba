"""What an audit found, as it is written to JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["fabrication", "omission", "shift"]
Millimetres = tuple[float, float, float]


class Finding(BaseModel):
    """A place where the denoised scan contradicts the measured one by more than noise explains.

    kind              fabrication: the denoised scan shows a focus, hot or cold, that the measured
                      one does not support; omission: the reverse; shift: both show it, with another
                      activity
    position_mm       RAS+; `voxel` is the scan's, counted from 0
    diameter_mm       of the ball that the difference is most like
    measured, denoised  mean activity of that ball in the scan's unit
    z                 measured less denoised, in standard deviations
    p                 that noise alone deviates so far at any of the places looked at
    """

    model_config = ConfigDict(frozen=True)
    kind: Kind
    position_mm: Millimetres
    voxel: tuple[int, int, int]
    diameter_mm: float
    measured: float
    denoised: float
    z: float
    p: float


class AuditedScale(BaseModel):
    """One scale of an audit.

    noise  median over the body of what the scan's noise makes of the difference, in its unit
    reach  that noise over that of the smallest scale
    """

    model_config = ConfigDict(frozen=True)
    diameter_mm: float
    noise: float
    reach: float


class AuditRecord(BaseModel):
    """The result of an audit.

    verdict   one line
    alpha     findings have p-values below it
    z_needed  deviation of such a p-value
    found     findings by kind, of which `findings` lists the strongest
    empty     the scan has no body to look at
    """

    model_config = ConfigDict(frozen=True)
    verdict: str
    alpha: float
    z_needed: float
    unit: str
    scales: tuple[AuditedScale, ...]
    found: dict[Kind, int]
    findings: tuple[Finding, ...]
    empty: bool = False


def verdict(found: dict[Kind, int], *, empty: bool) -> str:
    """Return the result in one line."""
    if empty:
        return "nothing to audit: the measured scan shows no body"
    counted = [f"{n} {kind}{'s' * (n > 1)}" for kind, n in found.items() if n]
    if not counted:
        return "agrees: no difference between 8 mm and 3 cm exceeds the scan's own noise"
    text = ", ".join(counted)
    if not found.get("fabrication") and not found.get("omission"):
        return f"agrees but for {text}: foci that both scans show, with another activity"
    return f"contradicts the measured scan: {text}"
