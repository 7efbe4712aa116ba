"""The DICOM port: access control of associations, C-ECHO, and C-STORE into the arrivals."""

from __future__ import annotations

import logging
import socket
import socketserver
import ssl
import threading
import time
from contextlib import suppress
from io import BytesIO
from typing import Any

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.association import Association
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from petdiff import disk
from petdiff.errors import UsageError
from petdiff.io.dicom_enhanced import PET_CLASSES
from petdiff.node.arrivals import NO_ROOM, NOT_UNDERSTOOD, Arrivals
from petdiff.node.connections import Connections, close_connection
from petdiff.node.counters import Counters
from petdiff.node.log import log_line, log_rarely
from petdiff.node.peers import ServerTLS
from petdiff.node.settings import NodeSettings

_UNCOMPRESSED = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
_COMPRESSED = (RLELossless, JPEGLosslessSV1, JPEGLossless, JPEGLSLossless, JPEG2000Lossless)
_PDU_BYTES = 131_072
# Result, source and reason of a rejection (PS3.8 9.3.4).
_UNKNOWN_SENDER, _LIMIT_EXCEEDED = (0x01, 0x01, 0x03), (0x02, 0x03, 0x02)
_MAX_THREADS = 1000  # of connections, most of them closed
_HANDSHAKE_S, _REQUEST_S = 10.0, 10.0
_CLOSE_S = 0.5  # that closing a connection may take
_IDLE_S = 3.0  # after which an idle association is closed for a new one if all are in use
_POLL_S = 1.0  # between checks for a stop


class DicomServer:
    """Listens on the DICOM port from `start` to `stop`.

    Raises UsageError where the port cannot be opened.
    """

    def __init__(self, settings: NodeSettings, arrivals: Arrivals, counters: Counters) -> None:
        silence_pynetdicom()
        listen = settings.listen
        self._connections = Connections()
        handler = _Handler(settings, arrivals, counters, self._connections)
        entity = AE(ae_title=listen.ae_title)
        entity.require_called_aet = True
        entity.maximum_associations = _MAX_THREADS  # it counts closed connections for a while
        entity.maximum_pdu_size = _PDU_BYTES
        entity.network_timeout = listen.idle_seconds
        entity.acse_timeout = entity.dimse_timeout = _REQUEST_S
        entity.add_supported_context(Verification, list(_UNCOMPRESSED))
        compressed = [syntax for syntax in _COMPRESSED if get_decoder(syntax).is_available]
        for context in AllStoragePresentationContexts:
            name = str(context.abstract_syntax)
            is_pet = name in PET_CLASSES
            syntaxes = [*_UNCOMPRESSED, *compressed] if is_pet else list(_UNCOMPRESSED[:2])
            entity.add_supported_context(name, syntaxes)
        try:
            self._server = _Server(
                entity,
                (str(listen.address), listen.port),
                listen.ae_title,
                entity.supported_contexts,
                None if listen.tls is None else _server_context(listen.tls),
                handler.bound(),
            )
        except OSError as problem:
            raise UsageError(
                f"listen.port {listen.port} at {listen.address} cannot be opened "
                f"({disk.reason(problem)}): take another, or stop what has it"
            ) from None
        self._server.admit(settings, handler, self._connections)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="DICOM port", daemon=True
        )

    @property
    def open_associations(self) -> int:
        """The number of associations that are open now."""
        return len(self._connections.all())

    def start(self) -> None:
        """Accept connections from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port, and end every association."""
        if self._thread.is_alive():
            # pynetdicom's own shutdown asks for a server that its AE has started.
            socketserver.BaseServer.shutdown(self._server)
        with suppress(OSError):
            self._server.server_close()
        for association in self._connections.all():
            close_connection(association)


class _Server(ThreadedAssociationServer):
    """Refuses peers before a thread is started, and makes TLS handshakes in the peer's thread."""

    daemon_threads = True
    request_queue_size = 128

    def admit(self, settings: NodeSettings, handler: _Handler, connections: Connections) -> None:
        self._settings, self._handler, self._connections = settings, handler, connections

    def verify_request(self, request: Any, client_address: Any) -> bool:
        address = str(client_address[0])
        if not self._settings.may_send(None, address):
            self._handler.refused(f"connection from {address}", "the address is not allowed")
            return False
        limit = self._settings.listen.associations
        if len(self._connections.all()) >= limit:
            self._handler.end_idlest()
        is_full = len(self._connections.all()) >= 2 * limit
        if is_full or len(self.active_associations) >= _MAX_THREADS:
            self._handler.refused(f"connection from {address}", "too many are open")
            return False
        return True

    def get_request(self) -> tuple[socket.socket, Any]:
        assert self.socket is not None
        connection, address = self.socket.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.ssl_context is None:
            return connection, address
        connection.settimeout(_HANDSHAKE_S)
        wrapped = self.ssl_context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )
        return wrapped, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket):
            request.do_handshake()
            request.settimeout(None)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        self._handler.refused(f"connection from {client_address[0]}", "no TLS, or broken off")


class _Handler:
    """The handlers of the events of an association."""

    def __init__(
        self,
        settings: NodeSettings,
        arrivals: Arrivals,
        counters: Counters,
        connections: Connections,
    ) -> None:
        self._settings, self._arrivals = settings, arrivals
        self._counters, self._connections = counters, connections
        self._max_bytes = settings.listen.image_mb << 20

    def bound(self) -> list[evt.EventHandlerType]:
        """Return the handlers by event."""
        return [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_ABORTED, self._aborted),
            (evt.EVT_DATA_RECV, self._received),
            (evt.EVT_C_ECHO, lambda event: 0x0000),
            (evt.EVT_C_STORE, self._store),
        ]

    def refused(self, who: str, why: str) -> None:
        """Count and log a refused peer."""
        self._counters.add("associations_refused")
        log_rarely(f"{who} refused: {why}")

    def end_idlest(self) -> None:
        """Close the connection that was idle for longest, if it was idle for some seconds."""
        idlest, deadline = self._connections.idlest(_IDLE_S), time.monotonic() + _CLOSE_S
        if idlest is not None:
            log_rarely(
                f"association of {_peer(idlest)} ended: idle, and all associations are in use"
            )
            close_connection(idlest)
            while self._connections.is_open(idlest) and time.monotonic() < deadline:
                time.sleep(0.005)

    def _opened(self, event: evt.Event) -> None:
        self._connections.opened(event.assoc)

    def _closed(self, event: evt.Event) -> None:
        self._connections.closed(event.assoc)

    def _requested(self, event: evt.Event) -> None:
        peer = event.assoc.requestor
        title = str(peer.primitive.calling_ae_title).strip() if peer.primitive else ""
        address = str(peer.address)
        if not self._settings.may_send(title, address):
            self.refused(f"association of {title} at {address}", "it is not among the senders")
            self._reject(event.assoc, _UNKNOWN_SENDER)
        elif len(self._connections.all()) > self._settings.listen.associations:
            self.refused(f"association of {title} at {address}", "too many are open")
            self._reject(event.assoc, _LIMIT_EXCEEDED)

    def _reject(self, association: Association, reason: tuple[int, int, int]) -> None:
        association.acse.send_reject(*reason)
        association.kill()

    def _rejected(self, event: evt.Event) -> None:
        peer, own = event.assoc.requestor.primitive, self._settings.listen.ae_title
        called = str(peer.called_ae_title).strip() if peer else ""
        self.refused(f"association of {_peer(event.assoc)}", f"it calls {called}, not {own}")

    def _accepted(self, event: evt.Event) -> None:
        self._counters.add("associations_accepted")

    def _aborted(self, event: evt.Event) -> None:
        self._counters.add("associations_broken")
        log_rarely(f"association of {_peer(event.assoc)} broke off, or was idle for too long")

    def _received(self, event: evt.Event) -> None:
        if self._connections.received(event.assoc, len(event.data)) > self._max_bytes:
            log_rarely(f"association of {_peer(event.assoc)} ended: image above listen.image_mb")
            close_connection(event.assoc)

    def _store(self, event: evt.Event) -> int:
        """Store an image. Each error becomes a C-STORE status for the sender."""
        self._connections.end_message(event.assoc)
        try:
            data: BytesIO = event.request.DataSet  # type: ignore
            meta = b"\0" * 128 + b"DICM" + encode_file_meta(event.file_meta)
            return self._arrivals.store([meta, data.getbuffer()], _title(event.assoc))
        except MemoryError:
            log_line(f"image of {_peer(event.assoc)} refused: out of memory")
            return NO_ROOM
        except Exception as problem:  # the text may quote the image's header
            log_line(f"image of {_peer(event.assoc)} refused: {type(problem).__name__}")
            return NOT_UNDERSTOOD


def silence_pynetdicom() -> None:
    """Switch off pynetdicom's log, which may quote headers."""
    _config.LOG_HANDLER_LEVEL = "none"
    logger = logging.getLogger("pynetdicom")
    logger.setLevel(logging.CRITICAL + 1)
    logger.propagate = False


def _title(association: Association) -> str:
    return str(association.requestor.ae_title).strip()


def _peer(association: Association) -> str:
    return f"{_title(association) or 'a peer'} at {association.requestor.address}"


def _server_context(tls: ServerTLS) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.certificate, tls.key)
    if tls.ca is not None:
        context.load_verify_locations(str(tls.ca))
        context.verify_mode = ssl.CERT_REQUIRED
    return context
