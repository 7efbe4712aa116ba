"""PACS for tests: Debian's Orthanc, and a store of pynetdicom's that can be told to misbehave."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

# pynetdicom installs commands of dcmtk's names beside Python; these tests mean dcmtk's own.
SYSTEM_PROGRAMS = "/usr/sbin:/usr/bin:/usr/local/bin"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def system_program(name: str) -> str:
    """The path of one of dcmtk's or Orthanc's programs; the test skips where it is absent."""
    path = shutil.which(name, path=SYSTEM_PROGRAMS)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@contextmanager
def orthanc(folder: Path, **settings: Any) -> Iterator[tuple[int, int]]:
    """A PACS on loopback with an empty store: its DICOM and HTTP ports."""
    server = system_program("Orthanc")
    dicom_port, http_port = free_port(), free_port()
    content = {
        "Name": "test",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
        **settings,
    }
    (folder / "orthanc.json").write_text(json.dumps(content))
    process = subprocess.Popen(
        [server, folder / "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(150):
            try:
                fetch(http_port, "system")
                break
            except OSError:
                time.sleep(0.2)
        yield dicom_port, http_port
    finally:
        process.terminate()
        process.wait(timeout=30)


def fetch(http_port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/{path}", timeout=10) as answer:
        content: bytes = answer.read()
        return content


@dataclass
class Store:
    """What a storage SCP has received: bytes of each image by SOPInstanceUID, and every arrival.

    status is what it answers, after a pause.
    """

    port: int
    status: int = 0x0000
    pause_s: float = 0.0
    images: dict[str, bytes] = field(default_factory=dict)
    arrivals: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def store(port: int | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Store]:
    """A storage SCP on loopback, STORE by its title."""
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    kept = Store(port or free_port())

    def take(event: Any) -> int:
        time.sleep(kept.pause_s)
        uid = str(event.request.AffectedSOPInstanceUID)
        with kept.lock:
            kept.arrivals.append(uid)
            if kept.status == 0:
                kept.images[uid] = event.encoded_dataset()
            return kept.status

    entity = AE(ae_title="STORE")
    entity.supported_contexts = AllStoragePresentationContexts
    server = entity.start_server(
        ("127.0.0.1", kept.port),
        block=False,
        ssl_context=tls,
        evt_handlers=[(evt.EVT_C_STORE, take)],
    )
    assert server is not None
    try:
        yield kept
    finally:
        server.shutdown()
