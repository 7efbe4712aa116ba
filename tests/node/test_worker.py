"""The worker with a real model: pixels as those of denoise, refusals that name no header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petdiff.denoising.request import Request
from petdiff.denoising.scan import denoise_scan
from petdiff.inference.options import DenoiseOptions
from petdiff.io import read_static
from petdiff.methods.model import Model, load_model
from petdiff.module.settings import ModuleSettings
from petdiff.node.entry import Entry
from petdiff.node.queue import Queue
from petdiff.node.worker import denoise_entry
from support.dicom_factory import pet_slices
from support.router import PIXELS


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("flow3d")


def working(folder: Path, **attributes: object) -> Entry:
    """A series that a worker has."""
    queue, images = Queue(folder / "queue"), pet_slices(PIXELS, **attributes)
    entry = queue.create("pet", str(images[0].SeriesInstanceUID), "SCANNER")
    for image in images:
        image.save_as(entry.images / f"{image.SOPInstanceUID}.dcm", enforce_file_format=True)
    return queue.move(entry, "working")


def test_pixels_are_those_of_denoise_and_own_series_are_refused(
    tmp_path: Path, model: Model
) -> None:
    entry = working(tmp_path)
    settings = ModuleSettings.of({"dose": "1/4", "seed": 3})
    assert denoise_entry(entry.path, model, settings).outcome == "denoised"
    options = DenoiseOptions(drf=4, seed=3)
    denoise_scan(Request(entry.images, options=options), tmp_path / "plain")
    expected = read_static(tmp_path / "plain" / "denoised")
    np.testing.assert_array_equal(read_static(entry.result).values, expected.values)
    record = entry.result_record()
    assert record is not None
    assert (record.images, len(record.sources)) == (16, 16)
    assert {file.name.partition("#")[0] for file in entry.result_files()} == {record.made}
    for file in entry.result_files():  # it comes back to the node
        file.rename(entry.images / file.name.partition("#")[2])
    for source in record.sources:
        (entry.images / f"{source}.dcm").unlink()
    reply = denoise_entry(entry.path, model, settings)
    assert (reply.outcome, "petdiff has made this series" in reply.public) == ("refused", True)


def test_what_is_refused_is_told_in_full_but_not_to_the_log(tmp_path: Path, model: Model) -> None:
    entry = working(tmp_path, Modality="XYLO")
    reply = denoise_entry(entry.path, model, ModuleSettings())
    assert reply.outcome == "refused"
    assert "XYLO" in reply.reason
    assert "XYLO" not in reply.public
    assert not entry.result.exists()
