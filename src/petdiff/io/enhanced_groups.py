"""Read the functional groups of a multi-frame file, and set attributes of a header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom import Dataset


@dataclass(frozen=True)
class FrameGroups:
    """The functional groups of one frame: its own, else those that all frames share."""

    own: Dataset
    shared: Dataset

    def items(self, keyword: str) -> list[Dataset]:
        """Return all items of a group; empty if the frame has none."""
        return list(self.own.get(keyword) or self.shared.get(keyword) or [])

    def first(self, keyword: str) -> Dataset | None:
        """Return the first item of a group; None if the frame has none."""
        return next(iter(self.items(keyword)), None)

    def value(self, group: str, keyword: str) -> Any:
        """Return an attribute of a group; None if it is absent or empty."""
        item = self.first(group)
        return None if item is None else item.get(keyword)


def put(header: Dataset, keyword: str, value: object) -> None:
    """Set an attribute to a new element, because headers of one file share elements."""
    if keyword in header:
        delattr(header, keyword)
    setattr(header, keyword, value)


def fill(header: Dataset, keyword: str, value: object) -> None:
    """Set an attribute that is absent or empty in the header, if there is a value."""
    if value not in (None, "") and header.get(keyword) in (None, ""):
        put(header, keyword, value)
