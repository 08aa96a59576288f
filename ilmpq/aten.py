"""An exported torch program (`aten_program.py`) → raw `Graph`.

Operations are accepted by name from a table (`aten_ops.py`); anything else is refused with its name and its layer's,
if its result is used. Operations in place change what earlier names of the same memory stand for, as in torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .aten_ops import HANDLERS, VIEWS
from .aten_program import Arguments, Call, Program, Ref, Result, as_activation
from .errors import ModelError
from .graph import Graph
from .rawbuilder import GraphBuilder
from .rawgraph import SUPPORTED, Unsupported, Value
from .untrusted import Budget


def convert(program: Program, input_shape: Sequence[int], budget: Budget | None = None) -> Graph:
    """The raw graph of a program for one input shape (channels, height, width)."""
    state = _State(program, GraphBuilder(program.name, input_shape, budget))
    for call in program.calls:
        state.run(call)
    return state.builder.finish(as_activation(state.read(Ref(program.output), "output"), "output"))


@dataclass
class _State:
    """What each name stands for while the calls are gone through."""

    program: Program
    builder: GraphBuilder
    results: dict[str, Result] = field(default_factory=dict)
    storage: dict[str, str] = field(default_factory=dict)  # name → first name of the same memory
    aliases: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.results[self.program.input] = self.builder.input

    def run(self, call: Call) -> None:
        base = call.target.removeprefix("aten.").partition(".")[0]
        in_place = base.endswith("_") and not base.endswith("__")
        handler = HANDLERS.get(base.removesuffix("_") if in_place else base)
        arguments = Arguments(self.builder, call, self.program.input_shape[0], self.read)
        result: Result  # an operation that fails fails the network only if its result is read
        if handler is None or not call.target.startswith("aten."):
            result = self._failed_input(call) or Unsupported(
                f"{arguments.layer} uses {call.target}, which is not supported; "
                f"supported are {SUPPORTED}. Replace it in the network, or leave it out, and export again"
            )
        else:
            try:
                result = handler(arguments)
            except ModelError as error:
                result = Unsupported(str(error))
        first = arguments.given.get("self", arguments.given.get("input"))
        if in_place and isinstance(first, Ref):
            self._write(first.name, result, arguments.layer)
        for name in call.outputs[:1]:
            self.results[name] = result
            if isinstance(first, Ref) and (in_place or base in VIEWS):
                root = self.storage.setdefault(first.name, first.name)
                self.storage[name] = root
                self.aliases.setdefault(root, [first.name]).append(name)
        for name in call.outputs[1:]:
            self.results[name] = Unsupported(
                f"{arguments.layer} is used for more than its first result, which is not supported"
            )

    def _failed_input(self, call: Call) -> Unsupported | None:
        """The first thing that went wrong is the one to tell."""
        inputs = [self.results.get(a.name) for a in call.arguments.values() if isinstance(a, Ref)]
        return next((i for i in inputs if isinstance(i, Unsupported)), None)

    def _write(self, name: str, result: Result, layer: str) -> None:
        """After an operation in place, all names of the same memory read the new values."""
        old = self.results.get(name)
        root = self.storage.get(name, name)
        for other in self.aliases.get(root, [name]):
            same = other == name or _same(self.results.get(other), old)
            message = f"{layer} changes in place what another operation reads in another shape; write it out of place"
            self.results[other] = result if same else Unsupported(message)

    def read(self, argument: Any, layer: str) -> Result:
        if isinstance(argument, int):
            return argument
        if not isinstance(argument, Ref):
            raise ModelError(f"{layer} must read tensors, not {str(argument)[:80]!r}")
        if argument.name not in self.results:
            if argument.name not in self.program.constants:
                raise ModelError(f"{layer} reads {argument.name!r}, which nothing computes; export the network again")
            self.results[argument.name] = self.program.constants[argument.name]()
        result = self.results[argument.name]
        if isinstance(result, Unsupported):
            raise ModelError(result.message)
        return result


def _same(a: Result | None, b: Result | None) -> bool:
    return isinstance(a, Value) and isinstance(b, Value) and (a.node, a.shape, a.stride) == (b.node, b.shape, b.stride)
