"""Small JSON files beside the weights that they belong to.

They are not in the header of the weights, because they are renewed more often than the weights and
the file of these would have to be stored again. The digest of the weights ties them together.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from petdiff.errors import InputRefused
from petdiff.runs import whole_file

M = TypeVar("M", bound=BaseModel)


def path_beside(weights: Path, suffix: str) -> Path:
    """Return where the file of a weights file is: flow3d.calibration.json of .calibration.json."""
    return weights.with_name(weights.name.removesuffix(".safetensors") + suffix)


def read_beside(path: Path, kind: type[M], what: str) -> M:
    """Return the content of a file. Raises InputRefused where it makes no sense as `what`."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise InputRefused(f"{path}: no {what} ({where}: {first['msg']})") from None


def write_beside(path: Path, content: BaseModel) -> Path:
    """Write a file, whole or not at all; returns its path."""
    with whole_file(path, replace=True) as unfinished:
        unfinished.write_text(content.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path
