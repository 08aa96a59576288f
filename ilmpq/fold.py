"""Arithmetic of folding one linear operation into the weights of another: in float64, stored in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graph import FloatArray

Doubles = NDArray[np.float64]
_CHUNK = 256  # rows at a time, so that a large layer needs no float64 copy of itself


def float32(values: NDArray[np.floating[Any]]) -> FloatArray:
    """The values as stored; one beyond float32 becomes infinite, and `Graph.verify` names its layer."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def scale_rows(weight: FloatArray, scale: Doubles) -> FloatArray:
    """What a layer becomes when its outputs are multiplied with `scale`.

    >>> scale_rows(np.ones((2, 2), np.float32), np.array([2.0, 3.0]))
    array([[2., 2.],
           [3., 3.]], dtype=float32)
    """

    if weight.size and not any(weight.strides) and weight.flat[0] == 0 and np.isfinite(scale).all():
        return weight  # zeros that take no memory, of a network of which only the shapes are wanted

    def change(rows: Doubles, at: slice) -> Doubles:
        return rows * scale[at].reshape(-1, *[1] * (rows.ndim - 1))

    return _by_rows(weight, change)


def scale_columns(weight: FloatArray, scale: Doubles) -> FloatArray:
    """What a linear layer becomes when its inputs are multiplied with `scale`."""
    return _by_rows(weight, lambda rows, _: rows * scale)


def behind_pool(weight: FloatArray, channels: int, source: tuple[int, int], size: tuple[int, int]) -> FloatArray:
    """What a linear layer on a flattened adaptive pool of `size` becomes on the `source` image itself."""
    matrix = np.kron(averaging(source[0], size[0]), averaging(source[1], size[1]))

    def change(rows: Doubles, _: slice) -> Doubles:
        return (rows.reshape(len(rows), channels, -1) @ matrix).reshape(len(rows), -1)

    return _by_rows(weight, change)


def averaging(size: int, regions: int) -> Doubles:
    """The matrix that averages `size` values over `regions` regions as adaptive pooling places them.

    >>> averaging(3, 2)
    array([[0.5, 0.5, 0. ],
           [0. , 0.5, 0.5]])
    """
    matrix = np.zeros((regions, size))
    for i in range(regions):
        first, last = i * size // regions, -(-(i + 1) * size // regions)
        matrix[i, first:last] = 1.0 / (last - first)
    return matrix


def _by_rows(weight: FloatArray, change: Callable[[Doubles, slice], Doubles]) -> FloatArray:
    chunks = [slice(i, i + _CHUNK) for i in range(0, weight.shape[0], _CHUNK)]
    return np.concatenate([float32(change(weight[at].astype(np.float64), at)) for at in chunks])
