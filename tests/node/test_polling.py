"""Polling: a series is taken once, when it has stopped growing, unless petdiff has made it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from itertools import cycle, pairwise
from pathlib import Path
from typing import Literal

import pytest
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from petdiff.node.arrivals import Arrivals
from petdiff.node.counters import Counters
from petdiff.node.entry import RESULT_RECORD, ResultRecord, write_record
from petdiff.node.polling import NotReached, OfferedSeries, Poller
from petdiff.node.queue import Queue
from petdiff.node.settings import Limits, Listen
from support.dicom_factory import pet_slices
from support.node import content, series, wait_for


class Server:
    """A source that counts how often each series is fetched.

    reached    whether it answers
    kept_back  number of images of each series that it offers and does not send
    """

    def __init__(self) -> None:
        self.kept_back = 0
        self.offers: dict[str, Sequence[Dataset]] = {}
        self.fetched: list[str] = []
        self.reached = True

    def offer(self, images: Sequence[Dataset]) -> str:
        uid = str(images[0].SeriesInstanceUID)
        self.offers[uid] = images
        return uid

    def series(self) -> list[OfferedSeries]:
        if not self.reached:
            raise NotReached("it cannot be reached")
        return [OfferedSeries("1.2", uid, len(images)) for uid, images in self.offers.items()]

    def images(self, series: OfferedSeries) -> Iterator[bytes]:
        self.fetched.append(series.series)
        images = self.offers[series.series]
        yield from (content(image) for image in images[: len(images) - self.kept_back])


class Polled:
    """A queue that is filled from a server, turn by turn, with a clock of the test's."""

    def __init__(self, folder: Path, incomplete: Literal["discard", "denoise"] = "discard") -> None:
        self.now, self.server = 0.0, Server()
        self.queue = Queue(folder)
        self.queue.recover()
        listen = Listen(quiet_seconds=60, incomplete=incomplete)
        self.arrivals = Arrivals(
            self.queue, listen, Limits(free_gb=0), Counters(), lambda: self.now
        )
        self.stop = threading.Event()
        self.poller = Poller(
            "pacs", self.server, self.queue, self.arrivals, every_s=0.01, stop=self.stop
        )

    def turns(self, count: int, seconds: float = 5.0) -> dict[str, int]:
        for _ in range(count):
            self.poller.step()
            self.now += seconds
            self.arrivals.collect()
        return {state: number for state, number in self.queue.counts().items() if number}


@pytest.fixture
def polled(tmp_path: Path) -> Polled:
    return Polled(tmp_path)


def test_a_series_is_taken_once_when_it_has_stopped_growing(polled: Polled) -> None:
    images = series()
    uid = polled.server.offer(images[:2])
    assert polled.turns(1) == {}
    polled.server.offer(images)
    assert polled.turns(1) == {}
    assert polled.turns(1) == {"ready": 1}
    assert polled.turns(5) == {"ready": 1}
    assert polled.server.fetched == [uid]
    assert polled.queue.entries("ready")[0].origin.sender == "pacs"


def test_a_series_of_unknown_length_is_not_fetched_while_it_waits(polled: Polled) -> None:
    uid = polled.server.offer(series(NumberOfSlices=None))
    assert polled.turns(6) == {"receiving": 1}
    assert polled.turns(10) == {"ready": 1}
    assert polled.server.fetched == [uid]


def test_half_a_series_is_fetched_again_when_it_has_grown(polled: Polled) -> None:
    images = series()
    uid = polled.server.offer(images[:2])
    assert polled.turns(20) == {"discard": 1}
    assert polled.server.fetched == [uid]
    polled.server.offer(images)
    assert polled.turns(3) == {"ready": 1}
    assert polled.server.fetched == [uid, uid]


@pytest.mark.parametrize("slices", [None, 2, 4])
def test_a_part_of_the_images_that_a_server_offers_is_refused(
    polled: Polled, slices: int | None
) -> None:
    """Whatever number of images the headers state."""
    polled.server.offer(series(NumberOfSlices=slices))
    polled.server.kept_back = 2
    assert polled.turns(2) == {"receiving": 1}
    assert polled.turns(11) == {"discard": 1}
    reason = polled.queue.entries("discard")[0].reason().strip()
    assert reason == "incomplete: 2 of 4 images arrived"
    polled.server.kept_back = 0
    assert polled.turns(15) == {"ready": 1}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("slices", [None, 4])
def test_a_picture_within_a_series_is_no_missing_image(
    polled: Polled, first: bool, slices: int | None
) -> None:
    images = series(NumberOfSlices=slices)
    picture = copy.deepcopy(images[0])
    picture.SOPClassUID, picture.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    polled.server.offer([picture, *images] if first else [*images, picture])
    assert polled.turns(15) == {"ready": 1, "discard": 1}
    [entry] = polled.queue.entries("discard")
    assert entry.reason() == "1 image of Secondary Capture Image Storage, not PET\n"


def test_half_a_series_with_a_picture_is_fetched_again(polled: Polled) -> None:
    images = series(NumberOfSlices=None)
    picture = copy.deepcopy(images[0])
    picture.SOPClassUID, picture.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    polled.server.offer([*images[:2], picture, *images[2:]])
    polled.server.kept_back = 1
    assert polled.turns(2, seconds=61) == {"discard": 2}
    polled.server.kept_back = 0
    assert polled.turns(2, seconds=61)["ready"] == 1


def test_a_part_of_the_images_is_fetched_ever_more_rarely_and_ten_times_at_most(
    polled: Polled, capsys: pytest.CaptureFixture[str]
) -> None:
    images = series(NumberOfSlices=None)
    polled.server.offer(images)
    polled.server.kept_back = 2
    count = []
    for _ in range(1100):
        polled.turns(1, seconds=61)  # in which a series that does not grow ends
        count.append(len(polled.server.fetched))
    steps = [count.index(n) for n in range(1, 11)]
    assert [later - former for former, later in pairwise(steps)] == [2**n for n in range(1, 10)]
    assert count[-1] == 10
    assert "pacs lists 4 images of that series: it was fetched 10 times" in capsys.readouterr().err
    polled.server.offer(images[:3])
    polled.server.kept_back = 0
    assert polled.turns(3, seconds=61) == {"ready": 1}


def test_a_series_without_end_is_cut_off(
    polled: Polled, capsys: pytest.CaptureFixture[str]
) -> None:
    images = series()
    uid = polled.server.offer(images)
    polled.server.images = lambda _: cycle(map(content, images))  # type: ignore[method-assign]
    assert polled.turns(3) == {"ready": 1}
    assert "pacs sends more than 8 images of a series: cut off" in capsys.readouterr().err
    assert polled.queue.entries("ready")[0].origin.series == uid


def test_a_series_that_cannot_be_fetched_holds_up_no_other(polled: Polled) -> None:
    lost = [polled.server.offer(series()) for _ in range(2)]
    good = [polled.server.offer(series()) for _ in range(2)]
    send = polled.server.images

    def images(offered: OfferedSeries) -> Iterator[bytes]:
        if offered.series in lost:
            raise NotReached("it answers with HTTP 500")
        return send(offered)

    polled.server.images = images  # type: ignore[method-assign]
    polled.turns(1)
    for _ in range(4):
        with pytest.raises(NotReached):
            polled.poller.step()
    assert sorted(polled.server.fetched) == sorted(good)


def test_a_damaged_image_of_a_source_is_fetched_ever_more_rarely(polled: Polled) -> None:
    images = series()
    uid = polled.server.offer(images)

    def damaged(_: OfferedSeries) -> Iterator[bytes]:
        polled.server.fetched.append(uid)
        yield b"no DICOM"
        yield from map(content, images[1:])

    polled.server.images = damaged  # type: ignore[method-assign]
    polled.turns(32, seconds=61)
    assert len(polled.server.fetched) == 5
    reasons = {entry.reason().strip() for entry in polled.queue.entries("discard")}
    assert reasons == {
        "1 file cannot be read as DICOM",
        "incomplete: 3 of 4 images arrived",
    }


def test_a_part_of_a_series_stays_a_part_after_a_restart(tmp_path: Path, polled: Polled) -> None:
    polled.server.offer(series(NumberOfSlices=None))
    polled.server.kept_back = 2
    assert polled.turns(2) == {"receiving": 1}
    assert Polled(tmp_path).turns(12) == {"discard": 1}


def test_a_part_of_a_series_is_denoised_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    polled = Polled(tmp_path, incomplete="denoise")
    polled.server.offer(series(NumberOfSlices=None))
    polled.server.kept_back = 2
    assert polled.turns(14) == {"ready": 1}
    assert "series 1: denoised with 2 of 4 images" in capsys.readouterr().err


def test_a_refused_series_is_not_fetched_again(polled: Polled) -> None:
    uid = polled.server.offer(series())
    polled.turns(2)
    polled.queue.discard(polled.queue.entries("ready")[0], "a header says so")
    polled.server.offer(pet_slices(SeriesInstanceUID=uid))  # five images, not four
    assert polled.turns(5) == {"discard": 1}
    assert polled.server.fetched == [uid]


@pytest.mark.parametrize("restart", [False, True])
def test_what_petdiff_has_sent_there_is_not_fetched(
    tmp_path: Path, polled: Polled, restart: bool
) -> None:
    entry = polled.queue.create("pet", "1.9", "pacs")
    made = series()
    record = ResultRecord(
        made=str(made[0].SeriesInstanceUID),
        images=4,
        sources=("1.2",),
        relative_change=0,
        seconds=1,
        warnings=0,
    )
    entry.result.mkdir()
    write_record(entry.result / RESULT_RECORD, record)
    entry = polled.queue.move(entry, "sending")
    if restart:
        polled.queue.finish(entry, record, ("pacs",))
        polled = Polled(tmp_path)
    polled.server.offer(made)
    polled.turns(5)
    assert polled.server.fetched == []


def test_a_server_that_is_away_is_asked_again_and_named_once(
    polled: Polled, capsys: pytest.CaptureFixture[str]
) -> None:
    polled.server.reached = False
    polled.poller.start()
    wait_for(lambda: polled.poller.last_failure == "it cannot be reached")
    polled.server.reached = True
    polled.server.offer(series())
    wait_for(lambda: polled.server.fetched and not polled.poller.last_failure)
    polled.stop.set()
    polled.poller.join(5)
    assert len(polled.server.fetched) == 1
    assert polled.poller.last_failure == ""
    assert (
        capsys.readouterr().err.count("pacs cannot be searched or read: it cannot be reached") == 1
    )
