"""A second executor of integer programs, written from docs/formats.md alone, in plain numpy: slow and obvious.

It shares no arithmetic with `integer.py`, so that their agreement on every integer means something.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .graph import Node, Op, Window
from .program import Program

Codes = NDArray[np.int64]


def input_codes(program: Program, images: NDArray[np.float32]) -> Codes:
    """What the host makes of normalised images."""
    scale = np.float32(program.scale(program.graph.input.name))
    return np.asarray(np.clip(np.rint(images / scale), -127, 127), np.int64)


def run(program: Program, codes: Codes, observe: Callable[[Node, Codes], None] | None = None) -> Codes:
    """Integer logits of input codes N×C×H×W; `observe` sees every node's codes."""
    values: dict[str, Codes] = {}
    for node in program.graph.nodes:
        inputs = [values[name] for name in node.inputs]
        values[node.name] = codes.astype(np.int64) if node.op is Op.INPUT else _compute(program, node, inputs)
        if observe is not None:
            observe(node, values[node.name])
    return values[program.graph.output.name]


def _compute(program: Program, node: Node, inputs: list[Codes]) -> Codes:
    x = inputs[0]
    match node.op:
        case Op.CONV | Op.LINEAR:
            acc = _sums(program, node, _read(program, node, x))
            return _requantize(program, node, acc, inputs[1] if node.skip is not None else None)
        case Op.AVG_POOL:
            return _requantize(program, node, _windows(x, _window(node), 0).sum(axis=(4, 5)), None)
        case Op.MAX_POOL:
            return np.asarray(_windows(x, _window(node), np.iinfo(np.int64).min).max(axis=(4, 5)))
        case Op.CONCAT:
            return np.concatenate(inputs, axis=1)
        case Op.FLATTEN:
            return x.reshape(len(x), -1)
        case Op.SUBSAMPLE:
            stride = _window(node).stride
            kept = x[:, :, :: stride[0], :: stride[1]]
            before, after = (
                np.zeros((len(x), n, *kept.shape[2:]), np.int64) for n in (node.channels_before, node.channels_after)
            )
            return np.concatenate([before, kept, after], axis=1)
    raise AssertionError(f"{node.op} is not an operation of a program")


def _window(node: Node) -> Window:
    assert node.window is not None
    return node.window


def _round_to_even(numerator: Codes, bits: int) -> Codes:
    """numerator / 2^bits to the nearest integer, ties to even."""
    if bits == 0:
        return numerator
    return np.asarray((numerator + (1 << (bits - 1)) - 1 + ((numerator >> bits) & 1)) >> bits)


def _read(program: Program, node: Node, x: Codes) -> Codes:
    matrix = program.matrices[node.name]
    stored = program.tensor(node.inputs[0])
    assert stored is not None
    bits = min(matrix.input_bits, stored.format.bits)
    low, high = (-(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1) if stored.format.signed else (0, 2**bits - 1)
    return np.clip(_round_to_even(x, matrix.input_shift), low, high)


def _windows(x: Codes, w: Window, outside: int) -> Codes:
    """images × channels × output rows × output columns × kernel rows × kernel columns."""
    rows, columns = w.output_size(*x.shape[2:])
    out = np.full((*x.shape[:2], rows, columns, *w.kernel), outside, np.int64)
    for i, j, p, q in np.ndindex(rows, columns, *w.kernel):
        y = i * w.stride[0] + p * w.dilation[0] - w.pad[0]
        z = j * w.stride[1] + q * w.dilation[1] - w.pad[1]
        if 0 <= y < x.shape[2] and 0 <= z < x.shape[3]:
            out[:, :, i, j, p, q] = x[:, :, y, z]
    return out


def _sums(program: Program, node: Node, a: Codes) -> Codes:
    matrix = program.matrices[node.name]
    codes, bias = matrix.codes.astype(np.int64), matrix.bias.astype(np.int64)
    if node.op is Op.LINEAR:
        return np.asarray(a @ codes.T + bias)
    windows = _windows(a, _window(node), 0)
    rows, channels = len(codes), a.shape[1] // node.groups
    out = np.empty((len(a), rows, *windows.shape[2:4]), np.int64)
    for row in range(rows):
        first = row // (rows // node.groups) * channels
        w = codes[row].reshape(channels, 1, 1, *_window(node).kernel)
        out[:, row] = (windows[:, first : first + channels] * w).sum(axis=(1, 4, 5)) + bias[row]
    return out


def _requantize(program: Program, node: Node, acc: Codes, skip: Codes | None) -> Codes:
    a = program.arithmetic[node.name]
    multiplier = a.multiplier.astype(np.int64)
    if node.op is Op.AVG_POOL:
        factor = multiplier.reshape(acc.shape[2:]) if len(multiplier) > 1 else multiplier
    else:
        factor = multiplier.reshape(-1, *[1] * (acc.ndim - 2))
    v = acc * factor
    if skip is not None:
        v = v + skip * a.skip_multiplier
    return np.clip(_round_to_even(v, a.shift), a.low, a.high)
