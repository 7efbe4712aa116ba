"""A worker process, seen from the node: started, asked, restarted after it has died."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence

from pydantic import BaseModel, ValidationError

from petdiff.module.settings import ModuleSettings
from petdiff.node.entry import Entry
from petdiff.node.worker_protocol import Job, Reply

WORKER = (sys.executable, "-m", "petdiff.node.worker")
_START_SECONDS = 600.0  # that loading a model may take


class WorkerDied(Exception):
    """The worker has ended by itself, or was ended because it took too long."""


class WorkerProcess:
    """The process of one device.

    inherited  file descriptors that stay open as long as the worker runs
    """

    def __init__(
        self,
        settings: ModuleSettings,
        command: Sequence[str] = WORKER,
        inherited: tuple[int, ...] = (),
    ) -> None:
        self._settings, self._command, self._inherited = settings, command, inherited
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def start(self) -> Reply:
        """Start the process, and return what it says of the model. Raises WorkerDied."""
        with self._lock:
            if self._stopped:
                raise WorkerDied("the node stops")
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                pass_fds=self._inherited if os.name == "posix" else (),
            )
        return self._ask(self._settings, _START_SECONDS)

    def denoise(self, entry: Entry, seconds: float, dose: str | float | None = None) -> Reply:
        """Have a series denoised in `seconds`, at the settings' dose or another; or WorkerDied."""
        return self._ask(Job(path=str(entry.path), dose=dose), seconds)

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End the process for good."""
        with self._lock:
            self._stopped = True
            self._end()

    def _end(self) -> None:
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def _ask(self, message: BaseModel, seconds: float) -> Reply:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        limit = threading.Timer(seconds, process.kill)
        limit.start()
        try:
            process.stdin.write(message.model_dump_json() + "\n")
            process.stdin.flush()
            return Reply.model_validate_json(process.stdout.readline())
        except (OSError, ValidationError):
            process.kill()
            code = process.wait()
            took = f" after {seconds:g} s, its limit" if not limit.is_alive() else ""
            raise WorkerDied(f"the worker ended with {_described(code)}{took}") from None
        finally:
            limit.cancel()


def _described(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
