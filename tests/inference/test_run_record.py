"""run.json is read as it was written, and another file is refused in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from petdiff.errors import InputRefused
from petdiff.image import PETImage
from petdiff.inference.run_record import RunRecord, ScanFacts, read_run_record
from petdiff.runs import write_json
from support.run_records import run_record

IMAGE = PETImage(np.ones((6, 7, 8), dtype=np.float32), np.diag([4.0, 4, 5, 1]))
Content = dict[str, object]


def written(folder: Path) -> RunRecord:
    """Write a record and return it."""
    record = RunRecord.model_validate(run_record(IMAGE, IMAGE).model_dump() | {"missing": {}})
    write_json(folder / "run.json", record)
    return record


def test_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = written(tmp_path)
    assert read_run_record(tmp_path / "run.json") == record
    assert record.input.suv.factor == [0.5, 0.25]


def test_names_that_are_not_utf_8_are_read_as_they_were_written(tmp_path: Path) -> None:
    record = written(tmp_path)
    name = os.fsdecode(b"/data/caf\xe9.nii")
    options = record.options.model_copy(update={"scan": name})
    write_json(tmp_path / "run.json", record.model_copy(update={"options": options}))
    assert read_run_record(tmp_path / "run.json").options.scan == name


def test_facts_that_only_one_file_format_has_are_read() -> None:
    image = PETImage(IMAGE.values, IMAGE.affine, facts={"reconstruction": "OSEM", "tracer": "FDG"})
    facts = ScanFacts.of(image)
    assert facts.tracer == "FDG"
    assert facts.model_dump(mode="json")["reconstruction"] == "OSEM"


def without(name: str) -> Callable[[Content], Content]:
    return lambda content: {key: value for key, value in content.items() if key != name}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda content: [], "valid dictionary"),
        (lambda content: {"patient": {}}, "options"),
        (without("denoising"), "denoising"),
        (without("finished"), "finished: missing"),
        (lambda content: content | {"seconds": "long"}, "seconds"),
    ],
)
def test_an_invalid_record_is_refused_and_the_entry_named(
    change: Callable[[Content], object], named: str, tmp_path: Path
) -> None:
    written(tmp_path)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(change(json.loads(path.read_text("utf-8")))), encoding="utf-8")
    with pytest.raises(InputRefused, match=named) as refused:
        read_run_record(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00"])
def test_invalid_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputRefused):
        read_run_record(tmp_path / "run.json")
