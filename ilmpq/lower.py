"""From the quantized network to the integer program: multipliers, shifts, biases and clamps.

A row's real multiplier is row scale × input scale / output scale; it is rounded to an integer over 2^shift, with one
shift per layer, the largest that its multipliers' widths allow. A row's rounded multiplier moves its output by less
than half a step whatever the input, or the layer is refused by name.

Where every scale is a power of two, so is every multiplier, and they are exact: requantization is shifts alone. The
multipliers of an average pool are then so small that sum × multiplier stays below 2^24: float32 computes it exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .graph import Graph, Node, Op
from .program import ACCUMULATOR, EXACT_FLOAT32, MULTIPLIER_BITS, SKIP_MULTIPLIER_BITS, Arithmetic, Matrix, Program
from .rowquant import QuantModel, TensorQuant
from .scales import Scales, storable
from .storage import groups

MAX_SHIFT = 46  # v stays below 2^52: exact in float64 too
LOGIT_BITS = 28  # logits are scaled so that the largest possible sum has this many bits
LEAST_POOL_MULTIPLIER = 2**9  # a largest one; rounding it then moves no 8-bit code by half a step
LEAST_FLOAT32 = float(np.finfo(np.float32).tiny)
Doubles = NDArray[np.float64]


def lower(model: QuantModel) -> Program:
    """The integer program of a quantized network, verified."""
    of = groups(model.graph)
    matrices = {n.name: _matrix(model, n) for n in model.graph.weighted}
    computing = [n for n in model.graph.nodes if n.weighted or n.op is Op.AVG_POOL]
    output = of[model.graph.output.name]
    if output in model.tensors:  # the output is a stored tensor too
        logits_scale = model.tensors[output].scale
    else:
        writers = [n for n in computing if of[n.name] == output]
        logits_scale = _logits_scale(model, writers, matrices)
    arithmetic = {n.name: _arithmetic(model, n, model.tensors.get(of[n.name]), logits_scale) for n in computing}
    program = Program(
        model.graph, matrices, arithmetic, dict(model.tensors), logits_scale, dict(model.metadata)
    ).verify()
    for node in computing:
        _check_precision(model, program, node)
    return program


def _matrix(model: QuantModel, node: Node) -> Matrix:
    layer = model.layers[node.name]
    unit = layer.rows.scale.astype(np.float64) * model.input_scale(node.name)
    bias = np.rint(layer.bias.astype(np.float64) / unit)
    if np.abs(bias).max(initial=0) > ACCUMULATOR:
        raise ModelError(f"{node.name} bias does not fit int32 in steps of its accumulator")
    rows = layer.rows
    return Matrix(rows.codes, rows.scheme, bias.astype(np.int32), layer.input_bits, layer.input_shift)


def _factors(model: QuantModel, node: Node) -> Doubles:
    """What a sum is multiplied with to become a real value: per row, or for a pool one, or one per position."""
    if node.weighted:
        return model.layers[node.name].rows.scale.astype(np.float64) * model.input_scale(node.name)
    return model.tensor(node.inputs[0]).scale / pool_counts(model.graph, node)


def pool_counts(graph: Graph, node: Node) -> Doubles:
    """How many pixels an average divides by: one number, or one per position where padding does not count."""
    assert node.window is not None
    w = node.window
    if node.count_pad or not any(w.pad):
        return np.array([float(w.kernel[0] * w.kernel[1])])
    _, height, width = graph.shapes[node.inputs[0]]
    _, rows, columns = graph.shapes[node.name]
    inside_y = _inside(rows, w.kernel[0], w.stride[0], w.pad[0], height)
    inside_x = _inside(columns, w.kernel[1], w.stride[1], w.pad[1], width)
    return np.outer(inside_y, inside_x).astype(np.float64).ravel()


def _inside(outputs: int, kernel: int, stride: int, pad: int, size: int) -> NDArray[np.int64]:
    """Pixels of each window that lie inside the image, along one axis."""
    start = np.arange(outputs) * stride - pad
    return np.minimum(start + kernel, size) - np.maximum(start, 0)


def _arithmetic(model: QuantModel, node: Node, target: TensorQuant | None, logits_scale: float) -> Arithmetic:
    out_scale = logits_scale if target is None else target.scale
    real = _factors(model, node) / out_scale
    real_skip = np.array([] if node.skip is None else [model.tensor(node.skip).scale / out_scale])
    shift = min(
        MAX_SHIFT,
        _largest_shift(real, _multiplier_bound(model, node)),
        _largest_shift(real_skip, 2**SKIP_MULTIPLIER_BITS - 1),
    )
    if shift < 0:
        raise ModelError(f"{node.name} output scale is too small for its sums: no multiplier below 2^20 reaches it")
    multiplier = np.maximum(np.rint(real * 2.0**shift), 1).astype(np.int32)
    skip_multiplier = round(float(real_skip.sum()) * 2.0**shift)
    halvings = min(shift, _trailing_zeros(int(np.bitwise_or.reduce(multiplier)) | skip_multiplier))
    low, high = (-ACCUMULATOR - 1, ACCUMULATOR) if target is None else (target.format.low, target.format.high)
    if node.relu:
        low = max(low, 0)
        if node.relu_max is not None:
            high = min(high, round(node.relu_max / out_scale))
    return Arithmetic(multiplier >> halvings, shift - halvings, low, high, skip_multiplier >> halvings)


def _trailing_zeros(x: int) -> int:
    return (x & -x).bit_length() - 1


def _multiplier_bound(model: QuantModel, node: Node) -> Doubles:
    """The largest multiplier that a row, or a pool's position, may have.

    Where float32 shall compute the same integers, a pool's sum × multiplier stays below 2^24, as long as the window is
    not so large that too few bits are left for the multiplier of a stored output.
    """
    largest = 2**MULTIPLIER_BITS - 1
    if node.weighted or not model.power_of_two:
        return np.array(float(largest))
    sums = model.tensor(node.inputs[0]).format.high * pool_counts(model.graph, node)
    least = 1 if groups(model.graph)[node.name] not in model.tensors else LEAST_POOL_MULTIPLIER
    return np.clip((EXACT_FLOAT32 - 1) // sums, least, largest)


def _largest_shift(real: Doubles, bound: Doubles | int) -> int:
    """The largest shift at which no rounded multiplier exceeds its bound; beyond `MAX_SHIFT` if nothing limits it."""
    if not real.size:
        return MAX_SHIFT + 1
    shift = int(np.floor(np.log2(bound / real).min())) + 1
    while (np.rint(real * 2.0**shift) > bound).any():
        shift -= 1
    return shift


def _logits_scale(model: QuantModel, writers: Sequence[Node], matrices: Mapping[str, Matrix]) -> float:
    """A scale at which no logit can leave int32 and no multiplier its bits, and as fine as that allows.

    With powers of two it need not be finer than the finest unit that is added up: then nothing is rounded.
    """
    factors = [_factors(model, n) for n in writers]
    largest = max(_largest_logit(model, n, matrices.get(n.name), f) for n, f in zip(writers, factors, strict=True))
    coarsest = float(max(f.max() for f in factors)) / 2 ** (MULTIPLIER_BITS - 2)
    if model.power_of_two:
        finest = min(_finest_unit(model, n, f) for n, f in zip(writers, factors, strict=True))
        return float(Scales.POWER_OF_TWO.up(np.max([finest, largest / ACCUMULATOR, coarsest, LEAST_FLOAT32])))
    return storable(max((largest or 1.0) / 2**LOGIT_BITS, coarsest, LEAST_FLOAT32))


def _finest_unit(model: QuantModel, node: Node, factors: Doubles) -> float:
    """What 1 is worth in sums × multipliers: the finest row's unit, or what a pool's widest multipliers give."""
    if not node.weighted:
        return 2.0 ** -_largest_shift(factors, _multiplier_bound(model, node))
    return float(factors.min()) if node.skip is None else min(float(factors.min()), model.tensor(node.skip).scale)


def _largest_logit(model: QuantModel, node: Node, matrix: Matrix | None, factors: Doubles) -> float:
    """What a logit can reach, in real numbers."""
    if matrix is None:
        assert node.window is not None
        sums = np.array([model.tensor(node.inputs[0]).format.high * node.window.kernel[0] * node.window.kernel[1]])
    else:
        codes = np.abs(matrix.codes.astype(np.int64)).sum(axis=1)
        sums = codes * model.tensor(node.inputs[0]).format.narrowed(matrix.input_bits).high + np.abs(
            matrix.bias.astype(np.int64)
        )
    largest = float((sums * factors).max())
    if node.skip is not None:
        stored = model.tensor(node.skip)
        largest += stored.format.high * stored.scale
    return largest


def _check_precision(model: QuantModel, program: Program, node: Node) -> None:
    """That rounded multipliers move no output by half a step or more, for any input: one step with the rounding."""
    target = program.tensor(node.name)
    if target is None:
        return
    a = program.arithmetic[node.name]
    exact = a.multiplier * 2.0**-a.shift
    error = np.abs(exact - _factors(model, node) / target.scale)
    high = a.high - a.low + 1.0
    skip_moves = 0.0
    if node.skip is not None:
        skip = model.tensor(node.skip)
        high += skip.format.high * a.skip_multiplier * 2.0**-a.shift
        skip_moves = skip.format.high * abs(a.skip_multiplier * 2.0**-a.shift - skip.scale / target.scale)
    # Beyond what the clamp and the residual leave, the clamp hides what the multiplier does.
    moved = np.minimum(_largest_sum(program, node) * error, high * error / exact) + skip_moves
    if moved.max(initial=0) >= 0.5:
        row = f" row {int(moved.argmax())}" if node.weighted else ""
        raise ModelError(
            f"{node.name}{row}: its scale is too small beside the layer's largest, or its output's, for a 20-bit "
            "multiplier to follow it within half a step"
        )


def _largest_sum(program: Program, node: Node) -> Doubles:
    """What an accumulator can reach."""
    if node.weighted:
        bias = np.abs(program.matrices[node.name].bias.astype(np.int64))
        return (program.sum_bound(node.name) + bias).astype(np.float64)
    stored = program.tensor(node.inputs[0])
    assert stored is not None
    return stored.format.high * pool_counts(program.graph, node)
