"""From the quantized network to the integer program: multipliers, shifts, biases and clamps.

A row's real multiplier is row scale × input scale / output scale; it is rounded to an integer over 2^shift, with one
shift per layer, the largest that its multipliers' widths allow. A row's rounded multiplier moves its output by less
than half a step whatever the input, or the layer is refused by name.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .graph import Graph, Node, Op
from .program import ACCUMULATOR, MULTIPLIER_BITS, SKIP_MULTIPLIER_BITS, Arithmetic, Matrix, Program
from .rowquant import QuantModel, TensorQuant
from .storage import groups

MAX_SHIFT = 46  # v stays below 2^52: exact in float64 too
LOGIT_BITS = 28  # logits are scaled so that the largest possible sum has this many bits
Doubles = NDArray[np.float64]


def lower(model: QuantModel) -> Program:
    """The integer program of a quantized network, verified."""
    of = groups(model.graph)
    matrices = {n.name: _matrix(model, n) for n in model.graph.weighted}
    arithmetic: dict[str, Arithmetic] = {}
    logits_scale = 1.0
    for node in model.graph.nodes:
        if not (node.weighted or node.op is Op.AVG_POOL):
            continue
        target = model.tensors.get(of[node.name])
        factors = _factors(model, node)
        if target is None:
            logits_scale = _logits_scale(model, node, matrices.get(node.name), factors)
        arithmetic[node.name] = _arithmetic(model, node, factors, target, logits_scale)
    if of[model.graph.output.name] in model.tensors:  # the output is a stored tensor too
        logits_scale = model.tensors[of[model.graph.output.name]].scale
    program = Program(
        model.graph, matrices, arithmetic, dict(model.tensors), logits_scale, dict(model.metadata)
    ).verify()
    for node in model.graph.weighted:
        _check_precision(model, program, node, _factors(model, node))
    return program


def _matrix(model: QuantModel, node: Node) -> Matrix:
    layer = model.layers[node.name]
    unit = layer.rows.scale.astype(np.float64) * model.input_scale(node.name)
    bias = np.rint(layer.bias.astype(np.float64) / unit)
    if np.abs(bias).max(initial=0) > ACCUMULATOR:
        raise ModelError(f"{node.name} bias does not fit int32 in steps of its accumulator")
    rows = layer.rows
    return Matrix(rows.codes, rows.scheme, rows.scale, bias.astype(np.int32), layer.input_bits, layer.input_shift)


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


def _arithmetic(
    model: QuantModel, node: Node, factors: Doubles, target: TensorQuant | None, logits_scale: float
) -> Arithmetic:
    out_scale = logits_scale if target is None else target.scale
    real = factors / out_scale
    real_skip = 0.0 if node.skip is None else model.tensor(node.skip).scale / out_scale
    shift = MAX_SHIFT
    for largest, bits in ((float(real.max()), MULTIPLIER_BITS), (real_skip, SKIP_MULTIPLIER_BITS)):
        if largest > 0:
            shift = min(shift, bits - math.frexp(largest)[1])  # largest < 2^exponent
    while round(float(real.max()) * 2.0**shift) >= 2**MULTIPLIER_BITS or (
        round(real_skip * 2.0**shift) >= 2**SKIP_MULTIPLIER_BITS
    ):
        shift -= 1
    if shift < 0:
        raise ModelError(f"{node.name} output scale is too small for its sums: no multiplier below 2^20 reaches it")
    multiplier = np.maximum(np.rint(real * 2.0**shift), 1).astype(np.int32)
    low, high = (-ACCUMULATOR - 1, ACCUMULATOR) if target is None else (target.format.low, target.format.high)
    if node.relu:
        low = max(low, 0)
        if node.relu_max is not None:
            high = min(high, math.floor(node.relu_max / out_scale + 0.5))
    return Arithmetic(multiplier, shift, low, high, round(real_skip * 2.0**shift))


def _logits_scale(model: QuantModel, node: Node, matrix: Matrix | None, factors: Doubles) -> float:
    """A scale at which no logit can leave int32, and as fine as that allows."""
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
    coarsest = float(factors.max()) / 2 ** (MULTIPLIER_BITS - 2)  # the multiplier must not outgrow its bits
    return float(np.float32(max((largest or 1.0) / 2**LOGIT_BITS, coarsest)))


def _check_precision(model: QuantModel, program: Program, node: Node, factors: Doubles) -> None:
    """That no row's rounded multiplier moves its output by half a step or more, for any input."""
    target = program.tensor(node.name)
    if target is None:
        return
    a = program.arithmetic[node.name]
    error = np.abs(a.multiplier * 2.0**-a.shift - factors / target.scale)
    reach = (program.sum_bound(node.name) + np.abs(program.matrices[node.name].bias.astype(np.int64))) * error
    inside = (a.high - a.low + 1) * error / (a.multiplier * 2.0**-a.shift)  # beyond this the clamp hides it
    moved = np.minimum(reach, inside)
    if moved.max(initial=0) >= 0.5:
        row = int(moved.argmax())
        raise ModelError(
            f"{node.name} row {row}: its scale is too small beside the layer's largest for a 20-bit multiplier"
        )
