"""One layer: from scored candidates and chosen schemes to codes, scales and a bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .feedback import polish, round_segments
from .moments import LayerStatistics
from .options import EffortSettings
from .rowquant import BIAS_LIMIT, RowQuant, least_row_scale, whole_steps
from .scales import Scales
from .schemes import Scheme
from .score import Candidates, rows_of


@dataclass(frozen=True)
class LayerResult:
    """The quantized rows, the bias that keeps the float output's mean, and each row's remaining error."""

    rows: RowQuant
    bias: NDArray[np.float32]
    error: NDArray[np.float32]


def quantize_layer(
    candidates: Candidates,
    schemes: NDArray[np.uint8],
    statistics: LayerStatistics,
    input_scale: float,
    skip_scale: float,
    settings: EffortSettings,
) -> LayerResult:
    """Take each row's candidate under its scheme, polish all rows together, correct the bias.

    `schemes` gives the scheme of each row (in the rows' own order) by identifier; `skip_scale` is that of the tensor
    which the layer adds to its sums, or 0.
    """
    groups, _size, per_group = candidates.target.shape
    index = {s.ident: i for i, s in enumerate(candidates.schemes)}
    pick = np.vectorize(index.__getitem__, otypes=[np.intp])(schemes).reshape(groups, per_group)
    codes = np.take_along_axis(candidates.codes, pick[None, :, None, :], axis=0)[0].astype(np.float32)
    scale = np.take_along_axis(candidates.scale, pick[None], axis=0)[0]
    target = candidates.target
    if settings.sweeps and statistics.full:
        codes, scale = _polish_by_scheme(codes, target, scale, pick, candidates.schemes, statistics, settings)
    dead = ~target.any(axis=1)
    if dead.any() and not dead.all():
        scale[dead] = settings.scales.up(np.median(scale[~dead]))
    raised = np.maximum(scale, _least_scale(candidates, codes, scale, statistics, input_scale))
    raised = settings.scales.up(np.maximum(raised, least_row_scale(raised, input_scale, skip_scale)))
    for i, scheme in enumerate(candidates.schemes):
        changed = (raised > scale) & (pick == i)
        if changed.any():
            rounded = round_segments(target / raised[:, None], [(scheme, slice(None))])
            codes = np.where(changed[:, None], rounded, codes)
    scale = raised
    values = codes * scale[:, None]
    bias = statistics.target_mean - np.einsum("gk,gkr->gr", statistics.input_mean, values)
    difference = values - target
    if statistics.full:
        error = np.einsum("gkr,gkr->gr", difference, np.matmul(statistics.hessian, difference))
    else:
        error = np.einsum("gk,gkr->gr", statistics.energy, difference**2)
    rows = RowQuant(rows_of(codes).astype(np.int8), scale.ravel().astype(np.float32), schemes.astype(np.uint8))
    whole = whole_steps(bias.ravel(), rows.scale, input_scale)
    return LayerResult(rows, whole, error.ravel().astype(np.float32))


def _polish_by_scheme(
    codes: NDArray[np.float32],
    target: NDArray[np.float32],
    scale: NDArray[np.float32],
    pick: NDArray[np.intp],
    schemes: Sequence[Scheme],
    statistics: LayerStatistics,
    settings: EffortSettings,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Polish with the rows of each scheme side by side, so that a column is rounded in a few contiguous pieces."""
    sweeps, fit = settings.sweeps, settings.scales is Scales.FREE
    if len(pick) > 1:  # groups differ in their rows' schemes: polish one scheme at a time, keep its rows
        for i, scheme in enumerate(schemes):
            new_codes, new_scale = polish(
                codes, target, scale, [(scheme, slice(None))], statistics.hessian, sweeps, fit
            )
            codes = np.where((pick == i)[:, None], new_codes, codes)
            scale = np.where(pick == i, new_scale, scale)
        return codes, scale
    order = np.argsort(pick[0], kind="stable")
    edges = np.searchsorted(pick[0][order], np.arange(len(schemes) + 1))
    segments = [(s, slice(edges[i], edges[i + 1])) for i, s in enumerate(schemes) if edges[i] < edges[i + 1]]
    new_codes, new_scale = polish(
        codes[:, :, order], target[:, :, order], scale[:, order], segments, statistics.hessian, sweeps, fit
    )
    back = np.argsort(order)
    return new_codes[:, :, back], new_scale[:, back]


def _least_scale(
    candidates: Candidates,
    codes: NDArray[np.float32],
    scale: NDArray[np.float32],
    statistics: LayerStatistics,
    input_scale: float,
) -> NDArray[np.float32]:
    """The smallest scale of each row at which its bias, in steps of the accumulator, stays well inside int32."""
    mean = np.abs(statistics.target_mean) + np.einsum(
        "gk,gkr->gr", np.abs(statistics.input_mean), np.abs(candidates.target) + np.abs(codes * scale[:, None])
    )
    return np.asarray(mean / (input_scale * BIAS_LIMIT / 4), np.float32)
