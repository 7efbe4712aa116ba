"""The process that denoises: it loads the model once, then takes one series after the other.

It runs as `python -m petdiff.node.worker`, and ends when the node does. A crash here costs an
attempt at one series, and never the receiving of others.
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
from petdiff.device import describe_device, resolve_device
from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.methods.model import Model, load_model
from petdiff.module.inputs import pet_series_of
from petdiff.module.series import denoise_series
from petdiff.module.settings import ModuleSettings
from petdiff.node.entry import ANSWER, Answer, Entry, read_entry, write_record
from petdiff.node.worker_protocol import Job, Reply
from petdiff.runs import whole_folder
from petdiff.terminal import one_line, prepare_streams

_OWN = "petdiff has made this series: check the rules by which it was sent here"
_NOT_USABLE = "it cannot be denoised; reason.txt says why"


def main() -> int:
    """Serve the node that started this process, until it closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the node's to handle
    prepare_streams()
    # Messages may quote headers: what matters is in the replies.
    logging.getLogger().addHandler(logging.NullHandler())
    logging.captureWarnings(True)
    lines = _lines_until_the_node_ends()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not look like a reply
    settings = ModuleSettings.model_validate_json(lines.get())
    try:
        model = load_model(settings.model)
        device = describe_device(resolve_device(settings.device))
    except (PetdiffError, OSError) as problem:
        _answer(replies, Reply(outcome="unusable", public=one_line(problem)))
        return 1
    _answer(replies, Reply(outcome="ready", public=f"{Path(model.name).name} on {device}"))
    while True:
        job = Job.model_validate_json(lines.get())
        own = settings if job.dose is None else settings.model_copy(update={"dose": job.dose})
        _answer(replies, denoised(Path(job.path), model, own))


def _lines_until_the_node_ends() -> queue.SimpleQueue[str]:
    """Read stdin in a thread, so that the end of the node ends this process at any moment."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _answer(replies: TextIO, reply: Reply) -> None:
    replies.write(reply.model_dump_json() + "\n")
    replies.flush()


def denoised(path: Path, model: Model, settings: ModuleSettings) -> Reply:
    """Denoise the series in a folder; whatever goes wrong is a reply."""
    entry = read_entry(path)
    if entry is None:
        return Reply(outcome="failed", reason="the series is gone", public="it is gone")
    try:
        if any(series.is_own for series in pet_series_of(entry.images)):
            return Reply(outcome="refused", reason=_OWN, public=_OWN)
        _write_result(entry, model, settings)
    except InputRefused as problem:
        return Reply(outcome="refused", reason=one_line(problem), public=_NOT_USABLE)
    except UsageError as problem:  # of the settings: it quotes no header
        reason = one_line(problem)
        return Reply(outcome="refused", reason=reason, public=reason)
    except MemoryError:
        return Reply(outcome="failed", reason="out of memory", public="out of memory")
    except Exception as problem:  # the node must go on whatever it is
        reason = one_line(f"{type(problem).__name__}: {problem}")
        is_full = disk.is_disk_full(problem)
        public = "the disk is full" if is_full else type(problem).__name__
        return Reply(outcome="failed", reason=reason, public=public, disk_full=is_full)
    return Reply(outcome="denoised")


def _write_result(entry: Entry, model: Model, settings: ModuleSettings) -> None:
    """Write result/ beside the images, whole: the denoised files and the answer."""
    with whole_folder(entry.result) as folder:
        made = denoise_series(entry.images, entry.origin.series, model, settings, folder)
        answer = Answer(
            made=made.made or "",
            images=made.images,
            sources=tuple(entry.image_names()),
            relative_change=made.relative_change,
            seconds=made.seconds,
            warnings=len(made.warnings),
        )
        write_record(folder / ANSWER, answer)


if __name__ == "__main__":
    sys.exit(main())
