"""Receive images and group them into series.

An image is confirmed to its sender only after it was written to disk. A series is complete when the
number of images in its headers has arrived or, if the headers have no number, when no image has
arrived for some time. A series of fewer images than its headers state or its source offered is
incomplete.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.uid import UID

from petdiff import disk
from petdiff.node.counters import Counters
from petdiff.node.entry import Entry, Kind
from petdiff.node.header import ImageFacts, image_facts
from petdiff.node.log import log_line, log_rarely
from petdiff.node.queue import INCOMPLETE, Queue, bytes_in, free_bytes
from petdiff.node.settings import Limits, Listen
from petdiff.units import counted

# Status of a C-STORE response (PS3.4 B.2.3).
STORED, NO_ROOM, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
_SETTLE_SECONDS = 2.0  # without an image, after the number of images is reached
_MEASURED_EVERY_S = 30.0

_Key = tuple[Kind, str, str]


@dataclass
class _Incoming:
    """A series whose images are arriving.

    last      time of the last image
    expected  number of images by the headers; None: not known
    offered   number of PET images that its source offered; 0: not known
    names     of the stored images
    """

    entry: Entry
    last: float
    expected: int | None = None
    offered: int = 0
    sop_class: str = ""
    names: set[str] = field(default_factory=set)

    @property
    def needed(self) -> int:
        """The number of images without which the series is incomplete; 0: not known."""
        return max(self.expected or 0, self.offered)


class Arrivals:
    """The series in receiving/. `store` may be called from any thread, `collect` from one."""

    def __init__(
        self,
        queue: Queue,
        listen: Listen,
        limits: Limits,
        counters: Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue, self._listen, self._limits = queue, listen, limits
        self._counters, self._clock = counters, clock
        self._lock = threading.Lock()
        self._used, self._measured = 0, -_MEASURED_EVERY_S
        self._logged_repeats: set[tuple[str, int]] = set()
        self._series: dict[_Key, _Incoming] = {}
        self._offered: dict[str, int] = {}  # number of images by series
        for entry in queue.entries("receiving"):
            self._resume(entry)

    def _resume(self, entry: Entry) -> None:
        """Continue a series of an earlier run; its time without images is counted from now."""
        names = entry.image_names()
        facts = image_facts(entry.images / f"{names[0]}.dcm") if names else None
        offered = entry.origin.images
        incoming = _Incoming(entry, self._clock(), offered=offered, names=set(names))
        if facts is not None:
            incoming.expected, incoming.sop_class = facts.expected, facts.sop_class
        self._series[_key(entry.origin.kind, entry.origin.series, entry.origin.sender)] = incoming

    def expect(self, series: str, images: int) -> None:
        """Note how many images of a series its source offers, before they are stored."""
        with self._lock:
            self._offered[series] = images

    def store(self, parts: Sequence[bytes | memoryview], sender: str) -> int:
        """Store one DICOM file, given in parts; return the C-STORE status for its sender."""
        size = sum(len(part) for part in parts)
        if not self._has_room(size):
            self._refused(sender, "no room: see limits.queue_gb and limits.free_gb")
            return NO_ROOM
        file = self._queue.incoming / secrets.token_hex(8)
        try:
            with file.open("wb") as stream:
                for part in parts:
                    stream.write(part)
            disk.flush(file)
            status = self._add(file, sender)
        except OSError as problem:
            self._refused(sender, f"cannot be written ({disk.reason(problem)})")
            return NO_ROOM
        finally:
            file.unlink(missing_ok=True)
        if status == STORED:
            self._used += size
        return status

    def _refused(self, sender: str, reason: str) -> None:
        self._counters.add("images_refused")
        log_rarely(f"image of {sender} refused: {reason}")

    def _has_room(self, size: int) -> bool:
        now = self._clock()
        if now - self._measured >= _MEASURED_EVERY_S:
            self._used, self._measured = bytes_in(self._queue.folder), now
        enough = free_bytes(self._queue.folder) - size >= 1e9 * self._limits.free_gb
        return enough and self._used + size <= 1e9 * self._limits.queue_gb

    def _add(self, file: Path, sender: str) -> int:
        """Move a complete file into its series; return the C-STORE status."""
        facts = image_facts(file)
        with self._lock:
            if facts is None:
                return self._place(file, "damaged", secrets.token_hex(8), None, sender)
            kind: Kind = "pet" if facts.is_pet else "other"
            number = self._queue.number_of(facts.series) if kind == "pet" else None
            if number is not None:
                if self._queue.holds_image(number, facts.instance):
                    self._repeated(number, sender)
                    return STORED
                kind = "late"
            return self._place(file, kind, facts.instance, facts, sender)

    def _place(
        self, file: Path, kind: Kind, name: str, facts: ImageFacts | None, sender: str
    ) -> int:
        series = "" if facts is None else facts.series
        incoming = self._incoming(kind, series, sender)
        if facts is not None:
            incoming.expected = incoming.expected or facts.expected
            incoming.sop_class = facts.sop_class
        if name not in incoming.names:  # of images with one UID the first is kept
            os.replace(file, incoming.entry.images / f"{name}.dcm")
            disk.flush_folder(incoming.entry.images)
            incoming.names.add(name)
            if kind == "other":
                self._offer_one_less(series)
        incoming.last = self._clock()
        if facts is None:
            self._refused(sender, f"damaged; kept with series {incoming.entry.number}")
            return NOT_UNDERSTOOD
        self._counters.add("images_received")
        return STORED

    def _offer_one_less(self, series: str) -> None:
        """Leave out of the offered images of a series one that is no PET, such as a picture."""
        if self._offered.get(series):
            self._offered[series] -= 1
            pet = self._series.get(_key("pet", series, ""))
            if pet is not None:
                pet.offered = self._offered[series]

    def _incoming(self, kind: Kind, series: str, sender: str) -> _Incoming:
        key, offered = _key(kind, series, sender), self._offered.get(series, 0)
        if key not in self._series:
            entry = self._queue.take_back(series) if kind == "pet" else None
            if entry is not None:
                log_line(
                    f"series {entry.number}: more images from {sender}, taken back from discard"
                )
                self._resume(entry)
            else:
                entry = self._queue.create(kind, series, sender, offered)
                log_line(f"series {entry.number}: begun by {sender}")
                self._series[key] = _Incoming(entry, self._clock())
        self._series[key].offered = offered or self._series[key].offered
        return self._series[key]

    def _repeated(self, number: int, sender: str) -> None:
        self._counters.add("images_repeated")
        if (sender, number) not in self._logged_repeats:
            self._logged_repeats.add((sender, number))
            log_line(
                f"series {number}: sent again by {sender}: ignored, because it was accepted before"
            )

    def collect(self) -> int:
        """Move each series that is complete or has stopped arriving; return how many."""
        with self._lock:
            ended = [
                (key, incoming)
                for key, incoming in self._series.items()
                if self._has_ended(incoming)
            ]
            for key, incoming in ended:
                if incoming.entry.path.is_dir():
                    self._finish(incoming)
                else:
                    log_line(f"series {incoming.entry.number}: its folder was removed")
                del self._series[key]
                self._offered.pop(key[1], None)
            if not self._series:
                self._logged_repeats.clear()
        return len(ended)

    def _has_ended(self, incoming: _Incoming) -> bool:
        quiet_s = self._clock() - incoming.last
        is_whole = len(incoming.names) == incoming.expected == incoming.needed
        if incoming.entry.origin.kind == "pet" and is_whole:
            return quiet_s >= min(_SETTLE_SECONDS, self._listen.quiet_seconds)
        return quiet_s >= self._listen.quiet_seconds

    def _finish(self, incoming: _Incoming) -> None:
        entry, count = incoming.entry, len(incoming.names)
        reason = self._reason(incoming, count)
        if reason:
            self._queue.discard(entry, reason)
            self._counters.add("series_discarded")
            log_line(f"series {entry.number}: discarded: {reason}")
        else:
            self._queue.move(entry, "ready")
            is_whole = count >= incoming.needed
            arrived = "complete with" if is_whole else f"denoised with {count} of"
            images = counted(count if is_whole else incoming.needed, "image")
            log_line(f"series {entry.number}: {arrived} {images}")

    def _reason(self, incoming: _Incoming, count: int) -> str:
        """Return why a series is discarded; empty if it is to be denoised."""
        kind = incoming.entry.origin.kind
        if kind == "damaged":
            return f"{counted(count, 'file')} cannot be read as DICOM"
        if kind == "other":
            return f"{counted(count, 'image')} of {UID(incoming.sop_class).name}, not PET"
        if kind == "late":
            number = self._queue.number_of(incoming.entry.origin.series)
            return f"{counted(count, 'image')} came after their series was accepted as {number}"
        if count == 0:
            return "no image arrived"
        if count < incoming.needed and self._listen.incomplete == "discard":
            return f"{INCOMPLETE}: {count} of {incoming.needed} images arrived"
        return ""


def _key(kind: Kind, series: str, sender: str) -> _Key:
    """Return the key that groups images into series; damaged files are grouped by sender."""
    return (kind, series, sender if kind == "damaged" else "")
