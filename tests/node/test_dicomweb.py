"""DICOMweb: a real server as source and destination, and servers that answer badly."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from petdiff.node.delivery import NotDelivered, Refused
from petdiff.node.peers import Destination, Source
from petdiff.node.polling import NotReached
from support.dicom_factory import save
from support.node import running, series, settings, wait_for
from support.pacs import fetch, orthanc, system_program

pytest.importorskip("dicomweb_client", reason="dicomweb-client (extra node) is not installed")
pytest.importorskip("pynetdicom", reason="pynetdicom (extra node) is not installed")
pytest.importorskip("prometheus_client", reason="prometheus-client (extra node) is not installed")

from petdiff.node.dicomweb import WebDestination, WebSource

JSON = "application/dicom+json"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.mark.oracle
@pytest.mark.skipif(not PLUGIN.exists(), reason="orthanc-dicomweb is not installed")
def test_a_pacs_is_polled_and_gets_its_answers_and_nothing_goes_in_circles(tmp_path: Path) -> None:
    today = f"{datetime.now(UTC):%Y%m%d}"
    with orthanc(tmp_path, Plugins=[str(PLUGIN)]) as (dicom_port, http_port):
        for name, date in (("new", today), ("old", "20200101")):
            folder = save(series(StudyDate=date, SeriesDate=date), tmp_path / name)
            command = [system_program("storescu"), "127.0.0.1", str(dicom_port)]
            subprocess.run([*command, *folder.iterdir()], check=True)
        url = f"http://127.0.0.1:{http_port}/dicom-web"
        chosen = settings(
            tmp_path / "queue",
            sources=[{"name": "pacs", "url": url, "every_seconds": 0.2}],
            destinations=[{"name": "back", "url": url}],
        )
        with running(chosen) as node:
            wait_for(lambda: node.counters.of("series_done") == 1)
            received = node.counters.of("images_received")
            node.state()  # some turns more: the derived series is there now
            wait_for(lambda: node.queue.counts()["receiving"] == 0)
            assert received == 4
        statistics = json.loads(fetch(http_port, "statistics"))
    assert (statistics["CountSeries"], statistics["CountInstances"]) == (3, 12)


@pytest.fixture
def server() -> Iterator[Any]:
    """A server that answers a request with `answer`: status, type and content.

    `answers` has other answers by method; a function is called with the request's query.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.headers.append(dict(self.headers))  # type: ignore[attr-defined]
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            server: Any = self.server
            answer = server.answers.get(self.command, server.answer)
            if callable(answer):
                answer = answer(parse_qs(urlsplit(self.path).query))
            status, kind, content = answer
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    one: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one.answer, one.headers = (200, "application/dicom+json", b"[]"), []
    one.answers = {}
    threading.Thread(target=one.serve_forever, args=(0.02,), daemon=True).start()
    yield one
    one.shutdown()
    one.server_close()


def url(server: Any) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/dicom-web"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((503, "text/plain", b"Zyxwvut"), "HTTP 503"),
        ((401, "text/plain", b""), "HTTP 401"),
        ((200, "text/html", b"<html>Zyxwvut"), "not DICOMweb"),
        ((200, "application/dicom+json", b"{Zyxwvut"), "not DICOMweb"),
    ],
)
def test_a_source_that_answers_badly_is_asked_again(server: Any, answer: Any, said: str) -> None:
    server.answer = answer
    with pytest.raises(NotReached) as raised:
        WebSource(Source(name="pacs", url=url(server))).series()
    assert said in str(raised.value)
    assert "Zyxwvut" not in str(raised.value)


def found(study: str, uid: str, count: object) -> dict[str, Any]:
    """Return an entry of a list of series, as a DICOMweb server has it."""
    values = {"0020000D": study, "0020000E": uid, "00201209": count}
    return {tag: {"vr": "UI", "Value": [value]} for tag, value in values.items()}


def test_a_source_offers_only_what_has_uids(server: Any) -> None:
    content = json.dumps([found("1.2", "1.3", 47), found("../x", "1.4", 1), {}]).encode()
    server.answer = (200, "application/dicom+json", content)
    offered = WebSource(Source(name="pacs", url=url(server))).series()
    assert [(one.study, one.series, one.images) for one in offered] == [("1.2", "1.3", 47)]


@pytest.mark.parametrize(("length", "page"), [(5, 2), (205, 200), (400, 200), (205, None)])
def test_a_list_of_series_is_read_to_its_end(server: Any, length: int, page: int | None) -> None:
    """Servers answer with fewer entries than asked for, or, at `page` None, with all each time."""
    known = [found("1.2", f"1.3.{n}", 47) for n in range(length)]

    def answer(query: dict[str, list[str]]) -> tuple[int, str, bytes]:
        start = int(query.get("offset", ["0"])[0]) if page else 0
        part = known[start : start + page] if page else known
        status = 206 if start + len(part) < length else 200
        return status, "application/dicom+json", json.dumps(part).encode()

    server.answer = answer
    offered = WebSource(Source(name="pacs", url=url(server))).series()
    assert [one.series for one in offered] == [f"1.3.{n}" for n in range(length)]


def failed(status: int, sequence: str = "00081198") -> bytes:
    item = {"00081197": {"vr": "US", "Value": [status]}}
    return json.dumps({sequence: {"vr": "SQ", "Value": [item]}}).encode()


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((200, "application/dicom+json", failed(0xA700)), NotDelivered, "no room (status A700)"),
        ((202, "application/dicom+json", failed(0xC000)), Refused, "status C000"),
        ((409, "application/dicom+json", failed(0xC000)), Refused, "HTTP 409"),
        ((503, "text/plain", b""), NotDelivered, "HTTP 503"),
        ((404, "text/plain", b""), NotDelivered, "HTTP 404: check url"),
        ((401, "text/plain", b""), NotDelivered, "HTTP 401: check token_file"),
        ((202, f"{JSON}; charset=utf-8", failed(0xC000)), Refused, "status C000"),
        ((202, JSON, failed(0xC000, "0008119A")), Refused, "status C000"),
        ((200, "text/html", b"<html>sign in"), NotDelivered, "its response is not DICOMweb"),
        ((200, JSON, b"{Zyxwvut"), NotDelivered, "its response is not DICOMweb"),
        ((200, "application/dicom+xml", b"<Zyxwvut"), NotDelivered, "is not DICOMweb"),
        ((200, JSON, b"[]"), NotDelivered, "its response is not DICOMweb"),
        ((302, "text/plain", b""), NotDelivered, "HTTP 302, a redirect: check url"),
    ],
)
def test_a_destination_that_stores_nothing_is_told_apart(
    tmp_path: Path, server: Any, answer: Any, error: type[Exception], said: str
) -> None:
    [file, *_] = save(series(), tmp_path / "s").iterdir()
    server.answer, confirmed = answer, list[Path]()
    with pytest.raises(error) as raised:
        WebDestination(Destination(name="pacs", url=url(server))).send([file], confirmed.append)
    assert said in str(raised.value)
    assert confirmed == []


@pytest.mark.parametrize(
    "answer", [(409, b""), (409, failed(0xB00E)), (200, failed(0x0111)), (200, b"stored")]
)
@pytest.mark.parametrize("held", [True, False])
def test_an_image_that_the_destination_holds_already_is_confirmed(
    tmp_path: Path, server: Any, answer: tuple[int, bytes], held: bool
) -> None:
    """Its confirmation was lost, and some servers refuse what they have."""
    images = series()
    [file, *_] = save(images[:1], tmp_path / "s").iterdir()
    uid = str(images[0].SOPInstanceUID) if held else "1.2.3"
    found = json.dumps([{"00080018": {"vr": "UI", "Value": [uid]}}]).encode()
    status, content = answer
    server.answers = {
        "POST": (status, "application/dicom+json", content),
        "GET": (200, "application/dicom+json", found),
    }
    confirmed: list[Path] = []
    to = WebDestination(Destination(name="pacs", url=url(server)))
    if held:
        to.send([file], confirmed.append)
        assert confirmed == [file]
    else:
        with pytest.raises((Refused, NotDelivered)):
            to.send([file], confirmed.append)
        assert confirmed == []


def test_a_token_is_sent_and_a_closed_port_is_no_failure_for_good(
    tmp_path: Path, server: Any
) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    [file, *_] = save(series(), tmp_path / "s").iterdir()
    to = Destination(name="pacs", url=url(server), token_file=tmp_path / "token")
    server.answer, confirmed = (200, "application/dicom+json", b"{}"), list[Path]()
    WebDestination(to).send([file], confirmed.append)
    assert confirmed == [file]
    assert server.headers[-1]["Authorization"] == "Bearer s3cret"
    server.shutdown()
    server.server_close()
    with pytest.raises(NotDelivered, match="cannot be reached"):
        WebDestination(to).send([file], confirmed.append)
