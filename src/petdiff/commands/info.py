"""`petdiff info`: what this installation can do, or what a scan or a model file is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from petdiff import __version__
from petdiff.records import NOTICE, package_versions


def describe(file: Path | None, *, as_json: bool = False) -> str:
    """The description as lines for a person, or as JSON."""
    if file is None:
        found = describe_installation()
    elif file.suffix == ".safetensors" or _is_shipped(file):
        found = describe_model(file)
    else:
        found = describe_scan(file)
    if as_json:
        return json.dumps(found, indent=2, ensure_ascii=False)
    return "\n".join(_lines(found))


def _is_shipped(file: Path) -> bool:
    from petdiff.methods.model import shipped_models

    return not file.exists() and str(file) in shipped_models()


def describe_installation() -> dict[str, Any]:
    """Versions, devices and shipped models."""
    from petdiff.device import describe_device, resolve_device, resolve_precision
    from petdiff.methods.model import shipped_models

    device = resolve_device("auto")
    return {
        "petdiff": __version__,
        "notice": NOTICE,
        "versions": package_versions(),
        "device": describe_device(device),
        "precision": str(resolve_precision("auto", device)).removeprefix("torch."),
        "models": shipped_models(),
    }


def describe_model(path: Path) -> dict[str, Any]:
    """The contract in a model's header, its size and its hash; of a file, or of a shipped name."""
    from petdiff.methods.model import load_model

    model = load_model(path)
    parameters = sum(p.numel() for p in model.network.parameters())
    contract = model.contract.model_dump()
    return {"file": str(path), "sha256": model.sha256, "parameters": parameters, **contract}


def describe_scan(path: Path) -> dict[str, Any]:
    """Grid, unit, range and acquisition of a scan."""
    from petdiff.io import read

    image = read(path)
    return {
        "file": str(path),
        "shape": list(image.shape),
        "spacing_mm": [round(size, 4) for size in image.spacing_mm],
        "affine": image.affine.round(4).tolist(),
        "unit": image.unit,
        "suv_range": [float(image.values.min()), float(image.values.max())],
        **image.facts,
    }


def _lines(content: dict[str, Any], indent: str = "") -> list[str]:
    """`name  value` lines, with what lies deeper indented below its name."""
    lines = []
    width = max((len(name) for name in content), default=0) + 2
    for name, value in content.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{name}", *_lines(value, indent + "  ")]
        elif value not in (None, "", [], {}):
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            lines.append(f"{indent}{name:<{width}}{shown}")
    return lines
