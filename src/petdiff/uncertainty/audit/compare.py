"""Audit a denoised scan against the measured one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petdiff.errors import InputRefused, UsageError
from petdiff.image import PETImage
from petdiff.uncertainty.audit.findings import (
    Compared,
    Peak,
    finding_kind,
    focus_contrast,
    peaks,
)
from petdiff.uncertainty.audit.noise import deviations, noise_by_scale, noise_level
from petdiff.uncertainty.audit.record import (
    AuditedScale,
    AuditRecord,
    Finding,
    FindingKind,
    verdict,
)
from petdiff.uncertainty.audit.scales import AtScale, WorkingGrid, at_scales
from petdiff.uncertainty.audit.search_region import SearchRegion
from petdiff.volume.regions import Spacing, body_mask, bounding_box, grown

ALPHA = 0.01
MAX_LISTED = 50
FACE_MARGIN_MM = 12.0  # nearer to a face of the scan, nothing is audited
BODY_MARGIN_MM = 45.0  # around the body; 0.1 % of the widest Gaussian is beyond, on each side
_MAX_ACTIVITY_RATIO = 3.0  # larger ratios of the two activities mean different units
_SAME_MM = 0.1


@dataclass(frozen=True, eq=False)
class Audit:
    """The findings of an audit, and the maps from which they were made.

    record      findings and verdict
    deviations  standardised residual [i, j, k] by the diameter of the ball in mm: measured minus
                denoised in standard deviations, on a grid of about 3 mm around the body
    """

    record: AuditRecord
    deviations: Mapping[float, PETImage]


def audit(measured: PETImage, denoised: PETImage, *, alpha: float = ALPHA) -> Audit:
    """Compare a denoised scan with the measured one at the scales of 8 mm to 3 cm.

    denoised  by any program, on the measured scan's voxels and in its unit
    alpha     probability of a finding, of any kind and at any place, by noise alone

    A finding is a difference of the two scans, averaged over balls, that the measured scan's noise
    and a tolerance of 5 % of the activity do not explain. Raises UsageError for an invalid alpha,
    InputRefused if the scans are not comparable.
    """
    if not 0 < alpha < 1:
        raise UsageError(f"`alpha` is {alpha:g}: give a probability above 0 and below 1")
    _require_comparable(measured, denoised)
    grid = WorkingGrid.of(measured.shape, measured.affine)
    y, x = (grid.means(scan.values) for scan in (measured, denoised))
    body = without_faces(body_mask(y, grid.spacing_mm), grid.spacing_mm)
    if not (y > 0).any() or not body.any():
        return _audit_without_body(measured, alpha)
    box = grown(bounding_box(body), body.shape, grid.spacing_mm, BODY_MARGIN_MM)
    # In C order, masks pick voxels several times faster than in that of files.
    grid, body = grid.within(box), np.ascontiguousarray(body[box])
    y, x = (np.ascontiguousarray(scan[box]) for scan in (y, x))
    pairs = list(zip(*(at_scales(scan, grid.spacing_mm) for scan in (y, x)), strict=True))
    if not pairs:
        raise InputRefused(
            f"voxels of {max(grid.spacing_mm):.3g} mm are larger than the largest ball of the audit"
        )
    compared = compared_scales(pairs, body, grid)
    search = SearchRegion.of([one.z for one in compared], body)
    needed = search.threshold(alpha)
    found = [
        _finding(peak, compared[peak.scale], search, grid)
        for peak in peaks(compared, needed, grid.spacing_mm)
    ]
    scales = [
        AuditedScale(
            diameter_mm=_diameter(one),
            noise=float(np.median(one.noise(body))),
            reach=round(one.relative_noise, 4),
        )
        for one in compared
    ]
    return Audit(
        _record(found, scales, alpha, needed, measured.unit_name),
        {
            _diameter(one): PETImage(one.z, grid.affine, unit="NONE", in_suv=False)
            for one in compared
        },
    )


def without_faces(body: NDArray[np.bool_], spacing_mm: Spacing) -> NDArray[np.bool_]:
    """Return the body without the voxels near the faces of the scan.

    There a ball has fewer voxels, and the first and last planes of a scan are the noisiest.
    """
    inside = body.copy()
    for axis, size in enumerate(spacing_mm):
        planes = int(np.ceil(FACE_MARGIN_MM / size))
        if 4 * planes < body.shape[axis]:
            turned = np.moveaxis(inside, axis, 0)
            turned[:planes] = turned[-planes:] = False
    return inside


def _require_comparable(measured: PETImage, denoised: PETImage) -> None:
    if not measured.shares_voxels(denoised, _SAME_MM):
        raise InputRefused(
            "the measured and the denoised scan lie on different voxels: resample the denoised "
            "scan to the measured one's"
        )
    if measured.unit_name != denoised.unit_name:
        raise InputRefused(
            f"the measured scan is in {measured.unit_name}, the denoised one in "
            f"{denoised.unit_name}: say what they hold with `units` or `suv_factor`"
        )
    if not (np.isfinite(measured.values).all() and np.isfinite(denoised.values).all()):
        raise InputRefused("a scan holds values that are no numbers: replace them, by 0 outside")
    before, after = (float(scan.values.sum(dtype=np.float64)) for scan in (measured, denoised))
    if before > 0 and not 1 / _MAX_ACTIVITY_RATIO < after / before < _MAX_ACTIVITY_RATIO:
        raise InputRefused(
            f"the denoised scan has {after / before:.3g} times the activity of the measured one: "
            "they seem to be in different units (`units`, `suv_factor`), or of different patients"
        )


def compared_scales(
    pairs: list[tuple[AtScale, AtScale]], body: NDArray[np.bool_], grid: WorkingGrid
) -> list[Compared]:
    """Return the comparison of the two scans at each scale; deviations outside the body are 0."""
    activity = np.minimum(*(scan.mean for scan in pairs[-1]))
    level = noise_level(pairs[0][0].contrast, activity, body, grid.spacing_mm)
    contrasts = ((y.contrast, y.contrast - x.contrast) for y, x in pairs)  # lazily, to save memory
    shares = noise_by_scale(contrasts, level, body, grid.spacing_mm)
    found = []
    for (y, x), share in zip(pairs, shares, strict=True):
        one = Compared(y, x, share, level, np.zeros_like(level))
        noise, expected = one.noise(body), x.mean[body]
        one.z[body] = deviations(one.difference(body), noise, one.allowed(body), expected)
        found.append(one)
    return found


def _finding(peak: Peak, scale: Compared, search: SearchRegion, grid: WorkingGrid) -> Finding:
    at = peak.at
    x, y, z = grid.position_mm(at)
    measured, denoised = (
        focus_contrast(one.mean, at, one.radius_mm, grid.spacing_mm)
        for one in (scale.measured, scale.denoised)
    )
    return Finding(
        kind=finding_kind(measured, denoised),
        position_mm=(round(x, 1), round(y, 1), round(z, 1)),
        voxel=grid.voxel(at),
        diameter_mm=_diameter(scale),
        measured=float(scale.measured.mean[at]),
        denoised=float(scale.denoised.mean[at]),
        z=round(peak.z, 2),
        p=search.p_value(peak.z),
    )


def _diameter(scale: Compared) -> float:
    return round(2 * scale.measured.radius_mm, 1)


def _record(
    found: list[Finding], scales: list[AuditedScale], alpha: float, needed: float, unit: str
) -> AuditRecord:
    kinds: tuple[FindingKind, ...] = ("fabrication", "omission", "shift")
    counts = {kind: sum(one.kind == kind for one in found) for kind in kinds}
    return AuditRecord(
        verdict=verdict(counts, empty=False),
        alpha=alpha,
        z_needed=round(needed, 3),
        unit=unit,
        scales=tuple(scales),
        found=counts,
        findings=tuple(found[:MAX_LISTED]),
    )


def _audit_without_body(measured: PETImage, alpha: float) -> Audit:
    """Return the audit of a scan without a body."""
    record = AuditRecord(
        verdict=verdict({}, empty=True), alpha=alpha, z_needed=0, unit=measured.unit_name,
        scales=(), found={}, findings=(), empty=True,
    )  # fmt: skip
    return Audit(record, {})
