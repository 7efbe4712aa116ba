"""SIGKILL: nothing is lost, nothing is denoised or sent twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from petdiff.node.queue import Queue
from support.node import send, series, wait_for
from support.pacs import Store, free_port, store

pytest.importorskip("pynetdicom", reason="pynetdicom (extra node) is not installed")
pytest.importorskip("prometheus_client", reason="prometheus-client (extra node) is not installed")

PROGRAM = Path(__file__).parents[1] / "support" / "stub_node.py"


@contextmanager
def node_process(config: Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as stream:
        process = subprocess.Popen([sys.executable, PROGRAM, config, "copy"], stderr=stream)
    try:
        wait_for(lambda: f"port {port}" in log.read_text(), 60)
        yield process
    finally:
        process.kill()
        process.wait()


def settle(config: Path, port: int, folder: Path, pacs: Store) -> None:
    """Kill a node that has sent a part of one series and received a part of another; start anew."""
    first, second = series(), series()
    log = folder / "log"
    with node_process(config, port, log) as process:
        assert send(port, first) == [0] * 4
        assert send(port, second[:2]) == [0, 0]
        wait_for(lambda: len(pacs.arrivals) >= 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    log.unlink()
    with node_process(config, port, log) as process:
        assert send(port, second) == [0] * 4  # as a sender does whose association broke off
        assert send(port, first) == [0] * 4
        wait_for(lambda: len(list((folder / "queue" / "done").glob("*.json"))) == 2)
        process.terminate()
        assert process.wait(30) == 0
    assert "stopped; the queue is continued at the next start" in log.read_text()


def test_a_killed_node_loses_nothing_and_sends_nothing_twice(tmp_path: Path) -> None:
    port = free_port()
    with store() as pacs:
        pacs.pause_s = 0.15
        config = tmp_path / "node.toml"
        config.write_text(
            f'folder = "{tmp_path / "queue"}"\n[listen]\nport = {port}\nquiet_seconds = 1\n'
            f"[limits]\nfree_gb = 0\n[status]\nport = 0\n[[destinations]]\n"
            f'name = "pacs"\nae_title = "STORE"\naddress = "127.0.0.1"\nport = {pacs.port}\n'
        )
        settle(config, port, tmp_path, pacs)
    images = [dcmread(BytesIO(content)) for content in pacs.images.values()]
    answered = Counter(
        str(image.SourceImageSequence[0].ReferencedSOPInstanceUID) for image in images
    )
    assert len(answered) == 8
    assert set(answered.values()) == {1}
    assert len(pacs.arrivals) - len(set(pacs.arrivals)) <= 1  # whose confirmation was lost
    assert Queue(tmp_path / "queue").counts()["discard"] == 0
