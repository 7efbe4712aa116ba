"""Runs a node with a stub for a worker, as a process that a test may kill.

Arguments: the TOML file, the stub's behaviour.
"""

from __future__ import annotations

import sys
from pathlib import Path

from petdiff.invocation import stop_on_signals
from petdiff.node.run import run_node

if __name__ == "__main__":
    worker = [sys.executable, str(Path(__file__).with_name("stub_worker.py")), sys.argv[2]]
    stop_on_signals()
    run_node(Path(sys.argv[1]), worker)
