"""Second-order statistics of a layer's input and output, summed up batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import blas
from torch import Tensor

Doubles = NDArray[np.float64]
BLOCK = 256  # matrix rows worked on at once
CONSTANT = 1e-6  # variance over mean square below which an input counts as constant


@dataclass(frozen=True)
class LayerStatistics:
    """Moments over all positions of all images, per group of the convolution.

    `energy` is the variance of each input (groups × K), `hessian` = E[u·uᵀ] − E[u]·E[u]ᵀ of the input columns u
    (groups × K × K), `cross` = E[u·tᵀ] − E[u]·E[t]ᵀ with the float output t before residual and clip
    (groups × K × rows). Where only the energy was wanted, the last two are empty.
    """

    energy: NDArray[np.float32]
    hessian: NDArray[np.float32]
    cross: NDArray[np.float32]
    input_mean: NDArray[np.float32]
    target_mean: NDArray[np.float32]

    @property
    def full(self) -> bool:
        """Whether `hessian` and `cross` are there."""
        return bool(self.hessian.size)


class Moments:
    """Running sums for `LayerStatistics`; the means are over all positions, the rest over those that were kept."""

    def __init__(self, groups: int, size: int, rows: int, full: bool) -> None:
        self._full = full
        self._energy = np.zeros((groups, size))
        self._second = np.zeros((groups, size, size) if full else (groups, 0, 0), np.float32)
        self._cross = np.zeros((groups, size, rows) if full else (groups, 0, 0), np.float32)
        self._shift: tuple[Tensor, Tensor] | None = None
        self._kept_sums = (np.zeros((groups, size)), np.zeros((groups, rows)))
        self._sums = (np.zeros((groups, size)), np.zeros((groups, rows)))
        self._kept = 0
        self._count = 0

    def add_means(self, columns: Tensor, targets: Tensor) -> None:
        """Count columns (images × groups × K × positions) and targets (… × rows × …) for the means."""
        self._count += columns.shape[0] * columns.shape[3]
        _add_sums(self._sums, (columns, targets))

    def add(self, columns: Tensor, targets: Tensor) -> None:
        """Count the same for the second moments.

        Columns are taken relative to the first batch's mean: covariances do not change, and float32 sums keep their
        precision where the mean is large beside the deviation.
        """
        if self._shift is None:
            self._shift = columns.mean((0, 3))[None, :, :, None], targets.mean((0, 3))[None, :, :, None]
        columns, targets = columns - self._shift[0], targets - self._shift[1]
        self._kept += columns.shape[0] * columns.shape[3]
        _add_sums(self._kept_sums, (columns, targets))
        if not self._full:
            self._energy += columns.square().sum(3).sum(0, dtype=torch.float64).numpy()
            return
        groups, size = self._energy.shape
        u = columns.permute(1, 2, 0, 3).reshape(groups, size, -1).numpy()
        t = targets.permute(1, 2, 0, 3).reshape(groups, targets.shape[2], -1).numpy()
        if groups == 1:  # half the work: one triangle only, C order read as Fortran order
            total = blas.ssyrk(1.0, u[0].T, trans=1, beta=1.0, c=self._second[0].T, overwrite_c=1)
            self._second[0] = total.T
        else:
            self._second += np.matmul(u, u.transpose(0, 2, 1))
        self._cross += np.matmul(u, t.transpose(0, 2, 1))

    def result(self) -> LayerStatistics:
        """The centred moments; the sums are used up."""
        mean, target_mean = (total / self._kept for total in self._kept_sums)
        square = (np.einsum("gkk->gk", self._second) if self._full else self._energy) / self._kept
        energy = square - mean**2
        constant = energy <= CONSTANT * square  # what float32 sums leave of an input that never varies
        energy[constant] = 0
        if self._full:
            for g, (second, cross) in enumerate(zip(self._second, self._cross, strict=True)):
                if len(self._second) == 1:
                    _mirror(second)
                _centre(second, mean[g], mean[g], self._kept)
                _centre(cross, mean[g], target_mean[g], self._kept)
                second[constant[g]] = 0
                second[:, constant[g]] = 0
                cross[constant[g]] = 0
        input_mean, output_mean = (total / self._count for total in self._sums)
        vectors = (v.astype(np.float32) for v in (energy, input_mean, output_mean))
        energy32, input32, output32 = vectors
        return LayerStatistics(energy32, self._second, self._cross, input32, output32)


def _add_sums(totals: tuple[Doubles, Doubles], values: tuple[Tensor, Tensor]) -> None:
    for total, value in zip(totals, values, strict=True):
        total += value.sum(3).sum(0, dtype=torch.float64).numpy()


def _mirror(matrix: NDArray[np.float32]) -> None:
    """Copy the lower triangle to the upper, block by block, so that no second matrix is needed."""
    for start in range(0, len(matrix), BLOCK):
        block = matrix[start : start + BLOCK, start : start + BLOCK]
        block[...] = np.tril(block) + np.tril(block, -1).T
        matrix[start : start + BLOCK, start + BLOCK :] = matrix[start + BLOCK :, start : start + BLOCK].T


def _centre(sums: NDArray[np.float32], left: Doubles, right: Doubles, count: int) -> None:
    """Turn sums of products into covariances in place."""
    for start in range(0, len(sums), BLOCK):
        part = sums[start : start + BLOCK]
        part /= np.float32(count)
        part -= np.outer(left[start : start + BLOCK], right).astype(np.float32)
