"""Validation: PSNR of whole denoised scans that are not in the training data."""

from __future__ import annotations

import copy
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from petdiff.data.array_store import Store
from petdiff.data.layouts import NOT_STATED, dose_key, dose_text
from petdiff.device import resolve_precision
from petdiff.evaluation.metrics import psnr
from petdiff.image import PETImage
from petdiff.inference.denoise import denoise
from petdiff.methods.base import Method, with_network
from petdiff.methods.model import Model
from petdiff.report.preview import write_scans
from petdiff.training.process_group import ProcessGroup
from petdiff.training.supply.own_pairs import stored_image
from petdiff.volume.regions import Mask, Volume, body_mask

_log = logging.getLogger(__name__)

_PSNR_LIMIT_DB = 100.0

Decibels = dict[str, tuple[float, float]]  # dose reduction factor → denoised, measured


@dataclass(frozen=True)
class Scores:
    """Mean PSNR in dB over the scans, by dose reduction factor.

    It is computed over the body mask; the peak is the full-dose scan's maximum.

    model     PSNR of the denoised scans
    measured  PSNR of the low-dose scans
    """

    model: dict[str, float]
    measured: dict[str, float]


def mean_psnr(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Return the model's mean PSNR over the doses, which selects the best step."""
    return float(np.mean(list(scores["model"].values())))


@dataclass(frozen=True)
class Validation:
    """Held-out scans in a store.

    names  of their entries, as `store_simulated_scans` and `store_pairs` write them
    steps  maximum number of sampling steps
    """

    store: Store
    names: Sequence[str]
    steps: int

    def score(
        self, method: Method, average: nn.Module, group: ProcessGroup, picture: Path
    ) -> Scores | None:
        """Return the scores of the averaged weights; None if no scans are held out.

        The processes share the scans. The first scan at its lowest dose is drawn as the PNG file
        `picture`.
        """
        if not self.names:
            return None
        averaged_method = with_network(method, copy.deepcopy(average).eval())
        part: dict[str, Decibels] = {}
        for n, name in enumerate(self.names):
            if n % group.size == group.rank:
                part[name] = self._score_scan(
                    name, averaged_method, group, picture if n == 0 else None
                )
        by_dose: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for scan in group.gather(part).values():
            for dose, decibels in scan.items():
                by_dose[dose].append(decibels)
        doses = sorted(by_dose, key=lambda dose: 0.0 if dose == NOT_STATED else float(dose))
        model, measured = (
            {dose: round(float(np.mean([pair[n] for pair in by_dose[dose]])), 4) for dose in doses}
            for n in range(2)
        )
        return Scores(model, measured)

    def _score_scan(
        self, name: str, method: Method, group: ProcessGroup, picture: Path | None
    ) -> Decibels:
        """Return the PSNR of one scan at each dose."""
        entry = self.store.get(name)
        assert entry is not None
        full = stored_image(entry, "full")
        body, peak = body_mask(full.values, full.spacing_mm), float(full.values.max())
        model = Model(method, method.card({}), "in training", "")
        # Not int8, which needs ranges of the activations of finished weights.
        dtype = resolve_precision(method.precision, group.device)
        decibels: Decibels = {}
        for key, factor in sorted(entry.facts["lows"].items(), key=lambda item: item[1] or 0.0):
            low = stored_image(entry, key)
            denoised = denoise(
                low,
                model,
                steps=min(method.default_steps, self.steps),
                generator=torch.Generator().manual_seed(0),
                device=str(group.device),
                precision="bfloat16" if dtype == torch.bfloat16 else "float32",
            ).image
            dose = dose_key(factor or None)
            decibels[dose] = (
                _bounded_psnr(full.values, denoised.values, peak, body),
                _bounded_psnr(full.values, low.values, peak, body),
            )
        if picture is not None:
            scans = {"measured": low, "denoised": denoised, "full dose": full}
            _draw(picture, dose_text(factor or None), scans, decibels[dose])
        return decibels


def _bounded_psnr(reference: Volume, test: Volume, peak: float, body: Mask) -> float:
    """Return the PSNR in dB, limited to -100 (also for NaN in `test`) … 100 (equal scans)."""
    if not np.isfinite(test[body]).all():
        return -_PSNR_LIMIT_DB
    value = psnr(reference, test, peak, body)
    return (
        _PSNR_LIMIT_DB if value is None else float(np.clip(value, -_PSNR_LIMIT_DB, _PSNR_LIMIT_DB))
    )


def _draw(path: Path, dose: str, scans: dict[str, PETImage], decibels: tuple[float, float]) -> None:
    after, before = decibels
    title = f"held-out scan, {dose} · PSNR {before:.2f} → {after:.2f} dB"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_scans(path, scans, title=title, note=path.stem)
    except Exception as problem:  # a failed picture must not stop the training
        _log.warning("%s could not be drawn (%s): training continues without it", path, problem)
