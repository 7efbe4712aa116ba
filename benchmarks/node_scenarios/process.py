"""A node as a process of its own, and the series that are sent to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from support.dicom_factory import pet_slices, save
from support.pacs import free_port

Check = Callable[[], bool]


class NodeProcess:
    """A node that can be started, killed and looked at. Its log grows over all starts."""

    def __init__(self, folder: Path, destination_port: int, tables: str = "") -> None:
        self.port, self.status_port = free_port(), free_port()
        self.queue, self.log = folder / "queue", folder / "node.log"
        self.config = folder / "node.toml"
        self.config.write_text(
            f'folder = "{self.queue}"\n'
            f"[status]\nport = {self.status_port}\n"
            '[[destinations]]\nname = "pacs"\nae_title = "PACS"\naddress = "127.0.0.1"\n'
            f"port = {destination_port}\n[listen]\nport = {self.port}\n{tables}"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait_s: float = 120) -> None:
        command = [sys.executable, "-m", "petdiff", "node", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)
        if wait_s:
            wait_for(self.answers, wait_s, "the node to listen")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def answers(self) -> bool:
        try:
            self.page("/status")
        except OSError:
            return False
        return True

    def page(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.status_port}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read(), "utf-8")

    def logged(self, text: str) -> bool:
        return text in self.log.read_text(encoding="utf-8")

    def count(self, state: str) -> int:
        return sum(not path.name.startswith(".") for path in (self.queue / state).iterdir())

    def processes(self) -> list[int]:
        """Return the node's process and its workers."""
        assert self.process is not None
        task = Path(f"/proc/{self.process.pid}/task")
        children = [
            int(child)
            for thread in task.iterdir()
            for child in (thread / "children").read_text().split()
        ]
        return [self.process.pid, *children]


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def make_series(folder: Path, seed: int, size: int = 16, **attributes: Any) -> str:
    """Write a series of `size` images; return its SeriesInstanceUID."""
    pixels = np.random.default_rng(seed).integers(0, 3000, (size,) * 3, dtype=np.int16)
    images = pet_slices(pixels, **attributes)
    save(images, folder)
    return str(images[0].SeriesInstanceUID)


def wait_for(check: Check, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.1)
