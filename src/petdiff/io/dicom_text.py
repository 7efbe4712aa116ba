"""Text for a derived series that is valid in every character set of its source.

All values of SpecificCharacterSet (0008,0005) include ASCII, also if it is absent. So petdiff
writes ASCII only (DICOM PS3.5 6.1).
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


def ascii_text(text: str, max_characters: int) -> str:
    r"""Return text in printable ASCII, at most `max_characters`: Müller becomes Muller.

    A letter without an ASCII counterpart becomes "_", as does "\", which separates values.
    """
    plain = "".join(_PLAIN.get(letter, letter) for letter in text)
    decomposed = unicodedata.normalize("NFKD", plain)
    letters = (letter for letter in decomposed if not unicodedata.combining(letter))
    safe = "".join(c if " " <= c <= "~" and c != "\\" else "_" for c in letters)
    return safe[:max_characters].strip()


def declare_character_set(dataset: Dataset) -> None:
    """Set SpecificCharacterSet to Latin-1 if text is not ASCII and none is declared.

    Such a source is invalid. Its bytes are read and written as Latin-1, as most programs do, and so
    stay unchanged.
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
