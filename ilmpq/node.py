"""One operation of a network: its window, the fields it may have, and its form in a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from . import strict
from .errors import InvariantError, ModelError

MAX_VALUES = 2**27  # per image and tensor (512 MB of float32), padding included; also of a window's numbers


class Op(StrEnum):
    """What a node computes."""

    INPUT = "input"
    CONV = "conv"
    LINEAR = "linear"
    MAX_POOL = "max_pool"
    AVG_POOL = "avg_pool"
    CONCAT = "concat"
    FLATTEN = "flatten"
    SUBSAMPLE = "subsample"  # every stride-th pixel, zero channels before and after: an option-A shortcut
    # Only in raw graphs:
    BATCH_NORM = "batch_norm"
    RELU = "relu"
    ADD = "add"
    IDENTITY = "identity"
    ADAPTIVE_POOL = "adaptive_pool"  # average over `window.kernel` = output size


CANONICAL = frozenset({Op.INPUT, Op.CONV, Op.LINEAR, Op.MAX_POOL, Op.AVG_POOL, Op.CONCAT, Op.FLATTEN, Op.SUBSAMPLE})
WEIGHTED = frozenset({Op.CONV, Op.LINEAR})
POOLS = frozenset({Op.MAX_POOL, Op.AVG_POOL})

# How many inputs a node has (from, to), and which fields it may set besides `name`, `op` and `inputs`.
_ANY = MAX_VALUES
_INPUTS = {Op.INPUT: (0, 0), Op.CONV: (1, 2), Op.LINEAR: (1, 2), Op.CONCAT: (1, _ANY), Op.ADD: (2, _ANY)}
_FIELDS = {
    Op.CONV: {"window", "groups", "relu", "relu_max"},
    Op.LINEAR: {"relu", "relu_max"},
    Op.MAX_POOL: {"window"},
    Op.AVG_POOL: {"window", "relu", "relu_max", "count_pad"},
    Op.SUBSAMPLE: {"window", "channels_before", "channels_after"},
    Op.RELU: {"relu_max"},
    Op.ADAPTIVE_POOL: {"window"},
}


@dataclass(frozen=True)
class Window:
    """The sliding window of a convolution or a pool; pairs are (vertical, horizontal).

    `pad` is (top, left, bottom, right); a pool's ceil mode is expressed by padding at the bottom and the right.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the output; zero or less when the window does not fit.

        >>> Window((3, 3), (2, 2), (1, 1, 1, 1)).output_size(56, 56)
        (28, 28)
        """
        top, left, bottom, right = self.pad
        span_y = self.dilation[0] * (self.kernel[0] - 1) + 1
        span_x = self.dilation[1] * (self.kernel[1] - 1) + 1
        return (
            (height + top + bottom - span_y) // self.stride[0] + 1,
            (width + left + right - span_x) // self.stride[1] + 1,
        )

    def always_meets(self, height: int, width: int) -> bool:
        """Whether the window holds at least one pixel of the image, not padding alone, at every output position.

        >>> Window((2, 2), (1, 1), (1, 1, 1, 1)).always_meets(4, 4)
        True
        >>> Window((2, 2), (1, 1), (2, 0, 0, 0)).always_meets(4, 4)
        False
        """
        return all(
            _always_meets(size, self.pad[axis], outputs, self.kernel[axis], self.stride[axis], self.dilation[axis])
            for axis, (size, outputs) in enumerate(zip((height, width), self.output_size(height, width), strict=True))
        )

    def verify(self, name: str) -> None:
        """Check what holds whatever the image."""
        if min(*self.kernel, *self.stride, *self.dilation) < 1 or min(self.pad) < 0:
            raise ModelError(f"{name} kernel, stride and dilation must be positive and its padding not negative")


@dataclass(frozen=True)
class Node:
    """One operation. Fields that its `op` does not use keep their defaults."""

    name: str
    op: Op
    inputs: tuple[str, ...] = ()
    window: Window | None = None
    groups: int = 1
    relu: bool = False  # clip at zero from below (CONV, LINEAR, AVG_POOL; a raw RELU node always clips)
    relu_max: float | None = None  # and at this from above (ReLU6)
    count_pad: bool = True  # AVG_POOL: padded pixels count in the divisor
    channels_before: int = 0  # SUBSAMPLE: zero channels put before and after
    channels_after: int = 0

    @property
    def weighted(self) -> bool:
        return self.op in WEIGHTED

    @property
    def skip(self) -> str | None:
        """The residual tensor that is added before the clip."""
        return self.inputs[1] if self.weighted and len(self.inputs) == 2 else None

    def verify(self) -> None:
        """Check every rule that concerns this node alone."""
        if not self.name or not self.name.isprintable():
            raise InvariantError(f"node name must be printable and not empty, not {self.name!r}")
        least, most = _INPUTS.get(self.op, (1, 1))
        if not least <= len(self.inputs) <= most:
            raise InvariantError(f"{self.name} ({self.op.value}) must not have {len(self.inputs)} inputs")
        self._verify_fields()
        if self.window is not None:
            self._verify_window(self.window)

    def _verify_fields(self) -> None:
        allowed = _FIELDS.get(self.op, set())
        unused = [k for k, default in _DEFAULTS.items() if k not in allowed and getattr(self, k) != default]
        if unused:
            raise InvariantError(f"{self.name} ({self.op.value}) must not have {', '.join(unused)}")
        if ("window" in allowed) != (self.window is not None):
            raise InvariantError(f"{self.name} ({self.op.value}) must have a window")
        if self.groups < 1 or min(self.channels_before, self.channels_after) < 0:
            raise InvariantError(f"{self.name} groups must be positive and its channels of zeros not negative")
        if self.relu_max is not None and not (0 < self.relu_max < math.inf and (self.relu or self.op is Op.RELU)):
            raise InvariantError(f"{self.name} must clip from 0 to a positive number, not to {self.relu_max}")

    def _verify_window(self, window: Window) -> None:
        window.verify(self.name)
        if max(*window.kernel, *window.stride, *window.dilation, *window.pad) > MAX_VALUES:
            raise ModelError(f"{self.name} kernel, stride, dilation and padding must be at most {MAX_VALUES}")
        if self.op is Op.AVG_POOL and window.dilation != (1, 1):
            raise InvariantError(f"{self.name} (an average pool) must not be dilated")
        if self.op is Op.SUBSAMPLE and window != Window((1, 1), window.stride):
            raise InvariantError(f"{self.name} (subsample) must have a window of one pixel without padding")

    def to_data(self) -> dict[str, Any]:
        """The node as JSON knows it; fields with their default are left out."""
        return {k: v for k, v in asdict(self).items() if v != _DEFAULTS.get(k, ...)} | {"op": self.op.value}

    @staticmethod
    def from_data(data: object) -> Node:
        """The inverse of `to_data`; `ValueError` if there is a field too few, too many or of another type."""
        found = strict.record(data, "a node", {"name", "op"}, {"inputs", *_DEFAULTS})
        name = strict.text(found.pop("name"), "a node's name")
        op = Op(strict.text(found.pop("op"), f"{name} op"))
        inputs = tuple(strict.text(i, f"{name} input") for i in strict.items(found.pop("inputs", []), f"{name} inputs"))
        return Node(name, op, inputs, **{k: _READERS[k](v, f"{name} {k}") for k, v in found.items()})


def _always_meets(size: int, before: int, outputs: int, kernel: int, stride: int, dilation: int) -> bool:
    """The same along one axis: no window starts behind the image, and what starts before it reaches into it.

    A window that starts at -m has its first tap at 0 or later at (-m) mod dilation.
    """
    if (outputs - 1) * stride - before >= size or before > dilation * (kernel - 1):
        return False
    starts = range(-before, min(0, outputs * stride - before), stride)
    return dilation <= size or all(start % dilation < size for start in starts)


def _window(data: object, what: str) -> Window:
    lengths = {"kernel": 2, "stride": 2, "pad": 4, "dilation": 2}
    found = strict.record(data, what, lengths)
    return Window(**{k: strict.wholes(found[k], f"{what} {k}", n) for k, n in lengths.items()})  # type: ignore[arg-type]


_DEFAULTS: Mapping[str, Any] = {f.name: f.default for f in fields(Node) if f.name not in ("name", "op", "inputs")}
_READERS: Mapping[str, Any] = {
    "window": _window,
    "groups": strict.whole,
    "relu": strict.truth,
    "relu_max": strict.real,
    "count_pad": strict.truth,
    "channels_before": strict.whole,
    "channels_after": strict.whole,
}
