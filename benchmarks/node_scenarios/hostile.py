"""Send to the node what no sender should; after each, check that it still answers."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom.transport import AssociationSocket

from node_scenarios.process import NodeProcess, make_series, wait_for
from support.dicom_factory import pet_slices
from support.node import association
from support.pacs import Store, store, system_program

_QUIET_S = 3


class Senders:
    """A node and what is done to it; `found` says what came of each trouble."""

    def __init__(self, folder: Path, node: NodeProcess, pacs: Store) -> None:
        self.folder, self.node, self.pacs = folder, node, pacs
        self.found: dict[str, str] = {}
        self.broken: list[str] = []
        self._made = 0

    def series(self, **attributes: object) -> list[Path]:
        self._made += 1
        folder = self.folder / f"series{self._made:02d}"
        make_series(folder, self._made, **attributes)
        return sorted(folder.iterdir())

    def send(self, files: Sequence[Path], calling: str = "SCANNER") -> int:
        storescu = system_program("storescu")
        command = [storescu, "-aet", calling, "-aec", "PETDIFF", "127.0.0.1", str(self.node.port)]
        return subprocess.run([*command, *files], capture_output=True).returncode

    def trouble(self, name: str, act: Callable[[], str], discarded: int | None, log: str) -> None:
        """Make a trouble; look for its log line and its discarded series; send a good series."""
        before, length = self.node.count("discard"), len(self.node.log.read_text())
        said = act()
        try:
            wait_for(lambda: log in self.node.log.read_text()[length:], 90, f"{log!r} in the log")
            if discarded is not None:
                after = before + discarded
                wait_for(lambda: self.node.count("discard") == after, 90, "discard")
            self._good_series()
        except TimeoutError as problem:
            self.broken.append(f"{name}: {problem}")
        reasons = [
            path.read_text().strip()
            for path in sorted(self.node.queue.glob("discard/*/reason.txt"))
        ]
        self.found[name] = "; ".join([said, *reasons[before:]]).strip("; ")
        print(f"{name}: {self.found[name]}", flush=True)

    def _good_series(self) -> None:
        """Send a good series, as often as the node is busy, and wait for its answer."""
        done, files = self.node.count("done"), self.series()
        wait_for(lambda: self.send(files) == 0, 60, "the node to take a good series")
        wait_for(lambda: self.node.count("done") > done, 60, "the answer to a good series")


def hostile(folder: Path, count: int = 0) -> dict[str, object]:
    """Run all troubles; return what came of each."""
    del count
    with store() as pacs:
        tables = (
            f"quiet_seconds = {_QUIET_S}\nidle_seconds = 20\n[limits]\nfree_gb = 0\n"
            'queue_gb = 0.01\n[[senders]]\nae_title = "SCANNER"\naddresses = ["127.0.0.1"]\n'
        )
        node = NodeProcess(folder, pacs.port, tables)
        node.config.write_text(node.config.read_text().replace('"PACS"', '"STORE"'))
        node.start()
        senders = Senders(folder, node, pacs)
        senders.trouble("unknown AE", lambda: _unknown(senders), 0, "STRANGER at 127.0.0.1 refused")
        senders.trouble("no PET", lambda: _no_pet(senders), 1, "CT Image Storage, not PET")
        senders.trouble("CT among PET", lambda: _mixed(senders), 1, "CT Image Storage, not PET")
        senders.trouble("half a series", lambda: _half(senders), 1, "incomplete: 8 of 16")
        senders.trouble("the same series twice", lambda: _twice(senders), 0, "sent again")
        senders.trouble("damaged images", lambda: _damaged(senders), 1, "cannot be read as DICOM")
        senders.trouble("a full disk", lambda: _full(senders), 1, "refused: no room")
        senders.trouble("200 idle associations", lambda: _idle(senders), 0, "too many are open")
        senders.trouble("hanging up in mid-image", lambda: _hang_up(senders), 1, "broke off")
        senders.trouble("1000 damaged streams", lambda: _nonsense(senders), None, "nonsense")
        code = node.stop()
        answers = {series_of(content) for content in pacs.images.values()}
        if len(answers) != node.count("done") or code != 0:
            senders.broken.append(f"{len(answers)} answers, {node.count('done')} done, exit {code}")
    return {"troubles": senders.found, "answers": len(answers), "broken": senders.broken}


def series_of(content: bytes) -> str:
    return str(dcmread(BytesIO(content), stop_before_pixels=True).SeriesInstanceUID)


def _unknown(to: Senders) -> str:
    return f"storescu ends with {to.send(to.series(), 'STRANGER')}"


def _no_pet(to: Senders) -> str:
    to.send(to.series(SOPClassUID=CTImageStorage, Modality="CT"))
    return ""


def _mixed(to: Senders) -> str:
    uid = generate_uid()
    pet = to.series(SeriesInstanceUID=uid)
    to.send([*pet, *to.series(SeriesInstanceUID=uid, SOPClassUID=CTImageStorage)])
    wait_for(lambda: to.node.logged("complete with 16 images"), 30, "the PET")
    return "the PET is denoised"


def _half(to: Senders) -> str:
    to.send(to.series()[:8])
    return ""


def _twice(to: Senders) -> str:
    files = to.series()
    done = to.node.count("done")
    to.send(files)
    to.send(files)
    wait_for(lambda: to.node.count("done") > done, 60, "the answer")
    to.send(files)
    time.sleep(2 * _QUIET_S)
    return f"{to.node.count('done') - done} answer"


def _damaged(to: Senders) -> str:
    """Send images without SeriesInstanceUID, which no series can take."""
    with association(to.node.port) as one:
        images = pet_slices(np.zeros((3, 8, 8), np.int16), SeriesInstanceUID=None)
        status = {int(one.send_c_store(image).get("Status", -1)) for image in images}
    return "status " + ", ".join(f"{code:04X}" for code in sorted(status))


def _full(to: Senders) -> str:
    """Fill the disk that the node may use (queue_gb) while a series comes."""
    files = to.series()
    to.send(files[:8])
    filler = to.node.queue / "filler"
    filler.write_bytes(bytes(10_000_000))
    time.sleep(31)  # the node measures what it uses twice a minute
    code = to.send(files[8:])
    time.sleep(2 * _QUIET_S)
    filler.unlink()
    time.sleep(31)
    return f"storescu ends with {code}"


def _idle(to: Senders) -> str:
    from pynetdicom import AE

    entity = AE("SCANNER")
    entity.add_requested_context("1.2.840.10008.1.1")
    idle = [entity.associate("127.0.0.1", to.node.port, ae_title="PETDIFF") for _ in range(200)]
    held = sum(one.is_established for one in idle)
    start = time.monotonic()
    files = to.series()
    wait_for(lambda: to.send(files) == 0, 60, "the node to take a series")
    waited_s = time.monotonic() - start
    for one in idle:
        if one.is_established:
            one.abort()
    return f"{held} of 200 are held; a good sender waits {waited_s:.0f} s"


def _hang_up(to: Senders) -> str:
    """Send half of a series, then half of an image."""
    time.sleep(11)  # the log repeats no line within 10 s, and the idle ones broke off as well
    images = pet_slices(np.zeros((4, 300, 300), np.int16))
    with association(to.node.port) as one:
        for image in images[:2]:
            one.send_c_store(image)
        one.dimse_timeout = 2
        connection, sent = one.dul.socket.socket, 0

        def half(data: bytes) -> None:
            nonlocal sent
            if sent < 60_000:
                connection.sendall(data)
                sent += len(data)
                if sent >= 60_000:
                    connection.shutdown(2)

        one.dul.socket.send = half
        one.send_c_store(images[2])
    return ""


def _nonsense(to: Senders) -> str:
    """Send the bytes of a C-ECHO and a C-STORE, damaged, and bytes that are no DICOM at all."""
    chance, stream = random.Random(0), _recorded(to)
    for _ in range(1000):
        damaged = bytearray(stream)
        for _ in range(chance.choice([1, 2, 5, 30])):
            damaged[chance.randrange(chance.choice([300, len(damaged)]))] = chance.randrange(256)
        whole = bytes(damaged) if chance.random() < 0.8 else chance.randbytes(500)
        with suppress(OSError), socket.create_connection(("127.0.0.1", to.node.port), 2) as one:
            one.sendall(whole[: chance.randrange(1, len(whole) + 1)])
            one.settimeout(0.05)
            one.recv(1000)
    return ""


def _recorded(to: Senders) -> bytes:
    """Return what a sender sends that stores one image."""
    sent: list[bytes] = []
    real = AssociationSocket.send

    def send(self: AssociationSocket, data: bytes) -> None:
        sent.append(data)
        real(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AssociationSocket, "send", send)
        with association(to.node.port) as one:
            one.send_c_echo()
            one.send_c_store(dcmread(to.series()[0]))
    return b"".join(sent)
