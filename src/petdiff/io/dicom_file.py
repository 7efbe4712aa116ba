"""Read one DICOM file. Every error becomes an InputRefused that names the file.

pydicom raises many kinds of exceptions on damaged files, and only warns of some truncated ones. All
other modules read files and decode elements through this one.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
from pydicom import DataElement, Dataset, config
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_partial
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from petdiff.errors import InputRefused, PetdiffError
from petdiff.io.dicom_start import HEAD_BYTES, DicomStart, find_start
from petdiff.io.entries import Bounded, Entry
from petdiff.terminal import one_line

_HARMLESS_BYTES = 8 << 20  # accepted size of any deflated file
_MAX_RATIO = 20  # PET slices deflate to 1/2 … 1/10
_CHUNK_BYTES = 1 << 20
_MAX_ELEMENTS = 50_000  # outside sequences; there are some 200
_MAX_EMPTY_ELEMENTS = 1000  # in sequence
_NOTHING = bytes(8)  # an element (0000,0000) of no length
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
# Groups that geometry, values and SUV depend on: elements in them must be decodable.
_GROUPS_NEEDED = frozenset({0x0008, 0x0018, 0x0020, 0x0028, 0x0054})
_IDENTITY = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
_KINDS = {
    "items": ("SQ",),
    "text": ("AE", "AS", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT"),
    "name": ("PN",),
    "number": ("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"),
    "tag": ("AT",),
}  # fmt: skip
_WORD_BYTES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_MAX_NOTES = 5
_WRONG_KIND = "it is stored as "
_CHARACTER_SET, _UTF8 = 0x00080005, "ISO_IR 192"
_NO_UTF8 = (
    "SpecificCharacterSet (0008,0005) is ISO_IR 192, UTF-8, and text is not: taken as ISO_IR 100"
)
_BROKEN_OFF = re.compile("end of file", re.IGNORECASE)
_UNDEFINED = 0xFFFFFFFF
_TRUNCATED = ": truncated? Remove it, or get it again"


class DamagedFile(InputRefused):
    """A DICOM file that cannot be read completely; its SeriesInstanceUID if known, else ""."""

    def __init__(self, message: str, series_uid: str = ""):
        super().__init__(message)
        self.series_uid = series_uid


@dataclass(frozen=True)
class DicomFile:
    """A DICOM file with its data set.

    has_pixels  whether pixels follow a data set that was read without them
    notes       warnings of pydicom
    """

    entry: Entry
    dataset: Dataset
    has_pixels: bool
    notes: list[str]


@contextmanager
def lenient_pydicom() -> Iterator[list[str]]:
    """Let pydicom read and write values that violate their VR, which real headers have.

    Yields the list to which its warnings are added as text.
    """
    settings = config.settings
    before = settings.reading_validation_mode, settings.writing_validation_mode
    notes: list[str] = []

    def note(message: Warning | str, *_: object, **__: object) -> None:
        text = one_line(str(message))[:200]
        if text not in notes and len(notes) < _MAX_NOTES:
            notes.append(text)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        settings.reading_validation_mode = settings.writing_validation_mode = config.IGNORE
        try:
            yield notes
        finally:
            settings.reading_validation_mode, settings.writing_validation_mode = before


@contextmanager
def refusing(what: str, remedy: str = "") -> Iterator[None]:
    """Raise DamagedFile, "`what` (reason)", for all exceptions of pydicom within the block."""
    try:
        yield
    except (PetdiffError, MemoryError):
        raise
    except Exception as problem:
        reason = one_line(problem)[:200] or type(problem).__name__
        raise DamagedFile(f"{what} ({reason}){remedy}") from problem


def read_file(entry: Entry, *, pixels: bool) -> DicomFile | None:
    """Read a DICOM file, with or without its pixels; None for a file that is no DICOM.

    Raises DamagedFile if it is truncated, damaged, or would inflate to too many bytes.
    """
    with entry.open() as stream, lenient_pydicom() as notes:
        start = find_start(stream.read(HEAD_BYTES))
        if start is None:
            return None
        with refusing(f"{entry.name} is an incomplete DICOM file", _TRUNCATED):
            data = _data(stream, entry, start)
            dataset = read_partial(cast(BinaryIO, data), _stop(pixels), force=True)
            _set_transfer_syntax(dataset, start)
            if _is_wrongly_declared_utf8(dataset):
                _declare_latin(dataset)
                notes.append(_NO_UTF8)
            has_pixels = data.read(1) != b""
        if (short := _short(dataset, notes)) is not None:
            reason = f"{entry.name} is an incomplete DICOM file ({short}){_TRUNCATED}"
            raise DamagedFile(reason, _series_uid(dataset))
    return DicomFile(entry, dataset, has_pixels, notes)


def _stop(pixels: bool) -> Callable[[BaseTag, str | None, int], bool]:
    """Return pydicom's stop condition: before the pixels, or never. It limits the elements."""
    count = 0

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal count
        count += 1
        if count > _MAX_ELEMENTS:
            raise ValueError(f"more than {_MAX_ELEMENTS} elements")
        return not pixels and tag in _PIXELS

    return stop


def _short(dataset: Dataset, notes: Sequence[str]) -> str | None:
    """Return where a data set is truncated, which pydicom does not check; None if it is not."""
    for element in dataset.values():
        if isinstance(element, RawDataElement) and element.length != _UNDEFINED:
            size = len(element.value or b"")
            if size != element.length:
                return f"{element.tag} declares {element.length} bytes and has {size}"
    return next((text for text in notes if _BROKEN_OFF.search(text)), None)


def decode_all(file: DicomFile) -> None:
    """Decode every element now. pydicom would do so at first use, which may be minutes later.

    An element that cannot be decoded is removed with a note; DamagedFile is raised if it may be
    needed. A private element keeps its bytes, as UN. An element of a wrong kind, such as a sequence
    stored as text, counts as missing.
    Afterwards no value depends on the byte order of the file.
    """
    with lenient_pydicom() as notes:
        for tag, reason in _decode(file.dataset):
            wrong_kind = reason.startswith(_WRONG_KIND) and tag not in _IDENTITY
            if tag.group in _GROUPS_NEEDED and not wrong_kind:
                raise DamagedFile(
                    f"{file.entry.name}: {tag} cannot be decoded ({reason}): a damaged header",
                    _series_uid(file.dataset),
                )
            # The reason is left out: it may quote the value, and notes are recorded.
            notes.append(f"{tag} cannot be decoded and is left out")
        if file.dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
            file.dataset.walk(_to_little_endian)
    file.notes.extend(notes)


def _declare_latin(dataset: Dataset) -> None:
    """Declare Latin-1, in which every byte is a letter, so that text is written as it was read."""
    dataset.SpecificCharacterSet = "ISO_IR 100"
    implicit, little = dataset.original_encoding
    dataset.set_original_encoding(implicit, little, convert_encodings("ISO_IR 100"))


def _is_wrongly_declared_utf8(dataset: Dataset) -> bool:
    """Return whether a data set declares UTF-8 and has text that is not, in raw elements."""
    declared = dataset.get_item(_CHARACTER_SET) if _CHARACTER_SET in dataset else None
    if declared is None or declared.value not in (_UTF8, _UTF8.encode()):
        return False
    for element in dataset.values():
        if isinstance(element, RawDataElement) and element.value:
            vr = element.VR or _standard_vr(element.tag, "")
            if vr in CUSTOMIZABLE_CHARSET_VR:
                try:
                    element.value.decode("utf-8")
                except UnicodeDecodeError:
                    return True
    return False


def _decode(dataset: Dataset) -> Iterator[tuple[BaseTag, str]]:
    """Decode elements, also in sequences; remove and yield those that cannot be decoded."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            if not tag.is_private and _kind(element.VR) != _kind(_standard_vr(tag, element.VR)):
                raise ValueError(_WRONG_KIND + element.VR)
            items = list(element.value) if isinstance(element.value, Items) else []
        except MemoryError:
            raise
        except Exception as problem:
            raw = dataset.get_item(tag)
            del dataset[tag]
            if tag.is_private and isinstance(raw, RawDataElement) and raw.value is not None:
                dataset.add_new(tag, "UN", raw.value)  # its VR was taken from a dictionary
            else:
                yield tag, one_line(problem)[:200]
            continue
        for item in items:
            for _, reason in _decode(item):
                yield tag, reason


def _to_little_endian(dataset: Dataset, element: DataElement) -> None:
    """Swap the bytes of a value that pydicom keeps as it is stored; remove one of unknown VR."""
    size = _WORD_BYTES.get(element.VR)
    if element.VR == "UN" or (size and len(element.value or b"") % size):
        del dataset[element.tag]
    elif size and element.value:
        element.value = np.frombuffer(element.value, f"u{size}").byteswap().tobytes()


def _kind(vr: str) -> str:
    """Return the kind of a VR's values in Python: numbers also for text with numbers."""
    return next((kind for kind, vrs in _KINDS.items() if vr in vrs), "bytes")


def _standard_vr(tag: BaseTag, otherwise: str) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return otherwise


class _Elements(Bounded):
    """A stream of elements that raises an error at a long run of zeros.

    Interrupted downloads leave zeros, and 8 zeros are an empty element: pydicom would take a minute
    for 60 MB of them.
    """

    _zeros = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes; raises ValueError after a thousand empty elements."""
        content = super().read(size)
        self._zeros = self._zeros + 1 if content == _NOTHING else 0
        if self._zeros > _MAX_EMPTY_ELEMENTS:
            raise ValueError("zeros instead of elements")
        return content


def _data(stream: BinaryIO, entry: Entry, start: DicomStart) -> Bounded:
    """Return a stream that pydicom can read: it begins at `start` and is inflated."""
    if start.deflated_from is None:
        return _Elements(stream, entry.size - start.offset, start.offset)
    stream.seek(start.deflated_from)
    limit = max(_HARMLESS_BYTES, _MAX_RATIO * entry.size)
    inflater, parts, size = zlib.decompressobj(-zlib.MAX_WBITS), [], 0
    while not inflater.eof:
        packed = inflater.unconsumed_tail or stream.read(_CHUNK_BYTES)
        parts.append(inflater.decompress(packed, _CHUNK_BYTES))
        if not packed and not parts[-1]:
            raise EOFError("the deflated data set is truncated")
        size += len(parts[-1])
        if size > limit:
            raise InputRefused(
                f"{entry.name} would inflate from {entry.size} to more than {limit} bytes, which "
                "no slice does (transfer syntax Deflated Explicit VR, (0002,0010))"
            )
    return _Elements(io.BytesIO(b"".join(parts)), size)


def _set_transfer_syntax(dataset: Dataset, start: DicomStart) -> None:
    """Set TransferSyntaxUID if the file has none, or if its data set was inflated."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if dataset.file_meta.get("TransferSyntaxUID") and start.deflated_from is None:
        return
    implicit, little = dataset.original_encoding
    if implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    else:
        dataset.file_meta.TransferSyntaxUID = (
            ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        )


def _series_uid(dataset: Dataset) -> str:
    try:
        return str(dataset.get("SeriesInstanceUID") or "")
    except Exception:  # pydicom raises many kinds
        return ""
