"""50 series from 3 PACS at once, while the node is killed 10 times at random moments."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np
import pydicom

from node_scenarios.process import NodeProcess, make_series, wait_for
from petdiff.denoising.request import Request
from petdiff.denoising.scan import denoise_scan
from petdiff.io import read_static
from support.pacs import fetch, orthanc, system_program

_KILLS, _SENDERS = 10, 3


def killed(folder: Path, count: int = 0) -> dict[str, object]:
    """Run it; return what came of it."""
    count = count or 50
    sources = [folder / "sources" / f"{n:03d}" for n in range(count)]
    uids = [make_series(source, seed) for seed, source in enumerate(sources)]
    chance, start = random.Random(0), time.monotonic()
    with ExitStack() as stack:
        (folder / "pacs").mkdir()
        dicom, http = stack.enter_context(orthanc(folder / "pacs", DicomAet="PACS"))
        node = NodeProcess(folder, dicom, "quiet_seconds = 20\n")
        senders = [
            stack.enter_context(_sender(folder / f"sender{n}", n, node.port))
            for n in range(_SENDERS)
        ]
        for n, (dicom_of_sender, _) in enumerate(senders):
            _fill(sources[n::_SENDERS], dicom_of_sender)
        node.start()
        threads = [
            threading.Thread(target=_send_all, args=(http_of_sender,))
            for _, http_of_sender in senders
        ]
        for thread in threads:
            thread.start()
        kills = _kill_at_random(node, threads, count, chance)
        wait_for(lambda: node.count("done") >= count, 1800, "all answers")
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - start
        arrived = _fetched(http, folder / "arrived")
        node.stop()
        discarded = node.count("discard")
    report = _compared(sources, uids, arrived, folder)
    broken = report["broken"]
    assert isinstance(broken, list)
    if kills < _KILLS or discarded:
        broken.append(f"{kills} kills, {discarded} discarded")
    return {"series": count, "kills": kills, "seconds": round(seconds), **report}


def _sender(folder: Path, n: int, port: int) -> AbstractContextManager[tuple[int, int]]:
    folder.mkdir()
    modalities = {"node": ["PETDIFF", "127.0.0.1", port]}
    return orthanc(folder, DicomAet=f"SENDER{n}", DicomModalities=modalities)


def _fill(sources: Sequence[Path], port: int) -> None:
    for source in sources:
        command = [system_program("storescu"), "127.0.0.1", str(port), *sorted(source.iterdir())]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _send_all(http: int) -> None:
    """Let a PACS send each of its series, again and again until it says that it went well."""
    for series in json.loads(fetch(http, "series")):
        while not _sent(http, series):
            time.sleep(1)


def _sent(http: int, series: str) -> bool:
    url = f"http://127.0.0.1:{http}/modalities/node/store"
    try:
        with urllib.request.urlopen(url, data=series.encode(), timeout=120) as answer:
            return json.loads(answer.read())["FailedInstancesCount"] == 0
    except OSError:
        return False


def _kill_at_random(
    node: NodeProcess, threads: Sequence[threading.Thread], count: int, chance: random.Random
) -> int:
    """Kill and start the node; half of the kills come while it starts. Return how many."""
    for n in range(_KILLS):
        if node.count("done") >= count:
            return n
        time.sleep(chance.uniform(0.2, 8))
        node.kill()
        node.start(wait_s=0 if n % 4 == 3 else 120)
    wait_for(node.answers, 120, "the node to listen")
    return _KILLS


def _fetched(http: int, folder: Path) -> dict[str, Path]:
    """Fetch every image of the destination; return the folder of each series."""
    folders = {}
    for series in json.loads(fetch(http, "series?expand")):
        uid = series["MainDicomTags"]["SeriesInstanceUID"]
        folders[uid] = folder / uid
        folders[uid].mkdir(parents=True)
        for instance in series["Instances"]:
            content = fetch(http, f"instances/{instance}/file")
            (folders[uid] / f"{instance}.dcm").write_bytes(content)
    return folders


def _compared(
    sources: Sequence[Path], uids: Sequence[str], arrived: dict[str, Path], folder: Path
) -> dict[str, object]:
    """Compare what has arrived with what `petdiff denoise` makes of the sources."""
    broken: list[str] = []
    of_image = {
        str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID): source
        for source in sources
        for file in source.iterdir()
    }
    answers: Counter[Path] = Counter()
    differences, new_errors = 0, 0
    for uid, images in arrived.items():
        files = sorted(images.iterdir())
        header = pydicom.dcmread(files[0])
        reference = str(header.SourceImageSequence[0].ReferencedSOPInstanceUID)
        source = of_image[reference]
        answers[source] += 1
        if len(files) != len(list(source.iterdir())):
            broken.append(f"{uid} has {len(files)} images")
        plain = folder / "plain"
        denoise_scan(Request(source), plain)
        same = np.array_equal(read_static(images).values, read_static(plain / "denoised").values)
        shutil.rmtree(plain)
        differences += not same
        new_errors += bool(_errors(files[0]) - _errors(next(source.iterdir())))
    broken += [f"{len(arrived)} answers"] * (len(arrived) != len(uids))
    broken += ["a series was answered twice"] * (max(answers.values(), default=0) > 1)
    broken += [f"{differences} differ from denoise"] * (differences > 0)
    broken += [f"{new_errors} with new errors of dciodvfy"] * (new_errors > 0)
    return {
        "answers": len(arrived),
        "lost": len(uids) - len(answers),
        "twice": sum(n > 1 for n in answers.values()),
        "different_from_denoise": differences,
        "new_dciodvfy_errors": new_errors,
        "broken": broken,
    }


def _errors(file: Path) -> set[str]:
    report = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False)
    return {line for line in (report.stdout + report.stderr).splitlines() if "Error" in line[:6]}
