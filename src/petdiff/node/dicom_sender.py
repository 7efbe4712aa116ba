"""Send files to one destination by C-STORE."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association

from petdiff import disk
from petdiff.node.delivery import NotDelivered, Refused
from petdiff.node.peers import ClientTLS, Destination

_TIMEOUT_S = 60.0
# Status of a C-STORE response: stored, if with a warning (PS3.4 B.2.3), and without room.
_WARNINGS = frozenset({0xB000, 0xB006, 0xB007})
# Some archives answer so to an image that they hold, sent again after a lost response. The node's
# UIDs are random, so that it is the same image.
_HELD_ALREADY = 0x0111
_NO_ROOM = range(0xA700, 0xA800)


class DicomSender:
    """Sends files to a DICOM node, in one association for each series."""

    def __init__(self, destination: Destination, calling_ae_title: str) -> None:
        self._destination = destination
        self._ae = AE(ae_title=calling_ae_title)
        self._ae.connection_timeout = self._ae.acse_timeout = _TIMEOUT_S
        self._ae.dimse_timeout = self._ae.network_timeout = _TIMEOUT_S
        self._ae.add_requested_context(
            PositronEmissionTomographyImageStorage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
        )

    def send(self, files: Sequence[Path], confirmed: Callable[[Path], None]) -> None:
        """Send files, and call `confirmed` for each that is stored there."""
        association = self._associate()
        try:
            for file in files:
                self._send(association, file)
                confirmed(file)
        finally:
            if association.is_established:
                association.release()

    def _associate(self) -> Association:
        to = self._destination
        assert to.address is not None
        assert to.port is not None
        assert to.ae_title is not None
        tls = None if to.tls is None else (client_context(to.tls), to.address)
        try:
            association = self._ae.associate(
                to.address,
                to.port,
                ae_title=to.ae_title,
                tls_args=tls,
                evt_handlers=[(evt.EVT_CONN_OPEN, _without_delay)],
            )
        except socket.gaierror as problem:
            reason = disk.reason(problem)
            raise NotDelivered(f"no machine is called {to.address} ({reason})") from None
        if association.is_established:
            leave_responses_to_the_caller(association)
            if association.accepted_contexts:
                return association
            association.release()
            raise Refused("it takes no PET images (SOP class or transfer syntax)")
        if association.is_rejected:
            raise NotDelivered("it rejects the association: check both AE titles there")
        raise NotDelivered(
            f"nothing answers at {to.address} port {to.port}, or it ends the association: check "
            "address, port and tls"
        )

    def _send(self, association: Association, file: Path) -> None:
        try:
            response = association.send_c_store(file)
        except RuntimeError:  # no longer established
            raise NotDelivered("the association broke off") from None
        if "Status" not in response:
            raise NotDelivered(
                "the association broke off, or no response came in time: check that it stores PET "
                f"of the AE title {self._ae.ae_title}"
            )
        status = response.Status
        if status in _NO_ROOM:
            raise NotDelivered(f"it has no room (status {status:04X})")
        if status not in (0, _HELD_ALREADY, *_WARNINGS):
            raise Refused(f"it refuses an image (status {status:04X})")


def leave_responses_to_the_caller(association: Association) -> None:
    """Keep pynetdicom's own thread from taking a response before the caller of send_* gets it.

    It looks for requests of the peer, and is paused while a response is awaited. On a busy machine
    it may miss the pause and take the response: this lost one response in some thousands.
    """
    original = association.dimse.get_msg

    def get_msg(block: bool = False) -> Any:
        return original(block) if block else (None, None)

    association.dimse.get_msg = get_msg  # type: ignore[method-assign]


def _without_delay(event: evt.Event) -> None:
    """Send each message at once (TCP_NODELAY). Delayed acknowledgement costs 40 ms per image."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def client_context(tls: ClientTLS) -> ssl.SSLContext:
    """Return a TLS context: trusted authorities, and the certificate of the node if it has one."""
    context = ssl.create_default_context(cafile=None if tls.ca is None else str(tls.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
