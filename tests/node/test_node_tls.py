"""TLS on both sides, with certificates that must be shown; no handshake holds up the others."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from petdiff.node.delivery import NotDelivered
from petdiff.node.peers import ClientTLS, Destination
from support.node import running, series, settings, wait_for
from support.pacs import store

pytest.importorskip("pynetdicom", reason="pynetdicom (extra node) is not installed")
pytest.importorskip("prometheus_client", reason="prometheus-client (extra node) is not installed")

from petdiff.node.dicom_sender import DicomSender, client_context


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate of this machine that vouches for itself, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = {"certificate": folder / "cert.pem", "key": folder / "key.pem"}
    command += ["-out", str(files["certificate"]), "-keyout", str(files["key"])]
    subprocess.run(command, check=True, capture_output=True)
    return {**files, "ca": files["certificate"]}


def echo(port: int, context: ssl.SSLContext | None) -> bool:
    from pynetdicom import AE

    entity = AE("SCANNER")
    entity.add_requested_context("1.2.840.10008.1.1")
    entity.acse_timeout = 2
    tls = None if context is None else (context, "127.0.0.1")
    one = entity.associate("127.0.0.1", port, ae_title="PETDIFF", tls_args=tls)
    if not one.is_established:
        return False
    answered = one.send_c_echo().get("Status") == 0
    one.release()
    return answered


def test_peers_without_the_right_certificate_are_turned_away(
    tmp_path: Path, certificate: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    own = ClientTLS(**certificate)
    stranger = ClientTLS(ca=certificate["ca"])  # shows nothing of itself
    with running(settings(tmp_path, listen={"tls": certificate})) as node:
        port = node.settings.listen.port
        silent = socket.create_connection(("127.0.0.1", port))  # no handshake
        assert echo(port, client_context(own))
        assert not echo(port, client_context(stranger))
        assert not echo(port, None)
        silent.close()
        wait_for(lambda: node.counters.of("associations_refused") > 0)
    assert "no TLS" in capsys.readouterr().err


def test_a_destination_must_show_a_certificate_that_is_trusted(
    tmp_path: Path, certificate: dict[str, Path]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate["certificate"], certificate["key"])
    file, confirmed = tmp_path / "a.dcm", list[Path]()
    series()[0].save_as(file, enforce_file_format=True)
    with store(tls=context) as pacs:
        sender = DicomSender(to(pacs.port, ClientTLS(ca=certificate["ca"])), "PETDIFF")
        sender.send([file], confirmed.append)
        assert (confirmed, len(pacs.images)) == ([file], 1)
        with pytest.raises(NotDelivered):
            DicomSender(to(pacs.port, ClientTLS()), "PETDIFF").send([file], confirmed.append)
        with pytest.raises(NotDelivered, match=f"port {pacs.port}.*check address, port and tls"):
            DicomSender(to(pacs.port, None), "PETDIFF").send([file], confirmed.append)
    assert len(pacs.images) == 1


def to(port: int, tls: Any) -> Destination:
    return Destination(name="pacs", ae_title="STORE", address="127.0.0.1", port=port, tls=tls)
