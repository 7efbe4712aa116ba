"""The node: start and stop of its threads and processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from petdiff import __version__, disk
from petdiff.errors import PetdiffError, UsageError
from petdiff.lock import lock_folder
from petdiff.node.arrivals import Arrivals
from petdiff.node.counters import EVENTS, Counters
from petdiff.node.delivery import Deliveries, Delivery, Transport
from petdiff.node.denoising import Denoiser, Ready
from petdiff.node.log import log_line, log_rarely
from petdiff.node.peers import Destination, Source
from petdiff.node.polling import Poller
from petdiff.node.queue import Queue, free_bytes
from petdiff.node.settings import NodeSettings, read_settings
from petdiff.node.worker_process import WORKER, WorkerDied, WorkerProcess
from petdiff.records import NOTICE
from petdiff.units import counted

if TYPE_CHECKING:
    from petdiff.node.dicom_server import DicomServer
    from petdiff.node.status import NodeState, StatusServer

_TICK_S = 1.0
_PRUNE_EVERY_S = 60.0
_LOCK_WAIT_S = 20.0  # until the workers of a killed node have ended


def run_node(config: Path, worker: Sequence[str] = WORKER) -> None:
    """Run a DICOM node with the settings of a TOML file until Ctrl-C or SIGTERM.

    worker  command of a worker process

    Raises UsageError for wrong settings, a port that is in use, or a missing model or device.
    """
    settings = read_settings(config)
    threading.excepthook = _log_thread_error
    try:
        Node(settings, worker).run(threading.Event())
    except KeyboardInterrupt:
        log_line("stopped; the queue is continued at the next start")


def _log_thread_error(what: threading.ExceptHookArgs) -> None:
    """Log the kind of an exception: its text may quote what a peer has sent."""
    log_rarely(
        "a thread of the node ended by an error, perhaps of a malformed message: "
        f"{what.exc_type.__name__}"
    )


class Node:
    """A node with its settings; worker: the command of a worker process."""

    def __init__(self, settings: NodeSettings, worker: Sequence[str] = WORKER) -> None:
        self.settings = settings
        self.queue = Queue(settings.folder)
        self._lock_descriptor = lock_folder(settings.folder, "node", _LOCK_WAIT_S)
        self.queue.recover()
        self.counters = Counters()
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._arrivals = Arrivals(self.queue, settings.listen, settings.limits, self.counters)
        self._workers = [
            WorkerProcess(settings.denoise.settings(device), worker, (self._lock_descriptor,))
            for device in settings.denoise.devices
        ]
        self._server, self._status = self._ports()
        self._deliveries = Deliveries(
            self.queue,
            {to.name: to.retries for to in settings.destinations},
            settings.destinations_of,
            self.counters,
        )
        self._senders = [self._delivery(to) for to in settings.destinations]
        self._pollers = [self._poller(source) for source in settings.sources]

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, or an exception such as KeyboardInterrupt ends it."""
        listen = self.settings.listen
        log_line(f"petdiff {__version__}: {NOTICE}")
        try:
            self._start_workers()
            self._server.start()
            if self._status is not None:
                self._status.start()
            for thread in (*self._senders, *self._pollers):
                thread.start()
            log_line(f"{listen.ae_title} listens at {listen.address} port {listen.port}")
            self._serve(stop)
        finally:
            self._end()

    def state(self) -> NodeState:
        """Return the content of the status page."""
        from petdiff.node.status import DestinationState, NodeState, SourceState, WorkerState

        return NodeState(
            seconds=round(time.monotonic() - self._started, 1),
            series={str(state): count for state, count in self.queue.counts().items()},
            counts={event: self.counters.of(event) for event in EVENTS},
            open_associations=self._server.open_associations,
            free_bytes=free_bytes(self.settings.folder),
            workers=tuple(
                WorkerState(device=worker.device, runs=worker.runs) for worker in self._workers
            ),
            destinations=tuple(
                DestinationState(
                    name=sender.to,
                    waiting=len(self._deliveries.waiting(sender.to)),
                    last_failure=sender.last_failure,
                )
                for sender in self._senders
            ),
            sources=tuple(
                SourceState(name=poller.source_name, last_failure=poller.last_failure)
                for poller in self._pollers
            ),
        )

    def _ports(self) -> tuple[DicomServer, StatusServer | None]:
        try:
            import dicomweb_client  # noqa: F401  # used where a source or destination has a URL

            from petdiff.node.dicom_server import DicomServer
            from petdiff.node.status import StatusServer
        except ImportError as problem:
            raise UsageError(
                f"petdiff node needs {problem.name}: pip install 'petdiff[node]'"
            ) from None
        server = DicomServer(self.settings, self._arrivals, self.counters)
        is_enabled = self.settings.status.port != 0
        return server, StatusServer(self.settings.status, self.state) if is_enabled else None

    def _delivery(self, destination: Destination) -> Delivery:
        transport = _transport(destination, self.settings.listen.ae_title)
        return Delivery(
            destination.name,
            transport,
            self.queue,
            self._deliveries,
            self.counters,
            stop=self._stop,
        )

    def _poller(self, source: Source) -> Poller:
        from petdiff.node.dicomweb import WebSource

        return Poller(
            source.name,
            WebSource(source),
            self.queue,
            self._arrivals,
            every_s=source.every_seconds,
            stop=self._stop,
        )

    def _start_workers(self) -> None:
        """Start a worker for each device; UsageError where one cannot work with these settings."""
        ready = Ready(self.queue)
        for worker in self._workers:
            try:
                reply = worker.start()
            except WorkerDied as problem:
                raise PetdiffError(f"the worker of {worker.device}: {problem}") from None
            if reply.outcome != "ready":
                raise UsageError(f"[denoise]: {reply.public}")
            log_line(f"worker ready: {reply.public}")
            Denoiser(
                self.queue,
                ready,
                worker,
                self.counters,
                seconds=60 * self.settings.denoise.minutes,
                stop=self._stop,
                dose_of=self.settings.dose_of,
            ).start()

    def _serve(self, stop: threading.Event) -> None:
        """Move complete series to ready/, and remove old ones, until `stop` is set."""
        pruned = time.monotonic() - _PRUNE_EVERY_S
        while not stop.wait(_TICK_S):
            try:
                self._arrivals.collect()
                if time.monotonic() - pruned >= _PRUNE_EVERY_S:
                    pruned = time.monotonic()
                    self._prune()
            except OSError as problem:
                log_line(f"the queue cannot be used: {disk.reason(problem)}")
                stop.wait(10)

    def _prune(self) -> None:
        """Remove old refused series and records."""
        limits = self.settings.limits
        removed = self.queue.prune(
            limits.discard_days, 1e9 * limits.discard_gb, self.settings.record_days
        )
        if removed:
            log_line(
                f"{counted(removed, 'series', 'series')} removed from discard/: see "
                "limits.discard_days and limits.discard_gb"
            )

    def _end(self) -> None:
        self._stop.set()
        self.queue.wake()
        for worker in self._workers:
            worker.stop()
        self._server.stop()
        if self._status is not None:
            self._status.stop()


def _transport(destination: Destination, ae_title: str) -> Transport:
    """Return the transport of a destination: DICOM or DICOMweb."""
    if destination.url is not None:
        from petdiff.node.dicomweb import WebDestination

        return WebDestination(destination)
    from petdiff.node.dicom_sender import DicomSender

    return DicomSender(destination, ae_title)
