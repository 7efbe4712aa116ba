"""A node for tests: its settings, images to send to it, and waiting for what it does."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from petdiff.node.settings import NodeSettings
from support.dicom_factory import pet_slices
from support.pacs import free_port

PIXELS = np.random.default_rng(0).integers(0, 3000, (4, 8, 8), dtype=np.int16)
STUB = Path(__file__).with_name("stub_worker.py")


def stub(behaviour: str = "copy") -> list[str]:
    return [sys.executable, str(STUB), behaviour]


def series(**attributes: Any) -> list[Dataset]:
    """A PET series of four images."""
    return pet_slices(PIXELS, **attributes)


def content(image: Dataset) -> bytes:
    """An image as a file."""
    out = BytesIO()
    image.save_as(out, enforce_file_format=True)
    return out.getvalue()


def settings(folder: Path, destination_port: int = 1, **tables: Any) -> NodeSettings:
    """Settings of a node on free ports, with one destination, that loses no time."""
    listen = {"port": free_port(), "quiet_seconds": 1.5} | tables.pop("listen", {})
    to = {"name": "pacs", "ae_title": "STORE", "address": "127.0.0.1", "port": destination_port}
    content = {
        "folder": folder,
        "listen": listen,
        "status": {"port": free_port()},
        "destinations": [to],
        "limits": {"free_gb": 0},
    }
    return NodeSettings.model_validate(content | tables)


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something is so; the test fails where that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def running(chosen: NodeSettings, behaviour: str = "copy") -> Iterator[Any]:
    """A node that runs in this process, with a stub for a worker."""
    from petdiff.node.run import Node

    with pytest.MonkeyPatch.context() as patch:
        for pause in ("run._TICK_S", "dicom_server._POLL_S", "status._POLL_S"):
            patch.setattr(f"petdiff.node.{pause}", 0.1)
        node, stop = Node(chosen, stub(behaviour)), threading.Event()
        thread = threading.Thread(target=node.run, args=(stop,))
        thread.start()
        try:
            wait_for(lambda: node.state().workers[0].runs)
            yield node
        finally:
            stop.set()
            thread.join(30)
            assert not thread.is_alive()


@contextmanager
def association(
    port: int, calling: str = "SCANNER", called: str = "PETDIFF", contexts: Sequence[Any] = ()
) -> Iterator[Any]:
    """An association with the node; it may have been rejected."""
    from pynetdicom import AE
    from pynetdicom.sop_class import (
        CTImageStorage,
        PositronEmissionTomographyImageStorage,
        Verification,
    )

    from petdiff.node.dicom_sender import leave_responses_to_the_caller

    entity = AE(ae_title=calling)
    for context in (PositronEmissionTomographyImageStorage, CTImageStorage, Verification):
        entity.add_requested_context(context, "1.2.840.10008.1.2.1")
    one = entity.associate("127.0.0.1", port, ae_title=called)
    leave_responses_to_the_caller(one)
    try:
        yield one
    finally:
        if one.is_established:
            one.release()


def send(port: int, images: Sequence[Dataset], calling: str = "SCANNER") -> list[int]:
    """Send images in one association; returns their status, −1 where none came."""
    with association(port, calling) as one:
        assert one.is_established
        return [int(one.send_c_store(image).get("Status", -1)) for image in images]
