"""Turns trained models into shipped ones: writes their cards into their headers, and a page.

    python benchmarks/ship.py runs equal-budget/summary.json default/summary.json

Every RUNS/METHOD/model.safetensors goes to the package's weights with its scores in the first
comparison and its limits; flow3d aside, which was trained longer and is there: it gets its card
anew, with its scores in the second. What is printed is the table of docs/reference/models.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from petdiff.methods.model import SHIPPED, load_model, methods, save_model

DATA = "slabs of virtual patients and of abstract bodies, simulated; no patient data"
UNPROVEN = (
    "Trained on simulated scans alone, and not evaluated on any pair of real scans: none could be "
    "had. For research, not for diagnosis. Can remove faint lesions."
)
BRIEF = "For comparison, not for use: trained for minutes on one CPU core. "


def card(
    name: str, training: dict[str, Any], scores: dict[str, Any], cohort: str
) -> dict[str, Any]:
    """What the header says of the training: data, budget and scores by dose reduction factor."""
    kept = ("petdiff", "steps", "patches", "seconds", "recipe", "init", "note")
    return {
        "data": DATA,
        **{key: training[key] for key in kept if key in training},
        "psnr_db": {
            dose: round(cells[name]["mean"], 2)
            for dose, cells in scores["psnr_db"].items()
            if dose != "overall"
        },
        "scored_on": f"benchmarks/{cohort}.toml",
    }


def row(name: str, path: Path, model: Any) -> str:
    """A line of the table: size, training and scores."""
    training = model.contract.training
    parameters = sum(p.numel() for p in model.network.parameters())
    minutes = f"{training['seconds'] / 60:.0f}"
    scores = " | ".join(f"{value:.2f}" for value in training["psnr_db"].values())
    return (
        f"| `{name}` | {parameters:,} | {path.stat().st_size / 1e6:.1f} | {training['steps']:,} | "
        f"{minutes} | {scores} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("equal_budget", type=Path)
    parser.add_argument("default", type=Path)
    options = parser.parse_args()
    for name in methods():
        path = Path(str(SHIPPED)) / f"{name}.safetensors"
        default = name == "flow3d"
        model = load_model(path if default else options.runs / name / "model.safetensors")
        summary = options.default if default else options.equal_budget
        scores = json.loads(summary.read_text(encoding="utf-8"))["means"]
        cohort = "default" if default else "equal-budget"
        told = {
            "training": card(name, model.contract.training, scores, cohort),
            "limits": UNPROVEN if default else BRIEF + UNPROVEN,
        }
        save_model(path, model.network, model.contract.model_copy(update=told), torch.float16)
        print(row(name, path, load_model(path)))


if __name__ == "__main__":
    main()
