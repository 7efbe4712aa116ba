"""Work shared out by Dask: every piece has one answer or one error, whichever process dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from petdiff import cli
from petdiff.cluster import connection
from petdiff.cluster.connection import Cluster, connected
from petdiff.commands import simulate
from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.evaluation.cohort.run import run_cohort
from petdiff.many.rows import read_row
from support.cluster_work import die_once, double
from support.little_cohort import made_up_rows, wide_cohort
from support.many_scans import tiny_model, volume

distributed = pytest.importorskip("distributed", reason="Dask is not installed (extra cluster)")


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def workers(said: list[str]) -> Iterator[Cluster]:
    """One process; it imports no torch until a scan is denoised."""
    with connected("local:1", said.append) as cluster:
        yield cluster


@pytest.fixture
def address(workers: Cluster) -> str:
    return str(workers._client.scheduler.address)


def test_number_of_processes_and_the_dashboard_are_said(workers: Cluster, said: list[str]) -> None:
    assert said[0].startswith("cluster 1 process · dashboard http://127.0.0.1:")


def test_each_piece_has_its_answer_or_its_error(workers: Cluster) -> None:
    found = dict(workers.finished(double, [1, 13, 14, 20]))
    assert (found[1], found[20]) == (2, 40)
    assert isinstance(found[13], InputRefused)
    assert str(found[13]) == "13 is no number"
    assert type(found[14]) is PetdiffError
    assert str(found[14]) == "ZeroDivisionError: 14"


def test_process_that_dies_costs_no_answer(workers: Cluster, tmp_path: Path) -> None:
    markers = [tmp_path / name for name in "abc"]
    markers[1].touch()
    markers[2].touch()
    found = dict(workers.finished(die_once, markers))
    assert found == {marker: marker.name for marker in markers}


def test_scans_are_denoised_by_a_cluster_of_an_address(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model(tmp_path / "tiny.safetensors")
    volume(tmp_path / "in" / "p0.nii.gz")
    (tmp_path / "in" / "p1.nii.gz").write_bytes(b"broken")
    command = ["denoise", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(model)]
    assert cli.run([*command, "--cluster", address]) == 1
    said = capsys.readouterr().err
    assert "dashboard http://" in said
    assert "1 of 2 scans have no result" in said
    done, refused = (read_row(tmp_path / "out", name) for name in ("p0", "p1"))
    assert done is not None
    assert done.is_done
    assert refused is not None
    assert "NIfTI" in refused.reason


def test_cohort_is_evaluated_by_a_cluster(address: str, tmp_path: Path) -> None:
    together = run_cohort(wide_cohort(), tmp_path / "a", work=made_up_rows, cluster=address)
    alone = [made_up_rows(wide_cohort(), one.exam).rows for one in together]
    assert [one.rows for one in together] == alone


def test_patients_are_simulated_by_a_cluster_and_what_a_dead_process_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Here:
        """A cluster of this process, whose first process died in mid-patient."""

        def finished(self, function: Any, pieces: list[Any]) -> Iterator[tuple[Any, Any]]:
            half = pieces[0].folder.with_name(f".{pieces[0].folder.name}.unfinished-1234")
            half.mkdir()
            yield from ((piece, function(piece)) for piece in pieces)

    def patient(
        request: simulate.SimulateRequest, record: None, seed: int, folder: Path, _: object
    ) -> None:
        (folder / "scan.json").write_text(str(seed))

    monkeypatch.setattr(simulate, "connected", lambda *_, **__: nullcontext(Here()))
    monkeypatch.setattr(simulate, "simulate_patient", patient)
    request = simulate.SimulateRequest(patients=2, seed=5)
    folders = simulate.simulate_patients(request, tmp_path / "out", cluster="local", quiet=True)
    files = [file for folder in folders for file in folder.iterdir()]
    assert [(file.name, file.read_text()) for file in files] == [
        ("scan.json", "5"),
        ("scan.json", "6"),
    ]
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == [
        "patient_0000", "patient_0001"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["denoise", "IN", "-o", "OUT", "--cluster", "nowhere"], "no Dask scheduler answers"),
        (["denoise", "IN", "-o", "OUT", "--cluster", "local:0"], "--cluster local:0: give local:N"),
        (["denoise", "IN", "-o", "OUT", "--cluster", "local", "--device", "cuda:1"], "--device"),
        (["simulate", "-o", "OUT", "--cluster", "local"], "for several --patients"),
        (["evaluate", "--reference", "IN", "--test", "IN", "-o", "OUT", "--cluster", "local"],
         "cohort file"),
    ],
)  # fmt: skip
def test_wrong_clusters_are_refused(
    command: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume(tmp_path / "in" / "p0.nii.gz")
    names = {"IN": str(tmp_path / "in"), "OUT": str(tmp_path / "out")}
    code = cli.run([names.get(word, word) for word in command])
    said = capsys.readouterr().err
    assert told in said
    assert code in (1, 2)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"petdiff\[cluster\]"), connected("local", print):
        pass
