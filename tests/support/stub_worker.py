"""A worker that gives each series back as it is, without a model: what the network tests need.

Its one argument says how it behaves: copy, refuse, fail, die (at every series), die-once (a file
beside the series remembers), full-once (as with a full disk), lost (fails until its process ends,
as after an error of the driver), or unusable (as with a model that is not there).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from petdiff.node.entry import RESULT_RECORD, Entry, ResultRecord, read_entry, write_record
from petdiff.node.worker_protocol import Job, Reply
from petdiff.runs import whole_folder


def main(behaviour: str) -> None:
    sys.stdin.readline()
    if behaviour == "unusable":
        send(Reply(outcome="unusable", public="there is no such model"))
        return
    send(Reply(outcome="ready", public="a stub"))
    for line in sys.stdin:
        entry = read_entry(Path(Job.model_validate_json(line).path))
        assert entry is not None
        send(denoise(entry, behaviour))


def send(reply: Reply) -> None:
    print(reply.model_dump_json(), flush=True)


def denoise(entry: Entry, behaviour: str) -> Reply:
    mark = entry.path / "died"
    if behaviour == "die" or (behaviour == "die-once" and not mark.exists()):
        mark.touch()
        os._exit(7)
    if behaviour == "full-once" and not mark.exists():
        mark.touch()
        return Reply(outcome="failed", public="the disk is full", disk_full=True)
    if behaviour == "refuse" or (behaviour == "copy" and is_own(entry)):
        return Reply(outcome="refused", reason="a header says so", public="see reason.txt")
    if behaviour == "lost":
        if not mark.exists():
            mark.write_text(str(os.getpid()))
        if mark.read_text() == str(os.getpid()):
            return Reply(outcome="failed", public="CUDA error")
    if behaviour == "fail":
        return Reply(outcome="failed", reason="no luck with a header", public="no luck")
    copy(entry)
    return Reply(outcome="denoised")


# What takes a second to import stands where it is used: most of these workers do not live so long.
def is_own(entry: Entry) -> bool:
    from petdiff.module.inputs import find_pet_series

    return any(series.is_own for series in find_pet_series(entry.images))


def copy(entry: Entry) -> None:
    from pydicom import dcmread

    from petdiff.io import Derivation, read, write

    with whole_folder(entry.result) as folder:
        write(read(entry.images), folder / "series", Derivation())
        files = sorted((folder / "series").iterdir())
        made = str(dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)
        for file in files:
            file.rename(folder / f"{made}#{file.name}")
        (folder / "series").rmdir()
        sources = tuple(entry.image_names())
        record = ResultRecord(
            made=made, images=len(files), sources=sources, relative_change=0, seconds=0, warnings=0
        )
        write_record(folder / RESULT_RECORD, record)


if __name__ == "__main__":
    main(sys.argv[1])
