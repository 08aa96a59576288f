"""The reference executor of a program: what the hardware computes, exactly, fast enough for data sets.

Sums of products are taken in float32 where every partial sum is provably below 2^24, in float64 otherwise (always
below 2^53); what follows is float64 on integers below 2^53, where additions, multiplications by integers and by powers
of two, and rounding to even are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from .codes import read_codes, to_codes
from .errors import UsageError
from .forward import average_pool_sum, run_before_clip
from .graph import Node, Op
from .program import EXACT_FLOAT32, Arithmetic, Program
from .storage import MOVES


class Executor:
    """Runs a program on batches of images; keeps its constants as tensors between batches."""

    def __init__(self, program: Program) -> None:
        self.program = program.verify()
        self._weights: dict[str, Tensor] = {}
        self._biases: dict[str, Tensor] = {}
        for node in program.graph.weighted:
            matrix = program.matrices[node.name]
            exact = int(program.sum_bound(node.name).max(initial=0)) < EXACT_FLOAT32
            codes = torch.from_numpy(matrix.codes).to(torch.float32 if exact else torch.float64)
            self._weights[node.name] = codes.view(program.graph.weight_shape(node))
            self._biases[node.name] = torch.from_numpy(matrix.bias).double()

    def input_codes(self, images: Tensor) -> Tensor:
        """Quantize real images as the host does."""
        expected = self.program.graph.input_shape
        if images.ndim != 4 or tuple(images.shape[1:]) != expected or not images.is_floating_point():
            raise UsageError(
                f"input must be float images of N×{'×'.join(map(str, expected))}, not {images.dtype} {tuple(images.shape)}"
            )
        tensor = self.program.tensor(self.program.graph.input.name)
        assert tensor is not None
        return to_codes(images, tensor)

    def __call__(self, codes: Tensor, observe: Callable[[Node, Tensor], None] | None = None) -> Tensor:
        """Integer logits (int64) of a batch of input codes; `observe` sees every node's codes."""
        self._check(codes)
        graph = self.program.graph
        last = {source: node.name for node in graph.nodes for source in node.inputs}
        live: dict[str, Tensor] = {}
        for node in graph.nodes:
            live[node.name] = codes if node.op is Op.INPUT else self.run_node(node, [live[i] for i in node.inputs])
            if observe is not None:
                observe(node, live[node.name])
            for source in node.inputs:
                if last[source] == node.name:
                    live.pop(source, None)
        return live[graph.output.name].long()

    def _check(self, codes: Tensor) -> None:
        """That these are input codes of the network."""
        expected = self.program.graph.input_shape
        if codes.ndim != 4 or tuple(codes.shape[1:]) != expected or codes.dtype != torch.int8:
            shape = "×".join(map(str, expected))
            raise UsageError(f"input must be int8 codes of N×{shape}, not {codes.dtype} {tuple(codes.shape)}")
        if codes.numel() and int(codes.min()) < -127:
            raise UsageError("input codes must be from -127 to 127, but one is -128")

    def logits(self, images: Tensor, observe: Callable[[Node, Tensor], None] | None = None) -> Tensor:
        """Real logits (float64) of real images."""
        return self(self.input_codes(images), observe).double() * self.program.logits_scale

    def run_node(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        """A node's codes, or int64 logits, from the codes of its inputs."""
        with _exact_arithmetic():
            return self._run(node, inputs)

    def before_rounding(self, node: Node, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """A computing node's outputs in steps, not yet rounded or clamped, and the sums of their terms' sizes."""
        with _exact_arithmetic():
            sizes = [x.abs() if x.dtype == torch.uint8 else x.short().abs() for x in inputs]
            return self._scaled(node, inputs), self._scaled(node, sizes, size=True)

    def _run(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        if node.op in MOVES:
            x = [i.double() if i.dtype == torch.int64 else i.float() for i in inputs]
            return run_before_clip(node, x).to(inputs[0].dtype)
        a, stored = self.program.arithmetic[node.name], self.program.tensor(node.name)
        codes = self._scaled(node, inputs).round_().clamp_(a.low, a.high)
        return codes.long() if stored is None else codes.to(torch.int8 if stored.format.signed else torch.uint8)

    def _scaled(self, node: Node, inputs: Sequence[Tensor], size: bool = False) -> Tensor:
        """v / 2^shift in float64, exactly; with `size`, of the weights' and biases' absolute values."""
        a: Arithmetic = self.program.arithmetic[node.name]
        acc = average_pool_sum(node, inputs[0].double()) if node.op is Op.AVG_POOL else self._sum(node, inputs[0], size)
        multiplier = torch.from_numpy(a.multiplier).double()
        if node.op is not Op.AVG_POOL:
            multiplier = multiplier.view(_per_row(acc))
        elif len(multiplier) > 1:
            multiplier = multiplier.view(acc.shape[2:])
        v = acc.mul_(multiplier)
        if node.skip is not None:
            v += inputs[1].double() * a.skip_multiplier
        return v.mul_(2.0**-a.shift)

    def _sum(self, node: Node, x: Tensor, size: bool) -> Tensor:
        """Convolution or matrix product with bias."""
        weight, bias = self._weights[node.name], self._biases[node.name]
        if size:
            weight, bias = weight.abs(), bias.abs()
        stored = self.program.tensor(node.inputs[0])
        assert stored is not None
        shift = self.program.matrices[node.name].input_shift
        seen = read_codes(x, stored.format, self.program.seen(node.name), shift).to(weight.dtype)
        if node.op is Op.LINEAR:
            acc = F.linear(seen, weight)
        else:
            assert node.window is not None
            top, left, bottom, right = node.window.pad
            padded = F.pad(seen, (left, right, top, bottom))
            acc = F.conv2d(padded, weight, None, node.window.stride, 0, node.window.dilation, node.groups)
        return acc.double() + bias.view(_per_row(acc))


def _per_row(acc: Tensor) -> tuple[int, ...]:
    return (1, -1, 1, 1) if acc.ndim == 4 else (1, -1)


@contextmanager
def _exact_arithmetic() -> Iterator[None]:
    """Sums of products as products and sums: no transformed convolutions (NNPACK's), no lower precision."""
    with torch.no_grad(), torch.backends.nnpack.flags(enabled=False), torch.autocast("cpu", enabled=False):
        yield
