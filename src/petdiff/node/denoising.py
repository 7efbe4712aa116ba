"""The thread of a device: it takes complete series and lets its worker process denoise them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pydantic import BaseModel

from petdiff import disk
from petdiff.node.counters import Counters
from petdiff.node.delivery import forget_refusals
from petdiff.node.entry import REASON, Entry, read_record, write_record
from petdiff.node.log import log_line
from petdiff.node.node_thread import NodeThread
from petdiff.node.queue import Queue
from petdiff.node.worker_process import WorkerDied, WorkerProcess
from petdiff.node.worker_protocol import Reply
from petdiff.units import counted

_ATTEMPTS = "attempts.json"
_MAX_FAILURES = 3
_MAX_STARTS = 20  # without a reply: the node was killed during each
_PAUSES_S = (10.0, 60.0)  # after the first failure, and the second
_RESTART_PAUSES_S = (1.0, 10.0, 60.0, 300.0)
_DISK_PAUSE_S = 60.0
_POLL_S = 5.0  # to see series that a user has put back, or whose pause has ended


class Attempts(BaseModel, frozen=True):
    """How often denoising a series was started, and how often it failed while the node ran."""

    starts: int = 0
    failures: int = 0


class Ready:
    """The series in ready/. Each is given to one worker; a failed one has to wait before it is."""

    def __init__(self, queue: Queue, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue, self._clock = queue, clock
        self._lock = threading.Lock()
        self._paused_until: dict[int, float] = {}

    def take(self) -> Entry | None:
        """Move the first series that may start to working/; None if there is none."""
        with self._lock:
            for entry in self._queue.entries("ready"):
                if self._clock() >= self._paused_until.get(entry.number, 0.0):
                    self._paused_until.pop(entry.number, None)
                    if entry.reason():
                        _forget_failures(entry)
                    return self._queue.move(entry, "working")
        return None

    def put_back(self, entry: Entry, pause_s: float) -> None:
        """Move a series back to ready/; it can be taken after a pause."""
        with self._lock:
            self._paused_until[entry.number] = self._clock() + pause_s
            self._queue.move(entry, "ready")


def _forget_failures(entry: Entry) -> None:
    """Begin anew with a refused series that a user has put back."""
    forget_refusals(entry)
    (entry.path / _ATTEMPTS).unlink(missing_ok=True)
    (entry.path / REASON).unlink(missing_ok=True)


class Denoiser(NodeThread):
    """Denoises series until `stop` is set.

    seconds  maximum time for one series
    dose_of  returns the dose of a sender's series; None: the dose of the settings
    """

    def __init__(
        self,
        queue: Queue,
        ready: Ready,
        worker: WorkerProcess,
        counters: Counters,
        *,
        seconds: float,
        stop: threading.Event,
        dose_of: Callable[[str], str | float | None] = lambda _: None,
    ) -> None:
        super().__init__("denoiser", stop=stop)
        self._queue, self._ready, self._worker, self._counters = queue, ready, worker, counters
        self._seconds, self._dose_of = seconds, dose_of

    def step(self) -> None:
        """Denoise the next series, or wait for one; start the worker again if it has died."""
        self.pause_s = 0.0
        if not self._worker.runs:
            self._restart()
            return
        version = self._queue.version
        entry = self._ready.take()
        if entry is None:
            self._queue.wait(version, _POLL_S)
        else:
            self._denoise_or_put_back(entry)

    def failed(self, reason: str) -> None:
        """Wait after an error, such as a missing folder or disk."""
        self.pause_s = _DISK_PAUSE_S
        log_line(f"the queue cannot be used: {reason}")

    def _restart(self) -> None:
        for pause_s in (*_RESTART_PAUSES_S, None):
            try:
                reply = self._worker.start()
            except WorkerDied as problem:
                reason = str(problem)
            else:
                if reply.outcome == "ready":
                    log_line(f"worker ready: {reply.public}")
                    return
                reason = reply.public
            if self._stop_event.is_set():
                return
            log_line(f"worker cannot start: {reason}")
            if self._stop_event.wait(pause_s or _RESTART_PAUSES_S[-1]):
                return

    def _denoise_or_put_back(self, entry: Entry) -> None:
        try:
            self._denoise(entry)
        except OSError as problem:
            if entry.path.exists():
                self._ready.put_back(entry, _DISK_PAUSE_S)
            pause = f"tried again in {_DISK_PAUSE_S:g} s"
            log_line(f"series {entry.number}: {disk.reason(problem)}; {pause}")

    def _denoise(self, entry: Entry) -> None:
        attempts = read_record(entry.path / _ATTEMPTS, Attempts) or Attempts()
        attempts = attempts.model_copy(update={"starts": attempts.starts + 1})
        if attempts.starts > _MAX_STARTS:
            self._discard(entry, f"started {_MAX_STARTS} times, and each time the node was killed")
            return
        write_record(entry.path / _ATTEMPTS, attempts)
        if entry.result_record() is not None:  # a user has put it back after it was denoised
            self._settle(entry, Reply(outcome="denoised"), attempts)
            return
        log_line(f"series {entry.number}: denoising")
        try:
            dose = self._dose_of(entry.origin.sender)
            reply = self._worker.denoise(entry, self._seconds, dose)
        except WorkerDied as problem:
            if self._stop_event.is_set():
                return  # it stays in working/, and the next start continues it
            self._counters.add("workers_died")
            reply = Reply(outcome="failed", reason=str(problem), public=str(problem))
        if reply.outcome == "failed" and not reply.disk_full:
            self._worker.end()  # after an error of its driver it would fail at every series
        self._settle(entry, reply, attempts)

    def _settle(self, entry: Entry, reply: Reply, attempts: Attempts) -> None:
        record = entry.result_record()
        if record is not None:  # complete, even if the worker died before its reply
            disk.remove(self._queue.move(entry, "sending").images)
            self._counters.add("series_denoised")
            log_line(
                f"series {entry.number}: denoised, {counted(record.images, 'image')} in "
                f"{record.seconds:g} s, {counted(record.warnings, 'warning')}"
            )
        elif reply.outcome == "refused":
            self._discard(entry, reply.reason, reply.public)
        elif reply.disk_full:
            log_line(f"series {entry.number}: the disk is full; tried again in {_DISK_PAUSE_S:g} s")
            self._ready.put_back(entry, _DISK_PAUSE_S)
        elif attempts.failures + 1 >= _MAX_FAILURES:
            times = f"failed {_MAX_FAILURES} times"
            self._discard(entry, f"{times}: {reply.reason}", f"{times}: {reply.public}")
        else:
            failed = attempts.model_copy(update={"failures": attempts.failures + 1})
            write_record(entry.path / _ATTEMPTS, failed)
            pause_s = _PAUSES_S[attempts.failures]
            log_line(f"series {entry.number}: {reply.public}; tried again in {pause_s:g} s")
            self._ready.put_back(entry, pause_s)

    def _discard(self, entry: Entry, reason: str, public: str = "") -> None:
        self._queue.discard(entry, reason)
        self._counters.add("series_discarded")
        log_line(f"series {entry.number}: discarded: {public or reason}")
