"""Second-order statistics of a layer's input and output, summed up batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import blas
from torch import Tensor

CONSTANT = 1e-5  # variance over mean square below which an input counts as constant


@dataclass(frozen=True)
class LayerStatistics:
    """Moments over all positions of all images, per group of the convolution.

    `hessian` = E[u·uᵀ] − E[u]·E[u]ᵀ of the input columns u (groups × K × K), `cross` = E[u·tᵀ] − E[u]·E[t]ᵀ with the
    float output t before residual and clip (groups × K × rows), and the two means.
    """

    hessian: NDArray[np.float32]
    cross: NDArray[np.float32]
    input_mean: NDArray[np.float32]
    target_mean: NDArray[np.float32]


class Moments:
    """Running sums for `LayerStatistics`; the means are over all positions, the rest over those that were kept."""

    def __init__(self, groups: int, size: int, rows: int) -> None:
        self._second = np.zeros((groups, size, size), np.float32)
        self._cross = np.zeros((groups, size, rows), np.float32)
        self._kept_sums = (np.zeros((groups, size)), np.zeros((groups, rows)))
        self._sums = (np.zeros((groups, size)), np.zeros((groups, rows)))
        self._kept = 0
        self._count = 0

    def add_means(self, columns: Tensor, targets: Tensor) -> None:
        """Count columns (images × groups × K × positions) and targets (… × rows × …) for the means."""
        for total, values in zip(self._sums, (columns, targets), strict=True):
            total += values.sum(3).sum(0, dtype=torch.float64).numpy()
        self._count += columns.shape[0] * columns.shape[3]

    def add(self, columns: Tensor, targets: Tensor) -> None:
        """Count the same for the second moments."""
        groups, size = self._second.shape[:2]
        u = columns.permute(1, 2, 0, 3).reshape(groups, size, -1).numpy()
        t = targets.permute(1, 2, 0, 3).reshape(groups, targets.shape[2], -1).numpy()
        if groups == 1:  # half the work: one triangle only, C order read as Fortran order
            total = blas.ssyrk(1.0, u[0].T, trans=1, beta=1.0, c=self._second[0].T, overwrite_c=1)
            self._second[0] = total.T
        else:
            self._second += np.matmul(u, u.transpose(0, 2, 1))
        self._cross += np.matmul(u, t.transpose(0, 2, 1))
        for total, values in zip(self._kept_sums, (u, t), strict=True):
            total += values.sum(2)
        self._kept += u.shape[2]

    def result(self) -> LayerStatistics:
        """The centred moments."""
        second = self._second
        if len(second) == 1:
            second[0] = np.tril(second[0]) + np.tril(second[0], -1).T
        mean, target_mean = (total / self._kept for total in self._kept_sums)
        hessian = second / self._kept - (mean[:, :, None] * mean[:, None, :]).astype(np.float32)
        cross = self._cross / self._kept - (mean[:, :, None] * target_mean[:, None, :]).astype(np.float32)
        energy = np.einsum("gkk->gk", second) / self._kept
        constant = (
            np.einsum("gkk->gk", hessian) <= CONSTANT * energy
        )  # what float32 sums leave of an input that never varies
        hessian[constant] = 0
        hessian.transpose(0, 2, 1)[constant] = 0
        cross[constant] = 0
        input_mean, target_mean = (total / self._count for total in self._sums)
        return LayerStatistics(*(m.astype(np.float32) for m in (hessian, cross, input_mean, target_mean)))
