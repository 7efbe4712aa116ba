"""Images become series: complete by number or by silence, whole or refused with a reason."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from petdiff.node.arrivals import NO_ROOM, NOT_UNDERSTOOD, STORED, Arrivals
from petdiff.node.counters import Counters
from petdiff.node.queue import Queue
from petdiff.node.settings import Limits, Listen
from support.dicom_factory import dynamic_slices, pet_slices
from support.node import content, series

QUIET_S = 60.0


class Reception:
    """Arrivals into a queue, with a clock of the test's."""

    def __init__(self, folder: Path, limits: Limits | None = None, **listen: Any) -> None:
        self.now = 0.0
        self.folder, self.listen = folder, Listen(quiet_seconds=QUIET_S, **listen)
        self.limits = limits or Limits(free_gb=0)
        self.counters = Counters()
        self.restart()

    def restart(self) -> None:
        self.queue = Queue(self.folder)
        self.queue.recover()
        self.arrivals = Arrivals(
            self.queue, self.listen, self.limits, self.counters, lambda: self.now
        )

    def store(self, images: Sequence[Dataset], sender: str = "SCANNER") -> list[int]:
        return [self.arrivals.store([content(image)], sender) for image in images]

    def after(self, seconds: float) -> dict[str, int]:
        """The number of series by state, so much later."""
        self.now += seconds
        self.arrivals.collect()
        return {state: count for state, count in self.queue.counts().items() if count}

    def reasons(self) -> list[str]:
        return [entry.reason().strip() for entry in self.queue.entries("discard")]


@pytest.fixture
def reception(tmp_path: Path) -> Reception:
    return Reception(tmp_path)


def test_a_series_is_complete_when_its_number_is_reached(reception: Reception) -> None:
    images = series()
    assert reception.store(images[:-1]) == [STORED] * 3
    assert reception.after(30) == {"receiving": 1}
    reception.store(images[-1:])
    assert reception.after(3) == {"ready": 1}
    [entry] = reception.queue.entries("ready")
    assert entry.image_names() == sorted(str(image.SOPInstanceUID) for image in images)
    assert (entry.images / f"{images[0].SOPInstanceUID}.dcm").read_bytes() == content(images[0])


def test_frames_count(reception: Reception) -> None:
    images = dynamic_slices((10.0, 20.0))
    reception.store(images[:5])
    assert reception.after(3) == {"receiving": 1}
    reception.store(images[5:])
    assert reception.after(3) == {"ready": 1}


def test_without_a_number_silence_completes_a_series(reception: Reception) -> None:
    reception.store(series(NumberOfSlices=None))
    assert reception.after(QUIET_S - 1) == {"receiving": 1}
    assert reception.after(1) == {"ready": 1}


def test_a_number_that_only_the_first_image_has_completes_a_series(reception: Reception) -> None:
    images = series()
    for image in images[1:]:
        image.NumberOfSlices = None
    reception.store(images)
    assert reception.after(3) == {"ready": 1}


def test_more_images_than_the_headers_say_wait_for_silence(reception: Reception) -> None:
    reception.store(series(NumberOfSlices=3))
    assert reception.after(3) == {"receiving": 1}
    assert reception.after(QUIET_S) == {"ready": 1}


def test_half_a_series_is_refused_and_completed_by_what_comes_later(reception: Reception) -> None:
    images = series()
    reception.store(images[:2])
    assert reception.after(QUIET_S) == {"discard": 1}
    assert reception.reasons() == ["incomplete: 2 of 4 images arrived"]
    reception.restart()
    reception.store(images[1:])
    assert reception.after(3) == {"ready": 1}
    assert len(reception.queue.entries("ready")[0].image_names()) == 4


def test_half_a_series_is_denoised_where_that_is_asked_for(tmp_path: Path) -> None:
    reception = Reception(tmp_path, incomplete="denoise")
    reception.store(series()[:2])
    assert reception.after(QUIET_S) == {"ready": 1}


def test_a_series_whose_folder_is_removed_by_hand_holds_up_no_other(
    reception: Reception, capsys: pytest.CaptureFixture[str]
) -> None:
    reception.store(series())
    reception.store(series(SeriesInstanceUID="1.2.3.4"))
    shutil.rmtree(reception.queue.entries("receiving")[0].path)
    assert reception.after(3) == {"ready": 1}
    assert "series 1: its folder was removed" in capsys.readouterr().err
    assert reception.store(series()) == [STORED] * 4  # it can come again
    assert reception.after(3) == {"ready": 2}


def test_a_series_that_a_kill_has_interrupted_goes_on(reception: Reception) -> None:
    images = series()
    reception.store(images[:2])
    reception.restart()
    assert reception.after(QUIET_S - 1) == {"receiving": 1}
    assert reception.store(images) == [STORED] * 4  # the sender begins again
    assert reception.after(3) == {"ready": 1}


def test_the_same_series_twice_is_taken_once(
    reception: Reception, capsys: pytest.CaptureFixture[str]
) -> None:
    images = series()
    reception.store(images)
    reception.after(3)
    assert reception.store(images, "OTHER") == [STORED] * 4
    assert reception.after(QUIET_S) == {"ready": 1}
    assert reception.counters.of("images_repeated") == 4
    assert capsys.readouterr().err.count("series 1: sent again by OTHER") == 1


def test_images_that_come_after_their_series_was_taken_are_refused(reception: Reception) -> None:
    images = series(NumberOfSlices=3)
    reception.store(images[:3])
    reception.after(3)
    reception.store(images[3:])
    assert reception.after(QUIET_S) == {"ready": 1, "discard": 1}
    assert reception.reasons() == ["1 image came after their series was accepted as 1"]


def test_ct_among_pet_is_refused_and_the_pet_is_not(reception: Reception) -> None:
    images = series()
    ct = series(SOPClassUID=CTImageStorage, SeriesInstanceUID=images[0].SeriesInstanceUID)
    reception.store([*images, *ct])
    assert reception.after(3) == {"ready": 1, "receiving": 1}
    assert reception.after(QUIET_S) == {"ready": 1, "discard": 1}
    assert reception.reasons() == ["4 images of CT Image Storage, not PET"]


def test_what_is_no_dicom_is_refused_and_kept_together(reception: Reception) -> None:
    whole = content(series()[0])
    damaged = [
        b"",
        b"nonsense" * 100,
        whole[:700],
        whole.replace(b"\x08\0\x18\0UI", b"\x08\0\x19\0UI"),
    ]
    status = [reception.arrivals.store([one], "SCANNER") for one in damaged]
    assert status == [NOT_UNDERSTOOD] * 4
    assert reception.after(QUIET_S) == {"discard": 1}
    assert reception.reasons() == ["4 files cannot be read as DICOM"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_name_that_leads_elsewhere_is_no_uid(reception: Reception) -> None:
    images = series(edit=lambda k, ds: setattr(ds, "SOPInstanceUID", "../../../etc/x"))
    assert reception.store(images[:1]) == [NOT_UNDERSTOOD]
    assert not any("etc" in path.name for path in reception.folder.rglob("*"))


@pytest.mark.parametrize("limits", [Limits(queue_gb=4e-6, free_gb=0), Limits(free_gb=1e6)])
def test_without_room_images_are_refused_and_the_rest_is_told(
    tmp_path: Path, limits: Limits, capsys: pytest.CaptureFixture[str]
) -> None:
    reception = Reception(tmp_path, limits)
    status = reception.store(series())
    assert NO_ROOM in status
    assert status.count(STORED) < 4
    assert "image of SCANNER refused: no room" in capsys.readouterr().err
    states = reception.after(QUIET_S)
    if STORED in status:
        assert states == {"discard": 1}
        assert reception.reasons()[0].startswith("incomplete: ")
    else:
        assert states == {}


def test_a_disk_that_fills_up_costs_the_image_and_nothing_else(small_disk: Path) -> None:
    reception = Reception(small_disk)
    (small_disk / "filler").write_bytes(bytes(1_000_000))
    images = pet_slices(np.ones((4, 100, 100), np.int16))  # 20 kB each, and 48 kB are left
    status = reception.store(images)
    assert set(status) == {STORED, NO_ROOM}
    (small_disk / "filler").unlink()
    assert reception.store(images) == [STORED] * 4
    assert reception.after(3) == {"ready": 1}
    assert list(reception.queue.incoming.iterdir()) == []
