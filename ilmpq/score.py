"""Sensitivity of each row under each scheme: the rounding error it would cause, at the best scale found for it.

The codes that give it are kept, so that the scheme chosen later starts from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .feedback import LEAST_SCALE, Array, Factor, factorize, round_segments, round_with_feedback
from .graph import Graph, Node
from .moments import LayerStatistics
from .options import EffortSettings
from .scales import Scales
from .schemes import Kind, Scheme

FIXED_RANGE = (0.4, 1.0)  # factors of the scale that just covers the row
POT_RANGE = (0.4, 1.25)
DAMPING = 0.01
TARGET_STRENGTH = 0.3
TRIAL_MACS = 1e11  # multiplications to spend per layer on trying scales
LEAST_TRIALS = 3
LARGEST_HESSIAN = 10_240  # inputs of a row; VGG's first linear layer has 25,088: a covariance of 2.5 GB
WIDTH = 4096  # rows × scales rounded side by side: more costs memory, fewer costs time


@dataclass(frozen=True)
class Candidates:
    """For each scheme (first axis) the best scale and codes of every row, and the row's error with them.

    `target` is what is rounded: groups × K × rows; `codes` scheme × groups × K × rows; the others scheme × groups × rows.
    """

    schemes: tuple[Scheme, ...]
    target: Array
    scale: Array
    codes: NDArray[np.int8]
    error: Array

    def costs(self) -> NDArray[np.float64]:
        """`error` as rows × schemes."""
        return self.error.transpose(1, 2, 0).reshape(-1, len(self.schemes)).astype(np.float64)

    def sensitivity(self) -> NDArray[np.float64]:
        """What each row loses for want of bits: its least error in the fewest bits beyond that in the most."""
        costs, bits = self.costs(), np.array([s.bits for s in self.schemes])
        few, most = costs[:, bits == bits.min()].min(axis=1), costs[:, bits == bits.max()].min(axis=1)
        return np.asarray(few - most)


def wants_full_statistics(graph: Graph, node: Node, settings: EffortSettings) -> bool:
    """Whether a layer is rounded with error feedback; not where the covariance of its inputs would be too large."""
    return settings.feedback and int(np.prod(graph.weight_shape(node)[1:])) <= LARGEST_HESSIAN


def score_layer(
    graph: Graph, node: Node, statistics: LayerStatistics, schemes: Sequence[Scheme], settings: EffortSettings
) -> Candidates:
    """Candidates of every row of a layer under each scheme."""
    weight = columns_of(graph.parameters[node.name].weight, node.groups)
    ridge = ridge_of(statistics)
    if statistics.full:
        factor = factorize(statistics.hessian, ridge)
        target = corrected_target(weight, statistics, factor, ridge, TARGET_STRENGTH)
    else:
        target = weight
    trial_macs = max(1, weight.size * weight.shape[1] * len(schemes))
    trials = (
        int(np.clip(TRIAL_MACS / trial_macs, LEAST_TRIALS, settings.trials)) if statistics.full else settings.trials
    )
    scales = [trial_scales(target, s, settings.scales, trials) for s in schemes]
    with np.errstate(over="ignore", invalid="ignore"):
        found = (
            feedback_candidates(target, schemes, factor, scales)
            if statistics.full
            else nearest_candidates(target, schemes, statistics.energy + ridge[:, None], scales)
        )
    if not np.isfinite(found.error).all():
        raise ModelError(f"{node.name} weights and inputs are too large: rounding errors overflow float32")
    return found


def columns_of(weight: Array, groups: int) -> Array:
    """A weight (rows first) as groups × K × rows per group."""
    return np.ascontiguousarray(weight.reshape(groups, weight.shape[0] // groups, -1).transpose(0, 2, 1))


def rows_of(columns: NDArray[np.generic]) -> NDArray[np.generic]:
    """The inverse of `columns_of`, as rows × K."""
    return np.ascontiguousarray(columns.transpose(0, 2, 1).reshape(-1, columns.shape[1]))


def ridge_of(statistics: LayerStatistics) -> Array:
    """λ per group: what keeps H + λI invertible; 1 for inputs that never vary, where any positive value will do."""
    ridge = np.float32(DAMPING) * statistics.energy.mean(axis=1)
    return np.where(ridge > 0, ridge, 1).astype(np.float32)


def corrected_target(
    weight: Array, statistics: LayerStatistics, factor: Factor, ridge: Array, strength: float
) -> Array:
    """Weights moved towards those that map the quantized input to the float output best (ridge regression).

    W* = W + strength·((C + λW)(H + λI)⁻¹ − W),  λ = `ridge`
    """
    regressed = factor.solve(statistics.cross + ridge[:, None, None] * weight)
    alive = np.any(weight != 0, axis=1, keepdims=True)  # a dead row stays dead
    return np.where(alive, weight + np.float32(strength) * (regressed - weight), 0).astype(np.float32)


def trial_scales(target: Array, scheme: Scheme, scales: Scales, count: int) -> Array:
    """The scales to try for every row: trials × groups × rows."""
    cover = covering_scale(target, scheme)
    if scheme.bits >= 8:
        return scales.between(cover, 1.0, 1.0, 1)
    return scales.between(cover, *(FIXED_RANGE if scheme.kind is Kind.FIXED else POT_RANGE), count)


def covering_scale(target: Array, scheme: Scheme) -> Array:
    """The scale at which the largest weight of a row gets the top code; a dead row has its layer's median."""
    peak = np.abs(target).max(axis=1)
    typical = np.median(peak[peak > 0]) if (peak > 0).any() else 1.0
    return np.maximum(np.where(peak > 0, peak, typical) / scheme.top, LEAST_SCALE).astype(np.float32)


def nearest_candidates(target: Array, schemes: Sequence[Scheme], energy: Array, scales: Sequence[Array]) -> Candidates:
    """Nearest codes at the one of `scales` (per scheme) with the least error Σ_k energy_k·(q_k − w_k)²; no feedback between columns."""
    groups, size, rows = target.shape
    best_scale = np.empty((len(schemes), groups, rows), np.float32)
    best_codes = np.empty((len(schemes), groups, size, rows), np.int8)
    best_error = np.full((len(schemes), groups, rows), np.inf, np.float32)
    for i, scheme in enumerate(schemes):
        for scale in scales[i]:
            codes = round_segments(target / scale[:, None], [(scheme, slice(None))])
            error = np.einsum("gk,gkr->gr", energy, (codes * scale[:, None] - target) ** 2)
            better = error < best_error[i]
            best_error[i][better], best_scale[i][better] = error[better], scale[better]
            np.copyto(best_codes[i], codes.astype(np.int8), where=better[:, None])
    return Candidates(tuple(schemes), target, best_scale, best_codes, best_error)


def feedback_candidates(
    target: Array, schemes: Sequence[Scheme], factor: Factor, scales: Sequence[Array]
) -> Candidates:
    """Codes with error feedback at the one of `scales` (per scheme) with the least remaining error.

    Several scales are tried side by side, as many as make matrices of about `WIDTH` rows.
    """
    groups, size, rows = target.shape
    ordered = factor.sorted(target)
    best_scale = np.empty((len(schemes), groups, rows), np.float32)
    best_codes = np.empty((len(schemes), groups, size, rows), np.int8)
    best_error = np.full((len(schemes), groups, rows), np.inf, np.float32)
    at_once = max(1, WIDTH // rows)
    for i, scheme in enumerate(schemes):
        for start in range(0, len(scales[i]), at_once):
            tried = scales[i][start : start + at_once].transpose(1, 0, 2)  # groups × trials × rows
            trials = tried.shape[1]
            codes, cost = round_with_feedback(
                np.tile(ordered, (1, 1, trials)), tried.reshape(groups, -1), [(scheme, slice(None))], factor
            )
            cost = cost.reshape(groups, trials, rows)
            winner = cost.argmin(axis=1)[:, None]
            least = np.take_along_axis(cost, winner, axis=1)[:, 0]
            better = least < best_error[i]
            best_error[i][better] = least[better]
            best_scale[i][better] = np.take_along_axis(tried, winner, axis=1)[:, 0][better]
            winning = np.take_along_axis(codes.reshape(groups, size, trials, rows), winner[:, None], axis=2)[:, :, 0]
            np.copyto(best_codes[i], winning, where=better[:, None])
        best_codes[i] = factor.unsorted(best_codes[i])
    return Candidates(tuple(schemes), target, best_scale, best_codes, best_error)
