"""Band matrices, multiplied block by block; most of their zeros are skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# numpy arrays on the CPU, torch tensors on a device.
Array = Any


class Banded:
    """A matrix [row, column] divided into bands of rows, each without its columns of zeros.

    `as_array` converts each band to the array type and device of the product: numpy's or torch's.
    """

    def __init__(
        self,
        matrix: NDArray[np.float32],
        band_rows: int,
        as_array: Callable[[NDArray[np.float32]], Array] = np.ascontiguousarray,
    ) -> None:
        self.rows = len(matrix)
        self.bands: list[tuple[slice, slice, Array]] = []
        for start in range(0, len(matrix), band_rows):
            rows = slice(start, min(start + band_rows, len(matrix)))
            used = np.flatnonzero(matrix[rows].any(axis=0))
            columns = slice(int(used[0]), int(used[-1]) + 1)
            self.bands.append((rows, columns, as_array(matrix[rows, columns])))

    def __matmul__(self, values: Array) -> Array:
        """Return [..., row, x] for [..., column, x], on the device of the values."""
        shape = (*values.shape[:-2], self.rows, values.shape[-1])
        if isinstance(values, np.ndarray):
            product: Array = np.empty(shape, values.dtype)
            for rows, columns, band in self.bands:
                np.matmul(band, values[..., columns, :], out=product[..., rows, :])
            return product
        product = values.new_empty(shape)
        for rows, columns, band in self.bands:
            product[..., rows, :] = band @ values[..., columns, :]
        return product
