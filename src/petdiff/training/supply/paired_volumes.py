"""The common form of all training data: a full-dose volume and low-dose volumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class PairedVolumes:
    """A full-dose volume and low-dose volumes of the same object, on one grid [i, j, k].

    full  the full-dose volume
    lows  low-dose volumes by dose reduction factor; None where it is not known
    """

    full: Volume
    lows: Mapping[float | None, Volume]


# Returns the volumes of a number, any from 0 on; the same in every process.
VolumeSource = Callable[[int], PairedVolumes]
