"""The node on the network: friendly and hostile peers, the log, the status page."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage

from petdiff.node.delivery import Refused
from petdiff.node.entry import ResultRecord
from petdiff.node.peers import Destination
from petdiff.node.queue import Queue
from support.dicom_factory import pet_slices, save
from support.node import association, running, send, series, settings, wait_for
from support.pacs import Store, store

pytest.importorskip("pynetdicom", reason="pynetdicom (extra node) is not installed")
pytest.importorskip("prometheus_client", reason="prometheus-client (extra node) is not installed")

from petdiff.node.dicom_sender import DicomSender

NAMES = {"PatientName": "Zyxwvut^Qwertina", "PatientID": "PID7391155", "StudyDate": "19990131",
         "PatientBirthDate": "19510823", "SeriesDescription": "xyloseries"}  # fmt: skip


@pytest.fixture(scope="module")
def pacs() -> Iterator[Store]:
    with store() as kept:
        yield kept


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, pacs: Store) -> Iterator[Any]:
    """One node for the tests of this module, with room for three associations."""
    chosen = settings(
        tmp_path_factory.mktemp("node"),
        pacs.port,
        listen={"associations": 3, "idle_seconds": 2, "image_mb": 1},
    )
    with running(chosen) as node:
        yield node


def port(node: Any) -> int:
    value: int = node.settings.listen.port
    return value


def done(node: Any) -> int:
    count: int = node.counters.of("series_done")
    return count


def page(node: Any, path: str) -> bytes:
    url = f"http://127.0.0.1:{node.settings.status.port}{path}"
    with urllib.request.urlopen(url, timeout=5) as answer:
        content: bytes = answer.read()
        return content


def stored_of(pacs: Store, made: str) -> list[Dataset]:
    from io import BytesIO

    images = [dcmread(BytesIO(content)) for content in pacs.images.values()]
    return [image for image in images if image.SeriesInstanceUID == made]


def test_a_series_comes_back_denoised_and_the_log_names_nobody(
    node: Any, pacs: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    before, images = done(node), series(**NAMES)
    with association(port(node)) as one:
        assert one.send_c_echo().Status == 0
    assert send(port(node), images) == [0] * 4
    wait_for(lambda: done(node) == before + 1)
    [record] = [one for one in node.queue.done() if one.origin.sender == "SCANNER"][-1:]
    returned = stored_of(pacs, record.answer.made)
    assert len(returned) == 4
    assert {str(image.PatientName) for image in returned} == {NAMES["PatientName"]}
    sources = {image.SourceImageSequence[0].ReferencedSOPInstanceUID for image in returned}
    assert sources == {image.SOPInstanceUID for image in images}
    log = capsys.readouterr().err
    assert f"series {record.origin.number}: done" in log
    for name in NAMES.values():
        for part in name.split("^"):
            assert part not in log
            assert part.encode() not in page(node, "/status") + page(node, "/metrics")
            for file in (node.queue.folder / "done").iterdir():
                assert part not in file.read_text()


def test_a_response_is_left_to_who_waits_for_it(node: Any) -> None:
    """The test takes the response where pynetdicom's own thread might: before the waiting."""
    with association(port(node)) as one:
        stolen = []
        real = one.dimse.send_msg

        def send_slowly(*arguments: Any) -> None:
            real(*arguments)
            wait_for(lambda: not one.dimse.msg_queue.empty())
            stolen.append(one.dimse.get_msg(block=False))

        one.dimse.send_msg = send_slowly
        assert one.send_c_echo().Status == 0
    assert stolen == [(None, None)]


def test_its_own_series_is_not_denoised_again(node: Any, pacs: Store) -> None:
    before = done(node)
    send(port(node), series())
    wait_for(lambda: done(node) == before + 1)
    made = list(node.queue.done())[-1].answer.made
    discarded = node.counters.of("series_discarded")
    send(port(node), stored_of(pacs, made))
    wait_for(lambda: node.counters.of("series_discarded") == discarded + 1)


def test_an_unknown_or_wrongly_addressed_peer_is_turned_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    senders = [{"ae_title": "SCANNER", "addresses": ["127.0.0.1"]}]
    elsewhere = [{"ae_title": "SCANNER", "addresses": ["10.0.0.9"]}]
    with running(settings(tmp_path / "a", senders=senders)) as node:
        with association(port(node), "STRANGER") as one:
            assert one.is_rejected
        with association(port(node), called="OTHER") as one:
            assert one.is_rejected
        assert send(port(node), series()[:1]) == [0]
        wait_for(lambda: node.counters.of("associations_refused") == 2)
    with (
        running(settings(tmp_path / "b", senders=elsewhere)) as node,
        association(port(node)) as one,
    ):
        assert not one.is_established
    log = capsys.readouterr().err
    assert "association of STRANGER at 127.0.0.1 refused: it is not among the senders" in log
    assert "it calls OTHER, not PETDIFF" in log
    assert "connection from 127.0.0.1 refused: the address is not allowed" in log


def test_ct_and_half_a_series_end_in_discard_with_their_reasons(node: Any) -> None:
    expected = {"4 images of CT Image Storage, not PET", "incomplete: 2 of 4 images arrived"}
    ct = series(SOPClassUID=CTImageStorage, Modality="CT")
    assert send(port(node), [*ct, *series()[:2]]) == [0] * 6
    # Not by the counter, which may still count the series of the test before.
    wait_for(lambda: expected <= {e.reason().strip() for e in node.queue.entries("discard")})


def test_a_peer_that_hangs_up_in_mid_image_costs_that_image(
    node: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = node.counters.of("associations_broken")
    image = pet_slices(np.zeros((1, 400, 400), np.int16))[0]
    with association(port(node)) as one:
        one.dimse_timeout = 1
        one.dul.socket.send = breaking_off_after(20_000, one.dul.socket.socket)
        assert "Status" not in one.send_c_store(image)
    wait_for(lambda: node.counters.of("associations_broken") > broken)
    assert "broke off" in capsys.readouterr().err
    wait_for(lambda: node.state().open_associations == 0)
    assert list(node.queue.incoming.iterdir()) == []
    assert node.queue.number_of(str(image.SeriesInstanceUID)) is None


def breaking_off_after(most: int, connection: socket.socket) -> Callable[[bytes], None]:
    """Return what sends so many bytes in all, then hangs up."""
    left = most

    def send(data: bytes) -> None:
        nonlocal left
        if left > 0:
            connection.sendall(data[:left])
            left -= len(data)
            if left <= 0:
                connection.shutdown(socket.SHUT_RDWR)

    return send


def test_an_image_beyond_the_limit_ends_the_association(
    node: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pet_slices(np.zeros((1, 800, 800), np.int16))[0]  # 1.3 MB, and 1 MB is allowed
    with association(port(node)) as one:
        assert "Status" not in one.send_c_store(image)
    assert "image above listen.image_mb" in capsys.readouterr().err


def test_idle_associations_give_way(
    node: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three are allowed: ten that say nothing, half of them no DICOM at all, lock nobody out."""
    from pynetdicom import AE

    monkeypatch.setattr("petdiff.node.dicom_server._IDLE_S", 0.3)
    peers = [socket.create_connection(("127.0.0.1", port(node))) for _ in range(5)]
    entity = AE("IDLE")
    entity.add_requested_context("1.2.840.10008.1.1")
    idle = [entity.associate("127.0.0.1", port(node), ae_title="PETDIFF") for _ in range(5)]
    start = time.monotonic()
    wait_for(lambda: can_echo(node))
    assert time.monotonic() - start < 15
    for one in idle:
        if one.is_established:
            one.abort()
    for connection in peers:
        connection.close()
    assert "too many are open" in capsys.readouterr().err
    wait_for(lambda: node.state().open_associations == 0)


def can_echo(node: Any) -> bool:
    with association(port(node)) as one:
        return one.is_established and one.send_c_echo().get("Status") == 0


def test_the_status_is_json_and_prometheus_text(node: Any) -> None:
    status = json.loads(page(node, "/status"))
    assert set(status["series"]) == {"receiving", "ready", "working", "sending", "done", "discard"}
    assert status["workers"] == [{"device": "auto", "runs": True}]
    assert status["destinations"] == [{"name": "pacs", "waiting": 0, "last_failure": ""}]
    from prometheus_client.parser import text_string_to_metric_families

    text = page(node, "/metrics").decode()
    metrics = {one.name: one.samples for one in text_string_to_metric_families(text)}
    by_state = {one.labels["state"]: one.value for one in metrics["petdiff_node_series"]}
    [received] = metrics["petdiff_node_images_received"]
    later = json.loads(page(node, "/status"))  # series of other tests may still be worked on
    assert status["series"]["done"] <= by_state["done"] <= later["series"]["done"]
    before, after = (now["counts"]["images_received"] for now in (status, later))
    assert 0 < before <= received.value <= after
    with pytest.raises(urllib.error.HTTPError, match="404"):
        page(node, "/queue")


def test_a_monitor_that_hangs_up_is_not_worth_a_line(
    node: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", node.settings.status.port)) as monitor:
            monitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            monitor.sendall(b"GET /status HTTP/1.1\r\n\r\n")  # and a reset, not a close
    assert json.loads(page(node, "/status"))["workers"]
    assert "Traceback" not in capsys.readouterr().err


def test_a_destination_that_comes_back_gets_what_waits(tmp_path: Path) -> None:
    with store() as away:
        pass  # its port is free again
    with running(settings(tmp_path, away.port)) as node:
        send(port(node), series())
        wait_for(lambda: node.state().destinations[0].last_failure)
        assert (node.queue.counts()["sending"], done(node)) == (1, 0)
        with store(away.port) as back:
            wait_for(lambda: done(node) == 1)
            assert len(back.images) == len(back.arrivals) == 4


@pytest.mark.parametrize(("status", "sent"), [(0x0111, True), (0xC000, False)])
def test_an_image_that_an_archive_holds_already_counts_as_sent(
    tmp_path: Path, status: int, sent: bool
) -> None:
    [file, *_] = save(series()[:1], tmp_path).iterdir()
    confirmed: list[Path] = []
    with store() as archive:
        archive.status = status
        to = Destination(name="pacs", ae_title="STORE", address="127.0.0.1", port=archive.port)
        with contextlib.nullcontext() if sent else pytest.raises(Refused, match="status C000"):
            DicomSender(to, "PETDIFF").send([file], confirmed.append)
    assert confirmed == ([file] if sent else [])


@pytest.mark.parametrize("days", [0, 7])
def test_a_record_is_kept_while_a_source_may_offer_the_series_again(
    tmp_path: Path, days: int
) -> None:
    """Otherwise the node would denoise an archive of any age anew after `done_days`."""
    queue = Queue(tmp_path / "queue")
    record = ResultRecord(
        made="2.25.9", images=1, sources=("1.2",), relative_change=0, seconds=1, warnings=0
    )
    for uid in ("1.8", "1.9"):
        entry = queue.move(queue.create("pet", uid, "archive"), "sending")
        queue.finish(entry, record, ("pacs",))
    for file in (queue.folder / "done").iterdir():
        os.utime(file, (0, 0))
    source = {"name": "archive", "url": "http://127.0.0.1:1/dicom-web", "days": days}
    with running(settings(queue.folder, sources=[source])) as node:
        wait_for(lambda: node.state().sources[0].last_failure)
        if days:
            wait_for(lambda: node.queue.number_of("1.8") is None)
        else:
            time.sleep(0.5)  # for a removal of old records
            assert node.queue.number_of("1.8") == 1
        assert node.queue.number_of("1.9") == 2  # the newest is always kept
