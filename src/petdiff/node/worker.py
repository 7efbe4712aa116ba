"""The worker process: it loads the model once, then denoises one series after the other.

It runs as `python -m petdiff.node.worker`, and ends when the node does. If it crashes, one attempt
at one series fails, and the node continues to receive others.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import TextIO

from petdiff import disk
from petdiff.device import describe_device
from petdiff.errors import InputRefused, PetdiffError, UsageError, with_plain_names
from petdiff.inference.session import Session
from petdiff.methods.model import Model, load_model
from petdiff.module.inputs import find_pet_series
from petdiff.module.series import denoise_series
from petdiff.module.settings import ModuleSettings
from petdiff.node.entry import RESULT_RECORD, Entry, ResultRecord, read_entry, write_record
from petdiff.node.worker_protocol import Job, Reply
from petdiff.runs import whole_folder
from petdiff.terminal import one_line, prepare_streams

_OWN = "petdiff has made this series: check the rules by which it was sent here"
_NOT_USABLE = "it cannot be denoised; reason.txt says why"


def main() -> int:
    """Serve the node that started this process, until it closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the node handles Ctrl-C
    prepare_streams()
    # Log messages may quote headers and are dropped; the replies have the reasons.
    logging.getLogger().addHandler(logging.NullHandler())
    logging.captureWarnings(True)
    lines = _lines_until_the_node_ends()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # output of libraries must not mix with the replies
    settings = ModuleSettings.model_validate_json(lines.get())
    try:
        model = load_model(settings.model)
        session = Session(model, settings.options())  # raises for settings that fit no series
    except (PetdiffError, OSError) as problem:
        _send(replies, Reply(outcome="unusable", public=_reason(problem)))
        return 1
    device = describe_device(session.device)
    del session
    _send(replies, Reply(outcome="ready", public=f"{Path(model.name).name} on {device}"))
    while True:
        job = Job.model_validate_json(lines.get())
        job_settings = (
            settings if job.dose is None else settings.model_copy(update={"dose": job.dose})
        )
        _send(replies, denoise_entry(Path(job.path), model, job_settings))


def _lines_until_the_node_ends() -> queue.SimpleQueue[str]:
    """Read stdin in a thread, so that the end of the node ends this process at any moment."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _send(replies: TextIO, reply: Reply) -> None:
    replies.write(reply.model_dump_json() + "\n")
    replies.flush()


def denoise_entry(path: Path, model: Model, settings: ModuleSettings) -> Reply:
    """Denoise the series in a folder. Each error becomes a reply."""
    entry = read_entry(path)
    if entry is None:
        return Reply(outcome="failed", reason="the series is gone", public="it is gone")
    try:
        if any(series.is_own for series in find_pet_series(entry.images)):
            return Reply(outcome="refused", reason=_OWN, public=_OWN)
        _write_result(entry, model, settings)
    except InputRefused as problem:
        return Reply(outcome="refused", reason=_reason(problem), public=_NOT_USABLE)
    except UsageError as problem:  # of the settings: it quotes no header
        reason = _reason(problem)
        return Reply(outcome="refused", reason=reason, public=reason)
    except MemoryError:
        return Reply(outcome="failed", reason="out of memory", public="out of memory")
    except Exception as problem:  # no error may stop the node
        reason = one_line(f"{type(problem).__name__}: {problem}")
        is_full = disk.is_disk_full(problem)
        public = "the disk is full" if is_full else type(problem).__name__
        return Reply(outcome="failed", reason=reason, public=public, disk_full=is_full)
    return Reply(outcome="denoised")


def _reason(problem: Exception) -> str:
    return one_line(with_plain_names(str(problem)))


def _write_result(entry: Entry, model: Model, settings: ModuleSettings) -> None:
    """Write the folder result/ with the denoised files and their record, whole or not at all."""
    with whole_folder(entry.result) as folder:
        made = denoise_series(entry.images, entry.origin.series, model, settings, folder)
        record = ResultRecord(
            made=made.made or "",
            images=made.images,
            sources=tuple(entry.image_names()),
            relative_change=made.relative_change,
            seconds=made.seconds,
            warnings=len(made.warnings),
        )
        write_record(folder / RESULT_RECORD, record)


if __name__ == "__main__":
    sys.exit(main())
