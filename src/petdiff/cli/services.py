"""Commands that other programs call or that run until they are stopped."""

from __future__ import annotations

from petdiff.cli.options.node import NodeConfig


def module() -> int:
    """Run as a module of a DICOM router: folders and settings come from the environment."""
    from petdiff.commands.module import run_as_module

    return run_as_module()


def node(config: NodeConfig) -> None:
    """Run a DICOM node: receive PET series, denoise them and send the results on."""
    from petdiff.commands.node import serve

    serve(config)
