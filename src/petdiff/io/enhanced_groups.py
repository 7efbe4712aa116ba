"""The functional groups of a frame of a multi-frame file, and how to set what a header lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom import Dataset


@dataclass(frozen=True)
class FrameGroups:
    """The functional groups of one frame: its own, else those that all frames share."""

    own: Dataset
    shared: Dataset

    def first(self, keyword: str) -> Dataset | None:
        """Return the first item of a group; None where the frame has none."""
        for groups in (self.own, self.shared):
            if items := groups.get(keyword):
                item: Dataset = items[0]
                return item
        return None

    def value(self, group: str, keyword: str) -> Any:
        """Return an attribute of a group; None where it is absent or empty."""
        item = self.first(group)
        return None if item is None else item.get(keyword)


def put(header: Dataset, keyword: str, value: object) -> None:
    """Set an attribute to a new element: headers of one file share theirs."""
    if keyword in header:
        delattr(header, keyword)
    setattr(header, keyword, value)


def fill(header: Dataset, keyword: str, value: object) -> None:
    """Set an attribute that the header lacks or has empty; nothing where there is no value."""
    if value not in (None, "") and header.get(keyword) in (None, ""):
        put(header, keyword, value)
