"""`petdiff simulate`: simulate one virtual patient, or several with a folder for each."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from petdiff.cluster.connection import connected, is_local
from petdiff.commands.simulate_patient import (
    SimulateRequest,
    record_of,
    record_to_rescan,
    simulate_patient,
)
from petdiff.errors import UsageError
from petdiff.progress import Progress
from petdiff.runs import absolute, is_empty, remove_unfinished, whole_folder
from petdiff.simulation.scan_record import ScanRecord, read_record


@dataclass(frozen=True)
class _Patient:
    """One of several patients, simulated in this process or on a cluster."""

    request: SimulateRequest
    seed: int
    folder: Path


def simulate_patients(
    request: SimulateRequest, output: Path, *, cluster: str | None = None, quiet: bool = False
) -> list[Path]:
    """Write one patient's scans into the new folder `output`, or several into folders below it.

    cluster  local, local:N or the address of a Dask scheduler, to simulate several at once

    Returns the folders. Each appears whole or not at all. Patients that `output` holds already are
    kept: the same call continues after an error or an interrupt, and a call with more patients
    adds the others.

    Raises UsageError where `output` holds other files, or patients with other settings.
    """
    record = None if request.again is None else record_to_rescan(request, request.again)
    progress = Progress(quiet)
    first = request.seed or 0
    if request.patients == 1:
        if cluster is not None:
            raise UsageError(f"`cluster` {cluster} is for several `patients`: leave it out")
        with whole_folder(output) as folder:
            simulate_patient(request, record, first, folder, progress)
        return [Path(output)]
    names = [f"patient_{n:04d}" for n in range(request.patients)]
    top = absolute(output)
    patients = [_Patient(request, first + n, top / name) for n, name in enumerate(names)]
    remaining = _not_done(patients, top)
    if cluster is not None:
        _simulate_on_cluster(remaining, top, cluster, progress)
    else:
        for patient in remaining:
            number = patient.seed - first + 1
            progress.print(f"patient {number} of {request.patients}, seed {patient.seed}")
            _simulate_one(patient, progress)
    return [Path(output) / name for name in names]


def _not_done(patients: Sequence[_Patient], top: Path) -> list[_Patient]:
    """Return the patients that `top` does not hold yet, and remove unfinished ones.

    Raises UsageError where `top` holds other files, or a patient with other settings.
    """
    if not top.exists():
        return list(patients)
    begun = [patient for patient in patients if patient.folder.is_dir()]
    if not top.is_dir() or not (begun or is_empty(top)):
        raise UsageError(f"{top} exists and holds no simulated patients: name another folder")
    remove_unfinished(top, [patient.folder.name for patient in patients])
    if begun:
        _require_same(begun)
    return [patient for patient in patients if patient not in begun]


def _require_same(patients: Sequence[_Patient]) -> None:
    """Raise UsageError unless each folder holds the patient that these settings would give.

    The first patient is drawn again, which takes half a second; for the others only the settings
    are compared.
    """
    expected = record_of(patients[0].request, patients[0].seed)
    for n, patient in enumerate(patients):
        stored = _compared(read_record(patient.folder / "scan.json"), with_patient=n == 0)
        now = _compared(expected.model_copy(update={"seed": patient.seed}), with_patient=n == 0)
        changed = sorted(name for name in now if stored[name] != now[name])
        if changed:
            raise UsageError(
                f"{patient.folder} holds a patient with other settings ({', '.join(changed)}): use "
                "the same settings, or name a new folder"
            )


def _compared(record: ScanRecord, *, with_patient: bool) -> dict[str, object]:
    """Return the part of a record that is compared; the path of a label map is left out."""
    content = record.model_dump()
    if record.labels is not None:
        del content["labels"]["path"]
    if not with_patient:
        del content["patient"]
    return content


def _simulate_one(patient: _Patient, progress: Progress) -> None:
    with whole_folder(patient.folder, first_wins=True) as folder:
        simulate_patient(patient.request, None, patient.seed, folder, progress)


def _simulate_quietly(patient: _Patient) -> None:
    _simulate_one(patient, Progress(quiet=True))


def _simulate_on_cluster(
    patients: list[_Patient], top: Path, address: str, progress: Progress
) -> None:
    top.mkdir(parents=True, exist_ok=True)  # the processes of the cluster check that it exists
    try:
        with (
            connected(address, progress.print, shared=top) as cluster,
            progress.stage("patients") as tick,
        ):
            finished = cluster.finished(_simulate_quietly, patients)
            for done, (patient, outcome) in enumerate(finished, start=1):
                if outcome is not None:
                    raise type(outcome)(f"the patient of seed {patient.seed}: {outcome}")
                tick(done, len(patients))
    finally:
        if is_local(address):  # its processes have ended; a stopped run leaves unfinished patients
            remove_unfinished(top, [patient.folder.name for patient in patients])
        with contextlib.suppress(OSError):
            top.rmdir()  # only if it is empty
