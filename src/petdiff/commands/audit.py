"""`petdiff audit`: find foci that a denoised scan has invented or lost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from petdiff.image import PETImage
from petdiff.io import Units, read_static, write
from petdiff.io.formats import format_of
from petdiff.progress import Progress
from petdiff.records import FileName, RunFacts
from petdiff.report.audit_page import write_audit_page
from petdiff.runs import whole_folder, write_csv, write_json
from petdiff.uncertainty.audit.compare import ALPHA, audit
from petdiff.uncertainty.audit.record import AuditRecord, Finding

_COLUMNS = ("kind", "x mm", "y mm", "z mm", "voxel", "size mm", "measured", "denoised", "z", "p")
_PLACE_COLUMNS = ("x_mm", "y_mm", "z_mm", "i", "j", "k", "diameter_mm")


@dataclass(frozen=True)
class AuditRequest:
    """The files to compare, and how to read them.

    series  SeriesInstanceUIDs, for DICOM folders that hold several series
    alpha   as in `petdiff.audit`
    """

    measured: Path
    denoised: Path
    series: tuple[str, ...] = ()
    units: Units | None = None
    suv_factor: float | None = None
    alpha: float = ALPHA


class AuditFileRecord(RunFacts, frozen=True):
    """The content of audit.json: the files and the findings."""

    measured: FileName
    denoised: FileName
    audit: AuditRecord


def audit_files(request: AuditRequest, output: Path, *, quiet: bool = False) -> str:
    """Write audit.json, findings.csv, a page and a deviation map per scale to the new folder.

    Returns the verdict and the findings as text.
    """
    progress = Progress(quiet)
    with whole_folder(output) as folder:
        with progress.stage("reading"):
            measured, denoised = (
                _read(request, path) for path in (request.measured, request.denoised)
            )
            measured, denoised = _in_one_unit(measured, denoised)
        with progress.stage("auditing"):
            result = audit(measured, denoised, alpha=request.alpha)
        with progress.stage("writing"):
            for diameter_mm, deviations in result.deviations.items():
                write(deviations, folder / f"deviation-{diameter_mm:.0f}mm.nii.gz")
            _write_table(folder / "findings.csv", result.record)
        with progress.stage("page"), progress.optional(folder / "audit.html"):
            names = request.measured.resolve().name, request.denoised.resolve().name
            write_audit_page(folder / "audit.html", measured, denoised, result, names=names)
        record = AuditFileRecord(
            measured=str(request.measured),
            denoised=str(request.denoised),
            audit=result.record,
            seconds=dict(progress.seconds),
            missing=dict(progress.missing),
        )
        write_json(folder / "audit.json", record)
    return as_text(result.record)


def as_text(record: AuditRecord) -> str:
    """Return the verdict and a table of the findings as text."""
    if not record.findings:
        return record.verdict
    rows = [_COLUMNS, *(_cells(one) for one in record.findings)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(_COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    more = sum(record.found.values()) - len(record.findings)
    return "\n".join([record.verdict, *lines, *([f"and {more} weaker ones"] if more else [])])


def _read(request: AuditRequest, path: Path) -> PETImage:
    series = request.series if format_of(path) == "dicom" else ()
    return read_static(
        path, series=series or None, units=request.units, suv_factor=request.suv_factor
    )


def _in_one_unit(measured: PETImage, denoised: PETImage) -> tuple[PETImage, PETImage]:
    """Return both scans in their stored unit if only one of them has SUV; else unchanged."""
    if measured.in_suv == denoised.in_suv or measured.unit != denoised.unit:
        return measured, denoised
    return _as_stored(measured), _as_stored(denoised)


def _as_stored(image: PETImage) -> PETImage:
    return replace(image, values=(image.values * image.stored_per_value).astype("float32"),
                   in_suv=False, stored_per_value=1.0)  # fmt: skip


def _write_table(path: Path, record: AuditRecord) -> None:
    values = f"measured ({record.unit})", f"denoised ({record.unit})"
    rows = (
        (one.kind, *one.position_mm, *one.voxel, one.diameter_mm, f"{one.measured:.6g}",
         f"{one.denoised:.6g}", one.z, f"{one.p:.3g}")
        for one in record.findings
    )  # fmt: skip
    write_csv(path, ("kind", *_PLACE_COLUMNS, *values, "z", "p"), rows)


def _cells(one: Finding) -> tuple[str, ...]:
    place = tuple(f"{mm:.1f}" for mm in one.position_mm)
    voxel = ",".join(map(str, one.voxel))
    values = f"{one.measured:.3g}", f"{one.denoised:.3g}", f"{one.z:+.1f}", f"{one.p:.1g}"
    return one.kind, *place, voxel, f"{one.diameter_mm:.0f}", *values
