"""Operations of ONNX on constants: the arithmetic on shapes that exporters leave in a file, and views of parameters.

Results of arithmetic are limited to a few numbers: a shape has no more, and a hostile file gets no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError

Array = NDArray[Any]
Attributes = Mapping[str, Any]
Inputs = Sequence[Array | None]

MAX_SMALL = 64
_CASTS = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float32, 11: np.float64}  # onnx.TensorProto


def _given(inputs: Inputs, index: int) -> Array:
    array = inputs[index] if index < len(inputs) else None
    if array is None:
        raise ModelError(f"an operation on constants must have an input {index + 1}")
    return array


def _small(inputs: Inputs, index: int) -> Array:
    array = _given(inputs, index)
    if array.size > MAX_SMALL or array.ndim > 2:
        raise ModelError(
            f"arithmetic on constants must be on at most {MAX_SMALL} numbers (a shape), not on {array.size}"
        )
    return array


def _axes(attributes: Attributes, inputs: Inputs) -> tuple[int, ...] | None:
    values = attributes.get("axes")
    if values is None and len(inputs) > 1:
        values = _small(inputs, 1).reshape(-1)
    return None if values is None else tuple(int(v) for v in values)


def _constant(attributes: Attributes, inputs: Inputs) -> Array:
    for name, kind in (("value_int", np.int64), ("value_float", np.float32)):
        if name in attributes:
            return np.array(attributes[name], kind)
    for name, kind in (("value_ints", np.int64), ("value_floats", np.float32)):
        if name in attributes:
            return np.array(attributes[name], kind)
    value = attributes.get("value")
    if not isinstance(value, np.ndarray):
        raise ModelError("a constant must be a number or a dense tensor of numbers")
    return value


def _constant_of_shape(attributes: Attributes, inputs: Inputs) -> Array:
    shape = [int(v) for v in _small(inputs, 0).reshape(-1)]
    value = attributes.get("value", np.zeros(1, np.float32))
    if min(shape, default=1) < 0 or math.prod(shape) > MAX_SMALL:
        raise ModelError(f"a computed constant must have at most {MAX_SMALL} numbers, not the shape {shape[:8]}")
    return np.full(shape, np.asarray(value).reshape(-1)[0])


def _gather(attributes: Attributes, inputs: Inputs) -> Array:
    return np.take(_small(inputs, 0), _small(inputs, 1), axis=int(attributes.get("axis", 0)))


def _slice(attributes: Attributes, inputs: Inputs) -> Array:
    data = _small(inputs, 0)
    if len(inputs) > 1:
        starts, ends = _small(inputs, 1).reshape(-1).tolist(), _small(inputs, 2).reshape(-1).tolist()
        axes = _small(inputs, 3).reshape(-1).tolist() if len(inputs) > 3 and inputs[3] is not None else None
        steps = _small(inputs, 4).reshape(-1).tolist() if len(inputs) > 4 and inputs[4] is not None else None
    else:
        starts, ends, axes, steps = attributes["starts"], attributes["ends"], attributes.get("axes"), None
    cut = [slice(None)] * data.ndim
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        step = steps[i] if steps else 1
        # With a negative step, an end far below zero means "to the beginning", which Python says as None.
        stop = None if step < 0 and end < -data.shape[axes[i] if axes else i] else end
        cut[axes[i] if axes else i] = slice(start, stop, step)
    return data[tuple(cut)]


def _concat(attributes: Attributes, inputs: Inputs) -> Array:
    arrays = [_small(inputs, i) for i in range(len(inputs))]
    return np.concatenate(arrays, axis=int(attributes["axis"]))


def _squeeze(attributes: Attributes, inputs: Inputs) -> Array:
    return np.squeeze(_given(inputs, 0), _axes(attributes, inputs))


def _unsqueeze(attributes: Attributes, inputs: Inputs) -> Array:
    return np.expand_dims(_given(inputs, 0), _axes(attributes, inputs) or ())


def _cast(attributes: Attributes, inputs: Inputs) -> Array:
    if attributes["to"] not in _CASTS:
        raise ModelError(f"constants must not be converted to ONNX type {attributes['to']}")
    with np.errstate(all="ignore"):
        return _given(inputs, 0).astype(_CASTS[attributes["to"]])


def _reshape(attributes: Attributes, inputs: Inputs) -> Array:
    array, shape = _given(inputs, 0), [int(v) for v in _small(inputs, 1).reshape(-1)]
    return array.reshape([array.shape[i] if s == 0 else s for i, s in enumerate(shape)])


def _transpose(attributes: Attributes, inputs: Inputs) -> Array:
    return _given(inputs, 0).transpose(attributes.get("perm"))


def _identity(attributes: Attributes, inputs: Inputs) -> Array:
    return _given(inputs, 0)


def _arithmetic(operation: Callable[[Array, Array], Array]) -> Callable[[Attributes, Inputs], Array]:
    def apply(attributes: Attributes, inputs: Inputs) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(operation(_small(inputs, 0), _small(inputs, 1)))

    return apply


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "i":
        return (np.sign(a) * np.sign(b) * (abs(a) // abs(b))).astype(a.dtype)  # towards zero, as ONNX says
    return np.asarray(a / b)


FOLDS: Mapping[str, Callable[[Attributes, Inputs], Array]] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Cast": _cast,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Identity": _identity,
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Mul": _arithmetic(np.multiply),
    "Div": _arithmetic(_divide),
}
