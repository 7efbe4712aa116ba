"""The node's state over HTTP on a local port: /status as JSON, /metrics as Prometheus text."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic import BaseModel

from petdiff import __version__, disk
from petdiff.errors import UsageError
from petdiff.node.counters import EVENTS, Event
from petdiff.node.log import log_rarely
from petdiff.node.settings import StatusPort
from petdiff.records import NOTICE

_TIMEOUT_S = 10
_POLL_S = 1.0  # between checks for a stop


class WorkerState(BaseModel, frozen=True):
    """The device of a worker, and whether its process runs."""

    device: str
    runs: bool


class DestinationState(BaseModel, frozen=True):
    """A destination: the number of waiting series, and the reason of the last failure, if any."""

    name: str
    waiting: int
    last_failure: str


class SourceState(BaseModel, frozen=True):
    """A source, and the reason of its last failed search, if any."""

    name: str
    last_failure: str


class NodeState(BaseModel, frozen=True):
    """The content of the status page. It has no patient data.

    seconds     since the start
    series      number of series in each folder of the queue
    counts      of events since the start
    free_bytes  on the disk of the queue
    """

    petdiff: str = __version__
    notice: str = NOTICE
    seconds: float
    series: dict[str, int]
    counts: dict[Event, int]
    open_associations: int
    free_bytes: int
    workers: tuple[WorkerState, ...]
    destinations: tuple[DestinationState, ...]
    sources: tuple[SourceState, ...]


class StatusServer:
    """Answers GET /status and /metrics from `start` to `stop`.

    Raises UsageError where the port cannot be opened.
    """

    def __init__(self, settings: StatusPort, state: Callable[[], NodeState]) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Metrics(state))

        class Handler(_Handler):
            pages: ClassVar = {
                "/status": ("application/json", lambda: _json(state())),
                "/metrics": ("text/plain; version=0.0.4", lambda: generate_latest(registry)),
            }

        try:
            self._server = _Server((str(settings.address), settings.port), Handler)
        except OSError as problem:
            raise UsageError(
                f"status.port {settings.port} at {settings.address} cannot be opened "
                f"({disk.reason(problem)}): take another, or 0 for none"
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="status port", daemon=True
        )

    def start(self) -> None:
        """Answer requests from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """A server that ignores clients that close the connection before the response."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        kind = sys.exc_info()[0]
        if kind is not None and not issubclass(kind, OSError):
            log_rarely(f"the status page failed: {kind.__name__}")


class _Handler(BaseHTTPRequestHandler):
    """Answers one request; `pages` gives the type and content of each path."""

    pages: ClassVar[dict[str, tuple[str, Callable[[], bytes]]]]
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        page = self.pages.get(self.path.partition("?")[0])
        if page is None:
            self.send_error(404, "there are /status and /metrics")
            return
        kind, content = page
        body = content()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing, because a monitor sends a request every few seconds."""


class _Metrics(Collector):
    """The state as Prometheus metrics, computed at each request."""

    def __init__(self, state: Callable[[], NodeState]) -> None:
        self._state = state

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        state = self._state()
        series = _gauge("series", "Series in each folder of the queue", "state")
        for name, count in state.series.items():
            series.add_metric([name], count)
        workers = _gauge("worker_up", "Whether the worker of a device runs", "device")
        for number, worker in enumerate(state.workers):
            workers.add_metric([f"{number}:{worker.device}"], worker.runs)
        waiting = _gauge("waiting", "Series that wait for a destination", "destination")
        failing = _gauge("failing", "Whether the last delivery or search failed", "peer")
        for destination in state.destinations:
            waiting.add_metric([destination.name], destination.waiting)
        peers: list[DestinationState | SourceState] = [*state.destinations, *state.sources]
        for peer in peers:
            failing.add_metric([peer.name], bool(peer.last_failure))
        yield from (series, workers, waiting, failing)
        yield _number("open_associations", "Associations open now", state.open_associations)
        yield _number("free_bytes", "Free bytes on the disk of the queue", state.free_bytes)
        for event, count in state.counts.items():
            yield CounterMetricFamily(f"petdiff_node_{event}", EVENTS[event], value=count)


def _gauge(name: str, text: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"petdiff_node_{name}", text, labels=[label])


def _number(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"petdiff_node_{name}", text, value=value)


def _json(state: NodeState) -> bytes:
    return (json.dumps(state.model_dump(mode="json"), indent=2) + "\n").encode()
