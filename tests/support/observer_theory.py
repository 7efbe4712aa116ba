"""What theory says of a Hotelling observer of a known signal in normal noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from petdiff.evaluation.detection.observers import Values


def hotelling_snr(signal: ArrayLike, covariance: ArrayLike, channels: Values) -> float:
    """Return √(Δv' K⁻¹ Δv) of a known signal in noise of known covariance [voxel, voxel]."""
    delta = channels @ np.ravel(np.asarray(signal, float))
    noise = channels @ np.asarray(covariance, float) @ channels.T
    return float(np.sqrt(delta @ np.linalg.solve(noise, delta)))


def auc_of_snr(snr: float) -> float:
    """Return Φ(SNR/√2): area under the ROC curve of normal scores of equal variance."""
    return float(ndtr(snr / np.sqrt(2)))
