"""An exported torch program as plain data: a list of ATen calls, and typed access to their arguments.

`load_export.py` fills it from a live module, `pt2.py` from an archive; neither kind of object comes further than this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from .errors import ModelError
from .rawbuilder import GraphBuilder
from .rawgraph import Constant, Pads, Unsupported, Value

Array = NDArray[Any]


@dataclass(frozen=True)
class Ref:
    """The result of another call, a parameter or the input, by its name in the program."""

    name: str


@dataclass(frozen=True)
class Call:
    """One ATen operation: `aten.conv2d.default` and its arguments by the names of its schema."""

    target: str
    arguments: Mapping[str, Any]
    outputs: tuple[str, ...]
    module: str = ""  # path of the module it was called in
    leaf: bool = False  # whether that is one of torch's own layers


@dataclass(frozen=True)
class Program:
    """A network with one input and one output. `constants` are read when a call uses them."""

    name: str
    input: str
    input_shape: tuple[int, ...]  # with the batch; −1 where it is free
    output: str
    calls: Sequence[Call]
    constants: Mapping[str, Callable[[], Constant]]


@dataclass(frozen=True)
class Batch:
    """The number of images, where a program computes with it."""


Result = Value | Constant | Batch | int | Unsupported


class Arguments:
    """The arguments of one call, with their types checked on the way out."""

    def __init__(self, builder: GraphBuilder, call: Call, batch: int, read: Callable[[Any, str], Result]) -> None:
        self.builder = builder
        self.given = call.arguments
        self.batch = batch  # number of images the program was exported with; −1 if free
        self._read = read
        self.operation = call.target.removeprefix("aten.").partition(".")[0]
        name = self.operation.strip("_")
        self.layer = call.module if call.leaf else f"{call.module}.{name}".lstrip(".")

    def fail(self, rule: str) -> ModelError:
        return ModelError(f"{self.layer} ({self.operation}) {rule}")

    def has(self, name: str) -> bool:
        return self.given.get(name) is not None

    def value(self, name: str = "self") -> Value:
        return self.activation(self.given.get(name))

    def activation(self, argument: Any) -> Value:
        return as_activation(self._read(argument, self.layer), self.layer)

    def any(self, name: str) -> Result:
        return self._read(self.given.get(name), self.layer)

    def read(self, argument: Any) -> Result:
        return self._read(argument, self.layer)

    def constant(self, name: str) -> Constant:
        result = self.any(name)
        if not isinstance(result, Constant):
            raise self.fail(f"{name} must be a parameter, not computed by the network")
        return result

    def optional(self, name: str) -> Array | None:
        return self.constant(name).array if self.has(name) else None

    def integer(self, name: str, default: int | None = None) -> int:
        value = self.given.get(name)
        value = default if value is None else value
        if not isinstance(value, int):
            raise self.fail(f"{name} must be an integer, not {str(value)[:80]}")
        return int(value)

    def number(self, name: str, default: float | None = None) -> float:
        value = self.given.get(name)
        value = default if value is None else value
        if not isinstance(value, int | float):
            raise self.fail(f"{name} must be a number, not {str(value)[:80]}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        return bool(self.integer(name, default))

    def integers(self, name: str) -> list[int]:
        values = self.given.get(name)
        values = [values] if isinstance(values, int) else [] if values is None else values
        if not isinstance(values, list) or not all(isinstance(v, int) for v in values):
            raise self.fail(f"{name} must be integers, not {str(values)[:80]}")
        return [int(v) for v in values]

    def pair(self, name: str, default: tuple[int, int]) -> tuple[int, int]:
        values = self.integers(name)
        if len(values) not in (0, 1, 2):
            raise self.fail(f"{name} must be one or two numbers (a 2-D layer), not {len(values)}")
        return (values[0], values[-1]) if values else default

    def pads(self) -> Pads:
        y, x = self.pair("padding", (0, 0))
        return (y, x, y, x)

    def axis(self, rank: int, name: str = "dim", default: int | None = None) -> int:
        """A dimension, counted without the batch: −1 is the batch itself."""
        return self.wrap(self.integer(name, default), rank)

    def wrap(self, dimension: int, rank: int) -> int:
        if not -rank - 1 <= dimension <= rank:
            raise self.fail(f"dimension must be at most {rank}, not {dimension}")
        return dimension % (rank + 1) - 1

    def path(self, *names: str) -> str:
        """The layer a parameter belongs to: its path without the last part."""
        for name in names:
            argument = self.given.get(name)
            if isinstance(argument, Ref):
                return self.constant(name).path.rpartition(".")[0] or self.layer
        return self.layer


def as_activation(result: Result, layer: str) -> Value:
    if not isinstance(result, Value):
        raise ModelError(f"{layer} must read an activation; computing with parameters alone is not supported")
    return result


def is_layer(kind: str) -> bool:
    """Whether a class, by its dotted name, is one of torch's layers (and not a container of them)."""
    return kind.startswith("torch.nn.modules.") and not kind.startswith("torch.nn.modules.container.")
