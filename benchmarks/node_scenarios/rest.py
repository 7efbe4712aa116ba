"""The node at rest, and its memory over 200 series."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from node_scenarios.process import NodeProcess, cpu_s, make_series, rss_mib, wait_for
from support.pacs import store, system_program

_REST_S = 120
_MAX_CPU_SHARE = 0.01
_WARM_UP = 20  # series, in which caches fill
_MAX_GROWTH_MIB = 20.0


def rest(folder: Path, count: int = 0) -> dict[str, object]:
    """Run it; return processor share at rest and memory by series."""
    count = count or 200
    with store() as pacs:
        node = NodeProcess(folder, pacs.port, "quiet_seconds = 5\n")
        node.config.write_text(node.config.read_text().replace('"PACS"', '"STORE"'))
        node.start()
        memory: dict[int, dict[str, float]] = {}
        for n in range(count):
            _send(folder / "series", n, node.port)
            if (n + 1) % 20 == 0:
                wait_for(lambda done=n + 1: node.count("done") >= done, 600, "the answers")  # type: ignore[misc]
                memory[n + 1] = _memory(node)
                print(n + 1, memory[n + 1], flush=True)
        share = _cpu_share(node)
        after = _memory(node)
        node.stop()
    growth = {part: after[part] - memory[_WARM_UP][part] for part in after}
    broken = [f"{share:.2%} of a core"] * (share >= _MAX_CPU_SHARE)
    broken += [
        f"{part} grew by {mib:.0f} MiB" for part, mib in growth.items() if mib > _MAX_GROWTH_MIB
    ]
    return {
        "series": count,
        "cpu_share_at_rest": round(share, 5),
        "rest_s": _REST_S,
        "memory_mib": memory,
        "growth_mib_after_warm_up": growth,
        "broken": broken,
    }


def _send(folder: Path, seed: int, port: int) -> None:
    make_series(folder, seed)
    files = sorted(folder.iterdir())
    command = [system_program("storescu"), "-aec", "PETDIFF", "127.0.0.1", str(port), *files]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for file in files:
        file.unlink()


def _memory(node: NodeProcess) -> dict[str, float]:
    main, *workers = node.processes()
    return {"node": round(rss_mib(main), 1), "worker": round(sum(map(rss_mib, workers)), 1)}


def _cpu_share(node: NodeProcess) -> float:
    """Return the share of a core that the node and its workers take while nothing comes."""
    time.sleep(10)
    before = sum(map(cpu_s, node.processes()))
    time.sleep(_REST_S)
    return (sum(map(cpu_s, node.processes())) - before) / _REST_S
