"""Text for a derived series that is valid in whatever character set its source declares.

Every value of SpecificCharacterSet (0008,0005), and none, holds the letters of ASCII, so that what
petdiff adds is written in these alone (DICOM PS3.5 6.1).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

_PLAIN = {
    "·": "-", "–": "-", "—": "-", "−": "-", "×": "x", "…": "...", "→": "->", "µ": "u", "μ": "u",
    "ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "œ": "oe", "Œ": "OE", "ł": "l", "Ł": "L",
    "đ": "d", "Đ": "D", "“": '"', "”": '"', "„": '"', "’": "'", "‘": "'", "≤": "<=", "≥": ">=",
}  # fmt: skip


def ascii_text(text: str, most: int) -> str:
    r"""Return text in printable ASCII, at most so many characters: Müller becomes Muller.

    A letter that has no counterpart becomes "_"; so does "\", which separates values.
    """
    plain = "".join(_PLAIN.get(letter, letter) for letter in text)
    apart = unicodedata.normalize("NFKD", plain)
    kept = (letter for letter in apart if not unicodedata.combining(letter))
    safe = "".join(c if " " <= c <= "~" and c != "\\" else "_" for c in kept)
    return safe[:most].strip()


def declare_character_set(dataset: Dataset) -> None:
    """Set SpecificCharacterSet to Latin-1 where text goes beyond ASCII and none is declared.

    Such a source is invalid. Its bytes are read and written as Latin-1, as most programs do, so
    that they stay what they are.
    """
    declared = str(dataset.get("SpecificCharacterSet") or "").strip()
    if declared in ("", "ISO_IR 6") and not all(text.isascii() for text in _texts(dataset)):
        dataset.SpecificCharacterSet = "ISO_IR 100"


def _texts(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if isinstance(element.value, Items):
            for item in element.value:
                yield from _texts(item)
        elif element.VR in CUSTOMIZABLE_CHARSET_VR:
            yield str(element.value)
