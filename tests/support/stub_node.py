"""Runs a node with a stub for a worker, as a process that a test may kill.

Arguments: the TOML file, the stub's behaviour.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from petdiff.node.run import Node
from petdiff.node.settings import read_settings

if __name__ == "__main__":
    worker = [sys.executable, str(Path(__file__).with_name("stub_worker.py")), sys.argv[2]]
    Node(read_settings(Path(sys.argv[1])), worker).run(threading.Event())
