"""Rewrites the headers of model files, so that their cards are of this version; weights stay.

    python benchmarks/renew_cards.py [FILE ...]

Without files, the shipped models.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors import safe_open

from petdiff.methods.model import load_model, save_model
from petdiff.methods.weights_files import SHIPPED, shipped_models


def stored_type(path: Path) -> torch.dtype:
    """Return the type of the file's tensors, the widest of several."""
    with safe_open(path, framework="pt") as file:
        types = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    return max(types, key=lambda dtype: dtype.itemsize)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    shipped = [Path(str(SHIPPED), f"{name}.safetensors") for name in shipped_models()]
    for path in parser.parse_args().files or shipped:
        model = load_model(path)
        save_model(path, model.network, model.card, stored_type(path))
        print(path.name)


if __name__ == "__main__":
    main()
