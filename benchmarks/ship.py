"""Turns trained models into shipped ones: writes their cards into their headers, and a page.

    python benchmarks/ship.py runs equal-budget/summary.json

Every RUNS/METHOD/model.safetensors, flow3d's aside, goes to the package's weights with its scores
in that comparison and its limits. What is printed is the table of docs/reference/models.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from petdiff.methods.model import SHIPPED, load_model, methods, save_model

DATA = "slabs of virtual patients and of abstract bodies, simulated; no patient data"
LIMITS = (
    "For comparison, not for use: trained for minutes on two CPU cores, on simulated scans alone. "
    "Not evaluated on any pair of real scans. Can remove faint lesions."
)
SAMPLING = " A sampler that was trained this little needs its 1000 steps, and is poor even then."


def card(name: str, training: dict[str, Any], scores: dict[str, Any]) -> dict[str, Any]:
    """What the header says of the training: data, budget and scores by dose reduction factor."""
    kept = ("petdiff", "steps", "patches", "seconds", "recipe")
    return {
        "data": DATA,
        **{key: training[key] for key in kept},
        "psnr_db": {
            dose: round(cells[name]["mean"], 2)
            for dose, cells in scores["psnr_db"].items()
            if dose != "overall"
        },
        "scored_on": "benchmarks/equal-budget.toml",
    }


def row(name: str, path: Path, model: Any) -> str:
    training = model.contract.training
    parameters = sum(p.numel() for p in model.network.parameters())
    scores = " | ".join(f"{value:.2f}" for value in training["psnr_db"].values())
    return (
        f"| `{name}` | {parameters:,} | {path.stat().st_size / 1e6:.1f} | {training['steps']:,} | "
        f"{training['seconds'] / 60:.0f} | {scores} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("summary", type=Path)
    options = parser.parse_args()
    scores = json.loads(options.summary.read_text(encoding="utf-8"))["means"]
    for name in methods():
        if name == "flow3d" or not (made := options.runs / name / "model.safetensors").is_file():
            continue
        model = load_model(made)
        limits = LIMITS + (SAMPLING if model.method.default_steps > 1 else "")
        told = {"training": card(name, model.contract.training, scores), "limits": limits}
        path = Path(str(SHIPPED)) / f"{name}.safetensors"
        save_model(path, model.network, model.contract.model_copy(update=told), torch.float16)
        print(row(name, path, load_model(path)))


if __name__ == "__main__":
    main()
