"""The distribution of features of ordinary scans, and the distance of a scan from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from petdiff.image import PETImage
from petdiff.methods.weights_files import path_beside, read_beside, write_beside
from petdiff.uncertainty.alarm.features import WORDS, scan_features
from petdiff.uncertainty.alarm.record import AlarmRecord, FeatureDeviation, MeanSUV

SUFFIX = ".reference.json"
MAX_UNLIKE = 3
# Lower bounds of deviations, for features that vary less in simulated scans than in real ones.
_MIN_DEVIATION = {"field": 0.2, "section": 0.4, "length": 1.0, "air": 1.0, "axial": 0.2}
_RIDGE = 0.05  # lower bound of the variance of a combination of correlated features
MIN_LENGTH_MM = 700.0  # of the body in the scan; the mean SUV of a shorter part can have any value
# 0.55 to 0.93 in simulated whole bodies and trunks of four tracers; explanation/alarm.md
MEAN_SUV_BOUNDS = (0.5, 1.25)
Values = NDArray[np.float64]


class Reference(BaseModel, frozen=True, extra="forbid"):
    """The distribution of features over the ordinary scans of a model.

    weights_sha256  of the model's weights
    scans           description of the scans
    features        names, in the order of mean, deviation and correlation
    """

    weights_sha256: str
    scans: str
    features: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    correlation: tuple[tuple[float, ...], ...]
    threshold: float

    @classmethod
    def fit(
        cls, scans: Sequence[Mapping[str, float]], *, weights_sha256: str, what: str,
        threshold: float,
    ) -> Reference:  # fmt: skip
        """Return the reference of some scans, with the features that all of them have."""
        names = tuple(name for name in WORDS if all(name in one for one in scans))
        table = np.array([[one[name] for name in names] for one in scans])
        mean, own = table.mean(axis=0), table.std(axis=0)
        deviation = np.maximum(own, [_MIN_DEVIATION.get(name, 1e-3) for name in names])
        spread = (table - mean) / np.maximum(own, 1e-9)
        return cls(
            weights_sha256=weights_sha256,
            scans=what,
            features=names,
            mean=tuple(mean.round(5)),
            deviation=tuple(deviation.round(5)),
            correlation=tuple(tuple(row) for row in (spread.T @ spread / len(table)).round(5)),
            threshold=threshold,
        )

    def compare(self, found: Mapping[str, float]) -> AlarmRecord:
        """Compare a scan with these features with the ordinary scans.

        The score is the Mahalanobis distance over the root of the number of features.
        """
        known = [n for n, name in enumerate(self.features) if name in found]
        z = np.array([(found[self.features[n]] - self.mean[n]) / self.deviation[n] for n in known])
        correlation = np.array(self.correlation)[np.ix_(known, known)]
        shrunk = (1 - _RIDGE) * correlation + _RIDGE * np.eye(len(known))
        distance = float(np.sqrt(z @ np.linalg.solve(shrunk, z) / max(len(known), 1)))
        score = round(distance, 3)  # as it is recorded and compared with the threshold
        order = np.argsort(-np.abs(z))[:MAX_UNLIKE]
        mean = mean_suv(found)
        return AlarmRecord(
            score=score,
            threshold=self.threshold,
            alarm=score > self.threshold or (mean is not None and not mean.is_possible),
            unlike=tuple(
                FeatureDeviation(
                    feature=WORDS[self.features[known[n]]], deviations=round(float(z[n]), 2)
                )
                for n in order
            ),
            unknown=tuple(WORDS[name] for name in self.features if name not in found),
            mean_suv=mean,
        )


def mean_suv(found: Mapping[str, float]) -> MeanSUV | None:
    """Return the mean SUV of the body and its bounds from a scan's features.

    SUV is activity per gram of tissue over injected activity per gram of body, decay corrected. Its
    mean over the whole body is therefore the share of the injected activity that is not excreted,
    slightly below 1. The mean of the trunk is about the same. That of a head, an abdomen or a
    pelvis depends on the uptake of its organs, differs tenfold between tracers, and cannot be
    checked.

    Returns None if the scan is not in SUV, is short, or is cropped within the body.
    """
    if "scale" not in found or "field" not in found or np.exp(found["length"]) < MIN_LENGTH_MM:
        return None
    low, high = MEAN_SUV_BOUNDS
    return MeanSUV(mean=round(float(np.exp(found["scale"])), 4), low=low, high=high)


def load_reference(weights: Path, sha256: str) -> Reference | None:
    """Return the reference beside a weights file; None if there is none for these weights.

    Raises InputRefused if the file is invalid.
    """
    path = reference_path(weights)
    if not path.is_file():
        return None
    found = read_beside(path, Reference, "reference")
    return found if found.weights_sha256 == sha256 else None


def save_reference(weights: Path, reference: Reference) -> Path:
    """Write a reference beside a weights file, complete or not at all, and return its path."""
    return write_beside(reference_path(weights), reference)


def reference_path(weights: Path) -> Path:
    """Return the path of the reference of a weights file, such as flow3d.reference.json."""
    return path_beside(weights, SUFFIX)


def alarm(image: PETImage, reference: Reference) -> AlarmRecord:
    """Compare a scan with a model's ordinary scans."""
    return reference.compare(scan_features(image))
