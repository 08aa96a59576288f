"""An ONNX graph as plain data (`onnx_program.py`) → raw `Graph`.

Small integer arithmetic on shapes (`Shape → Gather → Concat → Reshape`) is carried out (`onnx_fold.py`), because the
input's shape is known. Operations are accepted by name from a table (`onnx_ops.py`); anything else is refused with its
name and its node's, if its result is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .errors import ModelError
from .graph import Graph
from .onnx_fold import FOLDS
from .onnx_ops import HANDLERS
from .onnx_program import OnnxNode, OnnxProgram, Operation, Result, read
from .rawbuilder import GraphBuilder
from .rawgraph import SUPPORTED, Constant, Unsupported, Value
from .untrusted import Budget

FREE_BATCH = 1_000_003  # stands for a batch size the file leaves open; a prime, so that products with it are noticed
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinear", "ConvInteger", "MatMulInteger", "::Quant", "::IntQuant")


def convert(program: OnnxProgram, input_shape: Sequence[int], budget: Budget) -> Graph:
    """The raw graph of a program for one input shape (channels, height, width)."""
    for node in program.nodes:
        if any(q in node.operation for q in _QUANTIZED):
            raise ModelError(
                f"{program.name} must be the float network, but holds {node.operation} "
                f"({node.name or node.outputs[:1]}): it is quantized already; give the file it was made from"
            )
    builder = GraphBuilder(program.name, input_shape, budget)
    state = _State(program, builder, {k: Constant(k, v) for k, v in program.constants.items()}, budget)
    state.results[program.input] = builder.input
    for index, node in enumerate(program.nodes):
        state.run(node, index)
    output = read(state.results, program.output, "the output")
    if not isinstance(output, Value):
        raise ModelError(f"{program.name} must compute its output from its input, but it is constant")
    return builder.finish(output)


@dataclass
class _State:
    program: OnnxProgram
    builder: GraphBuilder
    results: dict[str, Result]
    budget: Budget
    batch: int = field(init=False)

    def __post_init__(self) -> None:
        declared = self.program.input_shape[0]
        self.batch = declared if declared > 0 else FREE_BATCH

    def run(self, node: OnnxNode, index: int) -> None:
        operation = Operation(self.builder, node, index, self.batch, self.program.opset, self.results)
        try:
            result = self._result(operation)
        except ModelError as error:  # fails the network only if the result is read
            result = Unsupported(str(error))
        for name in node.outputs[:1]:
            self.results[name] = result
        for name in node.outputs[1:]:
            self.results[name] = Unsupported(
                f"{operation.layer} is used for more than its first result, which is not supported"
            )

    def _result(self, a: Operation) -> Result:
        inputs = [read(self.results, name, a.layer) if name else None for name in a.node.inputs]
        constants = [i for i in inputs if isinstance(i, Constant)]
        if a.node.operation in FOLDS and not any(isinstance(i, Value) for i in inputs):
            arrays = [i.array if isinstance(i, Constant) else None for i in inputs]
            array = FOLDS[a.node.operation](a.node.attributes, arrays)
            self.budget.spend(array.nbytes, a.layer)
            return Constant(constants[0].path if constants else a.node.outputs[0], array)
        handler = HANDLERS.get(a.node.operation)
        if handler is None:
            raise ModelError(
                f"{a.layer} uses {a.node.operation}, which is not supported; supported are {SUPPORTED}. "
                "Replace it in the network, or leave it out, and export again"
            )
        return handler(a)
