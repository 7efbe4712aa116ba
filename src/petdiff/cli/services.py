"""Commands that other programs call or that run until they are stopped."""

from __future__ import annotations

import os

from petdiff.cli.options.node import NodeConfig


def module() -> int:
    """Run as a module of a DICOM router: folders and settings come from the environment."""
    from petdiff.module.run import run_module

    return run_module(os.environ)


def node(config: NodeConfig) -> None:
    """Run a DICOM node: receive PET series, denoise them and send the results on."""
    from petdiff.node.run import run_node

    run_node(config)
