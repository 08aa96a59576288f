"""The reference executor of a program: what the hardware computes, exactly, fast enough for data sets.

Sums of products are taken in float32 where every partial sum is provably below 2^24, in float64 otherwise (always
below 2^53); what follows is float64 on integers below 2^53, where additions, multiplications by integers and by powers
of two, and rounding to even are exact.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .codes import read_codes, to_codes
from .errors import UsageError
from .forward import average_pool_sum, run_before_clip
from .graph import Node, Op
from .program import Arithmetic, Program
from .storage import MOVES

EXACT_FLOAT32 = 2**24


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

    @torch.no_grad()
    def __call__(self, codes: Tensor, observe: Callable[[Node, Tensor], None] | None = None) -> Tensor:
        """Integer logits (int64) of a batch of input codes; `observe` sees every node's codes."""
        self._check(codes)
        graph = self.program.graph
        last = {source: node.name for node in graph.nodes for source in node.inputs}
        live: dict[str, Tensor] = {}
        for node in graph.nodes:
            live[node.name] = codes if node.op is Op.INPUT else self._run(node, [live[i] for i in node.inputs])
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

    def _run(self, node: Node, inputs: list[Tensor]) -> Tensor:
        if node.op in MOVES:
            return run_before_clip(node, [x.float() for x in inputs] if inputs[0].dtype != torch.int64 else inputs).to(
                inputs[0].dtype
            )
        if node.op is Op.AVG_POOL:
            return self._finish(node, average_pool_sum(node, inputs[0].double()), None)
        weight = self._weights[node.name]
        stored = self.program.tensor(node.inputs[0])
        assert stored is not None
        matrix = self.program.matrices[node.name]
        seen = read_codes(inputs[0], stored.format, self.program.seen(node.name), matrix.input_shift).to(weight.dtype)
        shape = (1, -1, 1, 1) if node.op is Op.CONV else (1, -1)
        if node.op is Op.CONV:
            assert node.window is not None
            top, left, bottom, right = node.window.pad
            padded = F.pad(seen, (left, right, top, bottom))
            acc = F.conv2d(padded, weight, None, node.window.stride, 0, node.window.dilation, node.groups)
        else:
            acc = F.linear(seen, weight)
        return self._finish(node, acc.double() + self._biases[node.name].view(shape), inputs[1] if node.skip else None)

    def _finish(self, node: Node, acc: Tensor, skip: Tensor | None) -> Tensor:
        """Requantize sums to codes, or to int64 logits."""
        a: Arithmetic = self.program.arithmetic[node.name]
        multiplier = torch.from_numpy(a.multiplier).double()
        if node.op is Op.AVG_POOL:
            factor = multiplier.view(acc.shape[2:]) if len(multiplier) > 1 else multiplier
        else:
            factor = multiplier.view((1, -1, 1, 1) if acc.ndim == 4 else (1, -1))
        v = acc.mul_(factor)
        if skip is not None:
            v += skip.double() * a.skip_multiplier
        v = v.mul_(2.0**-a.shift).round_().clamp_(a.low, a.high)
        stored = self.program.tensor(node.name)
        if stored is None:
            return v.long()
        return v.to(torch.int8 if stored.format.signed else torch.uint8)
