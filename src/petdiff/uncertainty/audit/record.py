"""The result of an audit, as it is written to JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

FindingKind = Literal["fabrication", "omission", "shift"]
Millimetres = tuple[float, float, float]


class Finding(BaseModel, frozen=True):
    """A place where the denoised and the measured scan differ by more than noise explains.

    kind              fabrication: the denoised scan shows a focus, hot or cold, that the measured
                      one does not show; omission: the reverse; shift: both show it, with different
                      activities
    position_mm       RAS+
    voxel             index in the scan, from 0
    diameter_mm       of the ball in which the difference is largest
    measured, denoised  mean activity of this ball in the scan's unit
    z                 measured minus denoised, in standard deviations
    p                 probability of such a deviation at any place of the body by noise alone
    """

    kind: FindingKind
    position_mm: Millimetres
    voxel: tuple[int, int, int]
    diameter_mm: float
    measured: float
    denoised: float
    z: float
    p: float


class AuditedScale(BaseModel, frozen=True):
    """One scale of an audit.

    noise  standard deviation of the difference by noise, in the scan's unit; median over the body
    reach  this noise over that of the smallest scale
    """

    diameter_mm: float
    noise: float
    reach: float


class AuditRecord(BaseModel, frozen=True):
    """The result of an audit.

    verdict   one line
    alpha     findings have p-values below it
    z_needed  |z| whose p-value is alpha
    found     number of findings by kind; `findings` lists the strongest of them
    empty     the scan has no body
    """

    verdict: str
    alpha: float
    z_needed: float
    unit: str
    scales: tuple[AuditedScale, ...]
    found: dict[FindingKind, int]
    findings: tuple[Finding, ...]
    empty: bool = False


def verdict(found: dict[FindingKind, int], *, empty: bool) -> str:
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
