"""`petdiff node`: a DICOM node with the settings of a TOML file."""

from __future__ import annotations

from pathlib import Path

from petdiff.node.run import run_node


def serve(config: Path) -> None:
    """Run the node until it is stopped. Raises UsageError where the settings are wrong."""
    run_node(config)
