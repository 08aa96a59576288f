"""What each ATen operation is in a raw graph: one function per kind, and the table of names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .aten_program import Arguments, Array, Batch, Result
from .rawgraph import NO_PAD, Constant, Pads, Value


def _conv(a: Arguments) -> Result:
    weight = a.constant("weight").array
    stride, dilation = a.pair("stride", (1, 1)), a.pair("dilation", (1, 1))
    if a.flag("transposed", False):
        raise a.fail("must not be a transposed convolution, which is not supported")
    padding = a.given.get("padding")
    pads = a.pads() if not isinstance(padding, str) else _named_pads(a, padding, weight.shape[2:], stride, dilation)
    x = a.value("input")
    return a.builder.conv(
        a.path("weight"), x, weight, a.optional("bias"), stride, pads, dilation, a.integer("groups", 1)
    )


def _named_pads(
    a: Arguments, padding: str, kernel: Sequence[int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Pads:
    if padding == "valid":
        return NO_PAD
    if padding != "same" or stride != (1, 1) or len(kernel) != 2:
        raise a.fail("padding must be numbers, 'valid', or 'same' with stride 1")
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)


def _linear(a: Arguments) -> Result:
    return a.builder.linear(a.path("weight"), a.value("input"), a.constant("weight").array, a.optional("bias"))


def _addmm(a: Arguments) -> Result:
    if a.number("alpha", 1) != 1 or a.number("beta", 1) != 1:
        raise a.fail("alpha and beta must be 1")
    return a.builder.linear(a.path("mat2"), a.value("mat1"), a.constant("mat2").array.T, a.constant("self").array)


def _matmul(a: Arguments) -> Result:
    name = "mat2" if a.has("mat2") else "other"
    return a.builder.linear(a.path(name), a.value(), a.constant(name).array.T, None)


def _batch_norm(a: Arguments) -> Result:
    if a.flag("training", False) or not a.has("running_mean") or not a.has("running_var"):
        raise a.fail(
            "must use its running statistics; call model.eval() before exporting, with track_running_stats=True"
        )
    return a.builder.batch_norm(
        a.path("weight", "running_mean"),
        a.value("input"),
        a.constant("running_mean").array,
        a.constant("running_var").array,
        a.optional("weight"),
        a.optional("bias"),
        a.number("eps", 1e-5),
    )


def _relu(a: Arguments) -> Result:
    return a.builder.relu(a.layer, a.value())


def _relu6(a: Arguments) -> Result:
    return a.builder.relu(a.layer, a.value(), 6.0)


def _clamp(a: Arguments) -> Result:
    low, high = ("min_val", "max_val") if a.operation.startswith("hardtanh") else ("min", "max")
    if not a.has(low) or a.number(low) != 0:
        raise a.fail(f"must clip at 0 from below (a ReLU), not at {a.given.get(low, -1)}")
    default = 1.0 if low == "min_val" else float("inf")
    return a.builder.relu(a.layer, a.value(), a.number(high, default))


def _operand(a: Arguments, name: str) -> Value | Array:
    argument = a.given.get(name)
    if isinstance(argument, int | float):
        return np.array(argument, np.float64)
    result = a.any(name)
    if isinstance(result, Value | Constant):
        return result if isinstance(result, Value) else result.array
    raise a.fail("must compute with tensors or numbers")


def _arithmetic(a: Arguments) -> Result:
    if a.has("rounding_mode"):
        raise a.fail("must not round, which is not supported")
    first, second, alpha = _operand(a, "self"), _operand(a, "other"), a.number("alpha", 1)
    if alpha != 1 and (isinstance(second, Value) or a.operation == "rsub"):
        raise a.fail("must add or subtract tensors as they are (alpha=1); scaling one is not supported")
    if not isinstance(second, Value):
        second = second * alpha
    if a.operation == "rsub":
        return a.builder.arithmetic(a.layer, "sub", second, first)
    return a.builder.arithmetic(a.layer, a.operation.removesuffix("_"), first, second)


def _max_pool(a: Arguments) -> Result:
    kernel = a.pair("kernel_size", (1, 1))
    return a.builder.max_pool(
        a.layer,
        a.value(),
        kernel,
        a.pair("stride", kernel),
        a.pads(),
        a.pair("dilation", (1, 1)),
        a.flag("ceil_mode", False),
    )


def _average_pool(a: Arguments) -> Result:
    if a.has("divisor_override"):
        raise a.fail("must not override its divisor (divisor_override)")
    kernel = a.pair("kernel_size", (1, 1))
    counted, ceil = a.flag("count_include_pad", True), a.flag("ceil_mode", False)
    return a.builder.average_pool(a.layer, a.value(), kernel, a.pair("stride", kernel), a.pads(), counted, ceil)


def _adaptive_average(a: Arguments) -> Result:
    return a.builder.adaptive_average(a.layer, a.value(), a.pair("output_size", (1, 1)))


def _adaptive_max(a: Arguments) -> Result:
    x, size = a.value(), a.pair("output_size", (1, 1))
    if len(x.shape) != 3 or min(size) < 1 or x.shape[1] % size[0] or x.shape[2] % size[1]:
        raise a.fail("output size must divide its input's; use a max pool with a fixed window")
    window = (x.shape[1] // size[0], x.shape[2] // size[1])
    return a.builder.max_pool(a.layer, x, window, window, NO_PAD, (1, 1))


def _mean(a: Arguments) -> Result:
    x = a.value()
    axes = [a.wrap(d, len(x.shape)) for d in a.integers("dim")]
    return a.builder.global_average(a.layer, x, axes, a.flag("keepdim", False))


def _concat(a: Arguments) -> Result:
    tensors = a.given.get("tensors")
    if not isinstance(tensors, list) or not tensors:
        raise a.fail("must join tensors")
    values = [a.activation(t) for t in tensors]
    if a.axis(len(values[0].shape), default=0) != 0:
        raise a.fail(f"must join channels (dimension 1), not dimension {a.integer('dim', 0)}")
    return a.builder.concat(a.layer, values)


def _softmax(a: Arguments) -> Result:
    x = a.value()
    return a.builder.softmax(a.layer, x, a.axis(len(x.shape)))


def _view(a: Arguments) -> Result:
    x = a.any("self")
    argument = a.given.get("size", a.given.get("shape"))
    if not isinstance(argument, list):
        raise a.fail("must be given a shape")
    sizes = [a.read(v) for v in argument]
    rest = [v for v in sizes[1:] if isinstance(v, int)]
    batch = a.batch
    if isinstance(x, Constant) and len(rest) == len(sizes) - 1 and isinstance(sizes[0], int):
        return Constant(x.path, x.array.reshape([sizes[0], *rest]))
    if (
        not isinstance(x, Value)
        or len(rest) != len(sizes) - 1
        or not (sizes[0] in (batch, -1) or isinstance(sizes[0], Batch))
    ):
        raise a.fail("must keep the batch as its first dimension; use torch.flatten(x, 1)")
    return a.builder.reshape(a.layer, x, rest)


def _flatten(a: Arguments) -> Result:
    x = a.value()
    start = a.axis(len(x.shape), "start_dim", 0)
    end = a.axis(len(x.shape), "end_dim", -1)
    if start < 0 or end < start:
        raise a.fail("must keep the batch as its first dimension; use torch.flatten(x, 1)")
    return a.builder.reshape(a.layer, x, (*x.shape[:start], -1, *x.shape[end + 1 :]))


def _squeeze(a: Arguments) -> Result:
    x = a.value()
    if not a.has("dim"):
        if a.batch in (1, -1):
            raise a.fail("must name its dimensions, or it drops the batch of one image; use torch.flatten(x, 1)")
        axes = list(range(len(x.shape)))
    else:
        axes = [a.wrap(d, len(x.shape)) for d in a.integers("dim")]
    return a.builder.reshape(a.layer, x, [s for i, s in enumerate(x.shape) if s != 1 or i not in axes])


def _unsqueeze(a: Arguments) -> Result:
    x = a.value()
    axis = a.axis(len(x.shape) + 1)
    if axis < 0:
        raise a.fail("must keep the batch as its first dimension")
    return a.builder.reshape(a.layer, x, (*x.shape[:axis], 1, *x.shape[axis:]))


def _slice(a: Arguments) -> Result:
    x = a.value()
    axis, step = a.axis(len(x.shape), default=0), a.integer("step", 1)
    start, stop = a.integer("start", 0), a.integer("end", 2**63 - 1)
    batch = a.batch
    if axis < 0 and step == 1 and start == 0 and stop >= max(batch, 2**31):
        return x
    return a.builder.slice(a.layer, x, axis, start, stop, step)


def _pad(a: Arguments) -> Result:
    x, pads, mode = a.value(), a.integers("pad"), a.given.get("mode", "constant")
    if mode != "constant":
        raise a.fail(f"must pad with zeros; the padding mode {str(mode)[:40]!r} is not supported")
    if len(pads) % 2 or len(pads) > 8 or any(pads[6:]):
        raise a.fail("must pad rows, columns or channels")
    pads = pads[:6] + [0] * (6 - len(pads))
    pairs = [(pads[4], pads[5]), (pads[2], pads[3]), (pads[0], pads[1])]
    return a.builder.pad(a.layer, x, pairs, a.number("value", 0.0))


def _transpose(a: Arguments) -> Result:
    x = a.any("self")
    if not isinstance(x, Constant):
        raise a.fail("must not reorder the dimensions of an activation, which is not supported")
    if a.operation == "permute":
        order = a.integers("dims")
    elif a.operation == "t":
        order = list(range(x.array.ndim))[::-1]
    else:
        order = list(range(x.array.ndim))
        i, j = a.integer("dim0"), a.integer("dim1")
        order[i], order[j] = order[j], order[i]
    return Constant(x.path, x.array.transpose(order))


def _same_value(a: Arguments) -> Result:
    return a.any("self" if "self" in a.given else "input")


def _cast(a: Arguments) -> Result:
    kind = a.given.get("dtype")
    if kind is not None and kind not in ("float16", "bfloat16", "float32", "float64"):
        raise a.fail(f"must keep activations in floating point, not convert them to {str(kind)[:40]}")
    return _same_value(a)


def _dropout(a: Arguments) -> Result:
    if a.flag("train", False):
        raise a.fail("must not drop values; call model.eval() before exporting")
    return _same_value(a)


def _size(a: Arguments) -> Result:
    x = a.value()
    axis = a.axis(len(x.shape))
    return Batch() if axis < 0 else x.shape[axis]


Handler = Callable[[Arguments], Result]

HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(("conv2d", "convolution", "_convolution"), _conv),
    **dict.fromkeys(("mm", "matmul"), _matmul),
    **dict.fromkeys(("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training"), _batch_norm),
    **dict.fromkeys(("clamp", "hardtanh", "clamp_min"), _clamp),
    **dict.fromkeys(("add", "sub", "rsub", "mul", "div"), _arithmetic),
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), _max_pool),
    **dict.fromkeys(("adaptive_avg_pool2d", "_adaptive_avg_pool2d"), _adaptive_average),
    **dict.fromkeys(("cat", "concat"), _concat),
    **dict.fromkeys(("softmax", "log_softmax", "_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("view", "reshape", "_unsafe_view"), _view),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    **dict.fromkeys(("t", "transpose", "permute"), _transpose),
    **dict.fromkeys(("contiguous", "clone", "alias", "detach", "lift_fresh_copy"), _same_value),
    **dict.fromkeys(("to", "_to_copy", "type_as"), _cast),
    **dict.fromkeys(("dropout", "feature_dropout"), _dropout),
    "linear": _linear,
    "addmm": _addmm,
    "relu": _relu,
    "relu6": _relu6,
    "avg_pool2d": _average_pool,
    "adaptive_max_pool2d": _adaptive_max,
    "mean": _mean,
    "flatten": _flatten,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "slice": _slice,
    "sym_size": _size,
}

# Their result shares the memory of their first argument.
VIEWS = frozenset(
    (
        *("view", "reshape", "flatten", "squeeze", "unsqueeze", "slice", "t", "transpose", "permute"),
        *("contiguous", "alias", "detach", "to", "dropout", "feature_dropout"),
    )
)
