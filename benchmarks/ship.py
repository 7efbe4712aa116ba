"""Turns trained models into shipped ones: writes their cards into their headers, and a page.

    python benchmarks/ship.py results-small/summary.json runs/*/model.safetensors
    python benchmarks/ship.py default/summary.json flow3d

Every model, a file or a shipped one's name, goes to the package's weights with its limits and its
scores in the comparison whose summary is given: benchmarks/FOLDER.toml, the summary's folder being
called so. What is printed is the table of docs/reference/models.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from petdiff.methods.model import load_model, save_model
from petdiff.methods.weights_files import SHIPPED

DATA = "simulated scans of virtual patients and of abstract bodies; no patient data"
UNPROVEN = (
    "Trained on simulated scans alone, and not evaluated on any pair of real scans: none could be "
    "had. For research, not for diagnosis. Can remove faint lesions."
)
COMPARED = "For comparison with the default, from whose weights it was trained for {} steps. "


def card(
    name: str, training: dict[str, Any], scores: dict[str, Any], cohort: str
) -> dict[str, Any]:
    """Return what the header says of training: data, budget and scores by dose reduction factor."""
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
    """Return a line of the table: size, training and scores."""
    training = model.card.training
    parameters = sum(p.numel() for p in model.network.parameters())
    minutes = f"{training['seconds'] / 60:.0f}"
    scores = " | ".join(f"{value:.2f}" for value in training["psnr_db"].values())
    return (
        f"| `{name}` | {parameters:,} | {path.stat().st_size / 1e6:.1f} | {training['steps']:,} | "
        f"{minutes} | {scores} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("summary", type=Path)
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    cohort = options.summary.resolve().parent.name
    scores = json.loads(options.summary.read_text(encoding="utf-8"))["means"]
    for given in options.models:
        model = load_model(given)
        name = model.card.method
        steps = model.card.training["steps"]
        told = {
            "training": card(name, model.card.training, scores, cohort),
            "limits": UNPROVEN if name == "flow3d" else COMPARED.format(steps) + UNPROVEN,
            "licence": "Apache-2.0",
        }
        path = Path(str(SHIPPED)) / f"{name}.safetensors"
        save_model(path, model.network, model.card.model_copy(update=told), torch.float16)
        print(row(name, path, load_model(name)))


if __name__ == "__main__":
    main()
