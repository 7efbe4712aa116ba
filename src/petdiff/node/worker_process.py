"""Start a worker process, send jobs to it and read its replies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence

from pydantic import BaseModel, ValidationError

from petdiff import disk
from petdiff.module.settings import ModuleSettings
from petdiff.node.entry import Entry
from petdiff.node.worker_protocol import Job, Reply

WORKER = (sys.executable, "-m", "petdiff.node.worker")
_START_SECONDS = 600.0  # limit for loading a model


class WorkerDied(Exception):
    """The worker process has ended, was killed after its time limit, or cannot be started."""


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
        """Start the process, and return its reply after loading the model. Raises WorkerDied."""
        with self._lock:
            if self._stopped:
                raise WorkerDied("the node stops")
            try:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    encoding="utf-8",
                    pass_fds=self._inherited if os.name == "posix" else (),
                )
            except OSError as problem:  # such as too little memory for another process
                raise WorkerDied(f"no process can be started ({disk.reason(problem)})") from None
        return self._request(self._settings, _START_SECONDS)

    def denoise(self, entry: Entry, seconds: float, dose: str | float | None = None) -> Reply:
        """Let the worker denoise a series. Raises WorkerDied, also after `seconds`.

        dose  of the series; None: the dose of the settings
        """
        return self._request(Job(path=str(entry.path), dose=dose), seconds)

    @property
    def device(self) -> str:
        """The device that the worker computes on, as the settings name it."""
        return self._settings.device

    @property
    def runs(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def end(self) -> None:
        """End the process; `start` starts another."""
        with self._lock:
            self._end()

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

    def _request(self, message: BaseModel, seconds: float) -> Reply:
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
            limit_text = f" after {seconds:g} s, its limit" if not limit.is_alive() else ""
            raise WorkerDied(f"the worker ended with {_described(code)}{limit_text}") from None
        finally:
            limit.cancel()


def _described(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
