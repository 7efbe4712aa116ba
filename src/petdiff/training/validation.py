"""How well the model does on whole scans that training never saw, always the same ones."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from petdiff.data.array_store import Store
from petdiff.evaluation.metrics import psnr
from petdiff.training.process_group import Ranks
from petdiff.training.supply.own_scans import stored_image
from petdiff.volume.regions import body_mask

# Virtual patients below slabs.FIRST_SEED, so that none of them is trained on, in voxels so large
# and stretches so short that they are soon scanned and denoised: (seed, scanner, tracer, extent).
CLINIC = (
    (101, "quadra", "fdg", "abdomen"),
    (102, "vision600", "psma", "pelvis"),
    (103, "uexplorer", "dotatate", "thorax"),
    (104, "discovery-mi", "fapi", "head-neck"),
)
CLINIC_VOXEL_MM = 6.0
DOSE_FACTORS = (4.0, 20.0, 100.0)


@dataclass(frozen=True)
class Scores:
    """PSNR in dB over the body, peak the full-dose scan's maximum; means over the scans, by dose.

    model, measured  dose reduction factor → of the answers, and of the scans as they were
    """

    model: dict[str, float]
    measured: dict[str, float]


def mean_psnr(scores: dict[str, dict[str, float]]) -> float:
    """Of the model over the doses: what decides which step was the best."""
    return float(np.mean(list(scores["model"].values())))


@dataclass(frozen=True)
class Validation:
    """Held-out scans in a store, and how to ask for them.

    names  of the entries, as `store_clinic` and `scans.store_pairs` write them
    steps  how often the model is asked
    """

    store: Store
    names: Sequence[str]
    steps: int

    def judge(self, method: Any, average: nn.Module, ranks: Ranks, picture: Path) -> Scores | None:
        """Scores of the averaged weights, shared out over the processes; None without scans.

        The first scan's lowest dose is drawn as the PNG `picture`.
        """
        if not self.names:
            return None
        twin = copy.copy(method)
        twin.network = copy.deepcopy(average).eval()  # inference changes a network's precision
        part: dict[str, Any] = {}
        for n, name in enumerate(self.names):
            if n % ranks.world == ranks.rank:
                part[name] = self._judge_scan(name, twin, ranks, picture if n == 0 else None)
        by_dose: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for scan in ranks.gather(part).values():
            for dose, decibel in scan.items():
                by_dose[dose].append(decibel)
        doses = sorted(by_dose, key=float)
        model, measured = (
            {dose: round(float(np.mean([pair[n] for pair in by_dose[dose]])), 4) for dose in doses}
            for n in range(2)
        )
        return Scores(model, measured)

    def _judge_scan(
        self, name: str, method: Any, ranks: Ranks, picture: Path | None
    ) -> dict[str, tuple[float, float]]:
        from petdiff.inference.denoise import denoise
        from petdiff.methods.model import Model

        entry = self.store.get(name)
        assert entry is not None
        full = stored_image(entry, "full")
        body, peak = body_mask(full.suv, full.spacing_mm), float(full.suv.max())
        model = Model(method, method.contract({}), "in training", "")
        decibels = {}
        for key, factor in sorted(entry.facts["lows"].items(), key=lambda item: item[1]):
            low = stored_image(entry, key)
            answer = denoise(
                low,
                model,
                steps=min(method.default_steps, self.steps),
                generator=torch.Generator().manual_seed(0),
                device=str(ranks.device),
            ).image
            dose = f"{factor:g}"
            decibels[dose] = (
                psnr(full.suv, answer.suv, peak, body) or np.inf,
                psnr(full.suv, low.suv, peak, body) or np.inf,
            )
        if picture is not None:
            _draw(picture, dose, {"measured": low, "denoised": answer, "full dose": full}, decibels)
        return decibels


def store_clinic(
    store: Store, scans: int, tick: Callable[[int, int], None] | None = None
) -> list[str]:
    """Simulate the first `scans` of the held-out patients, unless that is done; returns names."""
    from petdiff.simulation.study import simulate

    names = []
    chosen = CLINIC[:scans]
    for n, (seed, scanner, tracer, extent) in enumerate(chosen):
        name = f"patient-{seed:05d}"
        if name not in store:
            study = simulate(
                seed,
                scanner=scanner,
                tracer=tracer,
                dose_factors=DOSE_FACTORS,
                voxel_mm=CLINIC_VOXEL_MM,
                extent=extent,
            )
            lows = {f"low_{factor:g}": factor for factor in study.lows}
            arrays = {"full": study.full.suv}
            arrays |= {f"low_{factor:g}": low.suv for factor, low in study.lows.items()}
            store.put(name, arrays, {"lows": lows, "affine": study.full.affine.tolist()})
        names.append(name)
        if tick is not None:
            tick(n + 1, len(chosen))
    return names


def _draw(
    path: Path, dose: str, scans: dict[str, Any], decibels: dict[str, tuple[float, float]]
) -> None:
    from petdiff.report.preview import write_scans

    after, before = decibels[dose]
    path.parent.mkdir(parents=True, exist_ok=True)
    title = f"held-out scan at 1/{dose} dose · PSNR {before:.2f} → {after:.2f} dB"
    write_scans(path, scans, title=title, note=path.stem)
