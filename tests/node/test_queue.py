"""The queue on disk: each series in one state, whenever the node is killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from petdiff.errors import UsageError
from petdiff.node.entry import RESULT_RECORD, Entry, ResultRecord, write_reason, write_record
from petdiff.node.queue import Queue, bytes_in

DENOISED = ResultRecord(
    made="2.25.9", images=1, sources=("1.2", "1.3"), relative_change=0, seconds=1, warnings=0
)


def restarted(queue: Queue) -> Queue:
    again = Queue(queue.folder)
    again.recover()
    return again


def with_images(queue: Queue, series: str = "1.9") -> Entry:
    entry = queue.create("pet", series, "SCANNER")
    for name in ("1.2", "1.3"):
        (entry.images / f"{name}.dcm").write_bytes(b"x")
    return entry


def answered(entry: Entry) -> None:
    entry.result.mkdir()
    (entry.result / "a.dcm").write_bytes(b"y")
    write_record(entry.result / RESULT_RECORD, DENOISED)


def where(queue: Queue) -> dict[str, int]:
    return {state: count for state, count in queue.counts().items() if count}


def test_numbers_go_up_over_restarts_even_when_all_is_done(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    entry = queue.move(with_images(queue), "sending")
    answered(entry)
    queue.finish(entry, DENOISED, ("pacs",))
    assert where(queue) == {"done": 1}
    assert restarted(queue).create("pet", "1.8", "SCANNER").number == 2


def test_a_series_being_worked_on_goes_back_and_one_with_a_result_goes_on(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    half, whole = (queue.move(with_images(queue, uid), "working") for uid in ("1.8", "1.9"))
    (half.path / ".result.unfinished-12ab").mkdir()
    answered(whole)
    again = restarted(queue)
    assert [entry.number for entry in again.entries("ready")] == [half.number]
    left = {path.name for path in again.entries("ready")[0].path.iterdir()}
    assert left == {"images", "series.json"}
    [sending] = again.entries("sending")
    assert (sending.number, sending.result_record()) == (whole.number, DENOISED)
    assert not sending.images.exists()


def test_a_discard_and_a_finish_that_were_interrupted_are_completed(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    refused = with_images(queue, "1.7")
    write_reason(refused, "no PET")
    sent = queue.move(with_images(queue, "1.8"), "sending")
    answered(sent)
    queue.finish(sent, DENOISED, ("pacs",))
    sent.path.mkdir()  # as if the record had been written, and the folder not removed
    write_record(sent.path / "series.json", sent.origin)
    again = restarted(queue)
    assert where(again) == {"discard": 1, "done": 1}
    assert again.entries("discard")[0].reason() == "no PET\n"


def test_half_made_entries_and_images_are_removed_at_the_start(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    (tmp_path / "receiving" / ".00000007").mkdir()
    (tmp_path / "discard" / ".removed-00000003").mkdir()
    (queue.incoming / "0123").write_bytes(b"half")
    restarted(queue)
    assert [path.name for path in (tmp_path / "receiving").iterdir()] == [".incoming"]
    assert list(queue.incoming.iterdir()) == []
    assert list((tmp_path / "discard").iterdir()) == []


@pytest.mark.parametrize("state", ["ready", "working", "sending", "done"])
def test_what_a_series_was_made_from_is_known_in_every_state(tmp_path: Path, state: str) -> None:
    queue = Queue(tmp_path)
    entry = queue.move(with_images(queue), "ready")
    if state in ("working", "sending", "done"):
        entry = queue.move(entry, "working")
        answered(entry)
    if state in ("sending", "done"):
        entry = queue.move(entry, "sending")
    if state == "done":
        queue.finish(entry, DENOISED, ())
    for one in (queue, restarted(queue)):
        assert one.number_of("1.9") == 1
        assert one.holds_image(1, "1.2")
        assert not one.holds_image(1, "1.4")
    assert queue.number_of("1.8") is None


def test_a_discarded_series_may_come_again(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    entry = queue.move(with_images(queue), "ready")
    queue.discard(entry, "failed 3 times")
    assert queue.number_of("1.9") is None
    assert queue.take_back("1.9") is None  # nothing that comes later would mend it
    queue.discard(with_images(queue, "1.8"), "incomplete: 2 of 3 images arrived")
    taken_back = queue.take_back("1.8")
    assert taken_back is not None
    assert (taken_back.number, taken_back.reason()) == (2, "")
    assert where(queue) == {"discard": 1, "receiving": 1}


def test_old_and_large_refusals_and_old_records_are_removed(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    for n in range(3):
        queue.discard(with_images(queue, f"1.{n}"), "no PET")
    for n in range(3, 5):
        entry = queue.move(with_images(queue, f"1.{n}"), "sending")
        queue.finish(entry, DENOISED, ())
    old = tmp_path / "discard" / "00000003"
    os.utime(old, (0, 0))
    for file in (tmp_path / "done").iterdir():
        os.utime(file, (0, 0))
    assert queue.prune(discard_days=1, discard_bytes=1e6, done_days=1) == 1
    assert [entry.number for entry in queue.entries("discard")] == [1, 2]
    assert [done.origin.number for done in queue.done()] == [5]  # the last keeps the numbers
    assert queue.number_of("1.3") is None
    size = bytes_in(tmp_path / "discard" / "00000002")
    assert queue.prune(discard_days=1, discard_bytes=size + 1, done_days=1) == 1
    assert [entry.number for entry in queue.entries("discard")] == [2]


def test_a_folder_that_cannot_be_made_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"folder .*file"):
        Queue(tmp_path / "file")
