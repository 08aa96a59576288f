"""Rounding a layer's rows with error feedback: each row on its own grid, all rows with one factor of the same matrix.

The cost of rounding a row w to q is d·H·dᵀ with d = q − w, H the covariance of the layer's input columns. With the
Cholesky factor H = L·Lᵀ it is ‖d·L‖², whose term j depends on d_j … d_{K−1} only: so columns are rounded from the last
to the first, each against the target that cancels what the later ones left over (Babai's nearest plane; GPTQ in
another order). Rows never interact, which is why grids may differ from row to row.

Arrays are groups × columns × rows, so that one column of every row is contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from .errors import InvariantError
from .schemes import Scheme, nearest

Array = NDArray[np.float32]
Segments = Sequence[tuple[Scheme, slice]]  # which rows (last axis) have which scheme; slices cover the axis
BLOCK = 96
LEAST_SCALE = 1e-20  # a row of smaller weights is as good as dead, and its scale's reciprocal would overflow


@dataclass(frozen=True)
class Factor:
    """Per group: the order of the columns (ascending energy) and the lower Cholesky factor in that order."""

    order: NDArray[np.intp]
    lower: Array

    def sorted(self, x: Array) -> Array:
        """Bring the columns (axis 1) of `x` into the factor's order."""
        return np.ascontiguousarray(np.take_along_axis(x, self.order[:, :, None], axis=1))

    def unsorted(self, x: Array) -> Array:
        """The inverse of `sorted`."""
        result = np.empty_like(x)
        np.put_along_axis(result, self.order[:, :, None], x, axis=1)
        return result

    def solve(self, x: Array) -> Array:
        """(L·Lᵀ)⁻¹ applied to the columns of every row, in the original order."""
        y = self.sorted(x)
        for group, right in zip(self.lower, y, strict=True):
            solution, info = lapack.spotrs(group.T, right, lower=0)  # the same factor, read as Fortran order
            if info:
                raise InvariantError(f"triangular solve must succeed, not return {info}")
            right[...] = solution
        return self.unsorted(y)


def factorize(hessian: Array, ridge: Array) -> Factor:
    """Cholesky factors of H + ridge·I (a ridge per group), columns sorted by rising diagonal."""
    energy = np.einsum("gkk->gk", hessian)
    order = np.argsort(energy, axis=1, kind="stable")
    size = hessian.shape[1]
    lower = np.empty(hessian.shape, np.float32)
    for g, matrix in enumerate(hessian):
        work = matrix[np.ix_(order[g], order[g])].astype(np.float64, order="F")
        work[np.diag_indices(size)] += ridge[g]
        factor, info = lapack.dpotrf(work, lower=1, overwrite_a=1, clean=1)
        if info:
            raise InvariantError(f"covariance must be positive definite after damping, but column {info} is not")
        lower[g] = factor
    return Factor(order, lower)


def round_segments(x: Array, segments: Segments) -> Array:
    """The nearest code of every number, by the scheme of its row (last axis)."""
    result = np.empty_like(x)
    for scheme, rows in segments:
        result[..., rows] = nearest(x[..., rows], scheme)
    return result


def round_with_feedback(
    target: Array, scale: Array, segments: Segments, factor: Factor
) -> tuple[NDArray[np.int8], Array]:
    """Codes for `target` on the grids `scale` (groups × N), and each row's cost (groups × N).

    `target` and the codes (groups × K × N) have the columns in the factor's order.
    """
    lower = factor.lower
    groups, size, count = target.shape
    codes = np.empty(target.shape, np.int8)
    error = np.empty_like(target)
    cost = np.zeros((groups, count), np.float32)
    inverse = 1 / scale
    for stop in range(size, 0, -BLOCK):
        start = max(stop - BLOCK, 0)
        # What the columns after this block left over, seen from this block's columns.
        left = np.matmul(lower[:, stop:, start:stop].transpose(0, 2, 1), error[:, stop:])
        for j in range(stop - 1, start - 1, -1):
            pivot = lower[:, j, j, None]
            residue = left[:, j - start]
            if j + 1 < stop:  # and what the later columns of this block left over
                residue += np.matmul(lower[:, None, j + 1 : stop, j], error[:, j + 1 : stop])[:, 0]
            rounded = round_segments((target[:, j] - residue / pivot) * inverse, segments)
            codes[:, j] = rounded
            rounded *= scale
            rounded -= target[:, j]
            error[:, j] = rounded
            cost += (rounded * pivot + residue) ** 2
    return codes, cost


def polish(
    codes: Array, target: Array, scale: Array, segments: Segments, hessian: Array, sweeps: int, fit: bool = True
) -> tuple[Array, Array]:
    """Coordinate descent on d·H·dᵀ over codes and (with `fit`) scales, `sweeps` times over all columns.

    Returns codes and scale (groups × N); the cost never rises but for float rounding.
    """
    codes = codes.copy()
    pull = np.matmul(hessian, target)
    spread = np.matmul(hessian, codes)  # H·codes, kept current by the sweeps
    for _ in range(sweeps):
        scale = _fitted_scale(codes, pull, spread, scale) if fit else scale
        if not _sweep(codes, pull, spread, scale, segments, hessian):
            break
    return codes, _fitted_scale(codes, pull, spread, scale) if fit else scale


def _fitted_scale(codes: Array, pull: Array, spread: Array, scale: Array) -> Array:
    """The least-squares scale of each row for its codes; the old one where that is not positive."""
    over = np.einsum("gkn,gkn->gn", codes, pull)
    under = np.einsum("gkn,gkn->gn", codes, spread)
    fitted = np.divide(over, under, out=np.zeros_like(over), where=under > 0)
    return np.where(fitted > LEAST_SCALE, fitted, scale).astype(np.float32)


def _sweep(codes: Array, pull: Array, spread: Array, scale: Array, segments: Segments, hessian: Array) -> bool:
    """One pass over all columns; changes `codes` and `spread` in place. Whether any code changed."""
    changed = False
    inverse = 1 / scale
    for start in range(0, codes.shape[1], BLOCK):
        stop = min(start + BLOCK, codes.shape[1])
        moved = np.zeros_like(codes[:, start:stop])
        wanted = pull[:, start:stop] * inverse[:, None] - spread[:, start:stop]
        for j in range(start, stop):
            step = wanted[:, j - start]
            if j > start:
                step -= np.matmul(hessian[:, None, j, start:j], moved[:, : j - start])[:, 0]
            curvature = hessian[:, j, j, None]
            step *= np.divide(1, curvature, out=np.zeros_like(curvature), where=curvature > 0)
            new = round_segments(np.add(codes[:, j], step, dtype=np.float32), segments)
            moved[:, j - start] = new - codes[:, j]
            codes[:, j] = new
        if moved.any():
            changed = True
            spread += np.matmul(hessian[:, :, start:stop], moved)
    return changed
