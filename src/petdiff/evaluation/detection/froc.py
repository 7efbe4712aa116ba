"""Free-response ROC: fraction of lesions found against false foci per scan.

The score of a lesion is that of the best focus on it, -inf without a focus; false foci have their
own scores (Bunch 1978; Chakraborty 1989). Foci of equal score are added together, so that ties give
no advantage. The curve is a step function without interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petdiff.errors import UsageError

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Froc:
    """Points of the curve, from the highest threshold to the lowest; the first is (0, 0).

    A focus counts if its score is at least the threshold.
    """

    threshold: Values
    false_per_scan: Values
    sensitivity: Values

    def area(self, false_per_scan: float) -> float:
        """Return the mean sensitivity from 0 to so many false foci per scan; at most 1."""
        if false_per_scan <= 0:
            raise UsageError(f"area up to {false_per_scan} false foci a scan: give more than 0")
        ends = np.minimum(np.append(self.false_per_scan[1:], np.inf), false_per_scan)
        widths = np.maximum(ends - self.false_per_scan, 0)
        return float((widths * self.sensitivity).sum() / false_per_scan)


def froc(lesion_scores: Sequence[ArrayLike], false_scores: Sequence[ArrayLike]) -> Froc:
    """Return the curve of several scans; each list has the scores of one scan and may be empty.

    Raises UsageError if there are no lesions, or the lists have different numbers of scans.
    """
    if len(lesion_scores) != len(false_scores):
        raise UsageError(
            f"lesions of {len(lesion_scores)} scans, false foci of {len(false_scores)}: "
            "give both of every scan"
        )
    lesions, false = _sorted(lesion_scores), _sorted(false_scores)
    if not lesions.size:
        raise UsageError("no scan has a lesion: sensitivity has no meaning")
    finite = np.concatenate([lesions[np.isfinite(lesions)], false])
    threshold = np.append(np.inf, np.unique(finite)[::-1])
    return Froc(
        threshold,
        _at_or_above(false, threshold) / len(false_scores),
        _at_or_above(lesions, threshold) / len(lesions),
    )


def _sorted(scores: Sequence[ArrayLike]) -> Values:
    joined = np.concatenate([np.ravel(np.asarray(one, float)) for one in scores] or [np.empty(0)])
    return np.asarray(np.sort(joined))


def _at_or_above(ascending: Values, threshold: Values) -> NDArray[np.intp]:
    return len(ascending) - np.searchsorted(ascending, threshold, side="left")
