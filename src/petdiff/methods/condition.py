"""What every method makes of a scan before its network is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class BoundScan(ABC):
    """A whole scan in a method's domain.

    fields  what the network sees of the scan [c, i, j, k]
    """

    fields: Tensor

    @abstractmethod
    def decode(self, x: Tensor) -> Tensor:
        """The domain [i, j, k] → SUV."""

    def settle(self, answer: Tensor) -> Tensor:
        """x0 [i, j, k] with what must hold for the volume as a whole, from answers [c, i, j, k]."""
        return answer[0]

    def spread(self, of_samples: Tensor) -> Tensor:
        """Standard deviation [i, j, k] of the full-dose scan about the answer, from the samples'.

        Both in SUV; they differ by what all samples share with the scan, its noise included.
        """
        return of_samples
