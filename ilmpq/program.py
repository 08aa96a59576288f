"""The integer program: what every executor (software, HLS, RTL, board) computes, with every constant an integer.

A `Program` is the graph's nodes in order with, for each node that computes, an `Arithmetic`:

    acc = Σ code·a + bias                                    (a pool: the sum of its window)
    v   = acc·multiplier + skip·skip_multiplier              (int64)
    out = clamp(v / 2^shift rounded to nearest, ties to even; low, high)

Max pools, flattening, subsampling and concatenation move codes. `docs/formats.md` says the same with MUST words.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import strict
from .constants import MULTIPLIER_BITS as MULTIPLIER_BITS
from .constants import SKIP_MULTIPLIER_BITS as SKIP_MULTIPLIER_BITS
from .constants import Arithmetic as Arithmetic
from .constants import Matrix as Matrix
from .container import container_bytes, read_container
from .errors import InvariantError, ModelError
from .files import write_atomically
from .graph import Graph, Node, Op
from .rowquant import TensorQuant
from .scales import is_power_of_two, storable
from .storage import TensorFormat, formats, groups

KIND, VERSION = "integer program", 1
ACCUMULATOR = 2**31 - 1
EXACT_FLOAT32 = 2**24  # whole numbers up to here are exact in float32
LEAST_SCALE, LARGEST_SCALE = 2.0**-126, 2.0**119  # normal float32, and so is every 8-bit code times it


@dataclass(frozen=True)
class Program:
    """A whole network in integers. `tensors` is keyed by storage group; real logits are integers × `logits_scale`."""

    graph: Graph
    matrices: Mapping[str, Matrix]
    arithmetic: Mapping[str, Arithmetic]
    tensors: Mapping[str, TensorQuant]
    logits_scale: float
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def tensor(self, name: str) -> TensorQuant | None:
        """How the output of a node is stored; None for logits."""
        return self.tensors.get(groups(self.graph)[name])

    @property
    def formats(self) -> dict[str, TensorFormat]:
        """The format of every storage group."""
        return {name: tensor.format for name, tensor in self.tensors.items()}

    @property
    def power_of_two(self) -> bool:
        """Whether every scale is a power of two, so that requantization is shifts alone."""
        stored = np.array([self.logits_scale, *(t.scale for t in self.tensors.values())])
        return is_power_of_two(stored) and all(is_power_of_two(self.row_scale(name)) for name in self.matrices)

    @property
    def exact_in_float32(self) -> bool:
        """Whether float32 computes every sum exactly, for any input: scales are powers of two and sums below 2^24."""
        return self.power_of_two and all(
            self._sums_in_float32(n) for n in self.graph.nodes if n.name in self.arithmetic
        )

    def _sums_in_float32(self, node: Node) -> bool:
        """Whether no sum of a node, residual included, reaches 2^24 of the finest steps in it."""
        a = self.arithmetic[node.name]
        stored = self.tensor(node.inputs[0])
        assert stored is not None
        if not node.weighted:
            assert node.window is not None
            area = node.window.kernel[0] * node.window.kernel[1]
            return area * stored.format.high * int(a.multiplier.max()) < EXACT_FLOAT32
        unit = a.multiplier.astype(np.float64)
        reach = (self.sum_bound(node.name) + np.abs(self.matrices[node.name].bias.astype(np.int64))) * unit
        if node.skip is not None and a.skip_multiplier:
            skip = self.tensor(node.skip)
            assert skip is not None
            reach, unit = reach + skip.format.high * a.skip_multiplier, np.minimum(unit, a.skip_multiplier)
        return bool((reach / unit).max() < EXACT_FLOAT32)

    def scale(self, name: str) -> float:
        """What code 1 of a node's output is worth."""
        stored = self.tensor(name)
        return self.logits_scale if stored is None else stored.scale

    def row_scale(self, name: str) -> NDArray[np.float32]:
        """What code 1 of each row of a layer is worth: what its multiplier makes of it, nothing else."""
        a, seen = self.arithmetic[name], self.scale(self.graph[name].inputs[0]) * 2.0 ** self.matrices[name].input_shift
        return (a.multiplier * (2.0**-a.shift * self.scale(name) / seen)).astype(np.float32)

    def seen(self, name: str) -> TensorFormat:
        """The format in which a layer's arrays see its input."""
        stored = self.tensor(self.graph[name].inputs[0])
        assert stored is not None
        return stored.format.narrowed(self.matrices[name].input_bits)

    def sum_bound(self, name: str) -> NDArray[np.int64]:
        """The largest |Σ code·a| of each row for any input, also where a signed input is stored with an offset."""
        codes = np.abs(self.matrices[name].codes.astype(np.int64)).sum(axis=1)
        return np.asarray(codes * ((1 << self.seen(name).bits) - 1))

    def sum_range(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The least and the largest Σ code·a + bias of each row for any input."""
        matrix, seen = self.matrices[name], self.seen(name)
        codes = matrix.codes.astype(np.int64)
        positive, negative = np.maximum(codes, 0).sum(axis=1), np.minimum(codes, 0).sum(axis=1)
        bias = matrix.bias.astype(np.int64)
        return positive * seen.low + negative * seen.high + bias, positive * seen.high + negative * seen.low + bias

    def verify(self) -> Program:
        """Check every rule; `ModelError` names the layer whose accumulator could overflow."""
        self.graph.verify()
        if set(self.matrices) != {n.name for n in self.graph.weighted} or set(self.arithmetic) != self._computing():
            raise InvariantError("matrices and arithmetic must be those of the graph's layers and average pools")
        self._verify_tensors()
        self._verify_scales()
        for node in self.graph.nodes:
            if node.weighted:
                self._verify_matrix(node)
            elif node.op is Op.AVG_POOL:
                self._verify_pool(node)
            if node.name in self.arithmetic:
                self._verify_arithmetic(node)
        return self

    def _computing(self) -> set[str]:
        return {n.name for n in self.graph.nodes if n.weighted or n.op is Op.AVG_POOL}

    def _verify_tensors(self) -> None:
        needed = formats(self.graph, {k: m.input_bits for k, m in self.matrices.items()})
        if {k: t.format for k, t in self.tensors.items()} != needed:
            raise InvariantError("tensors must be stored as the graph and its readers ask")

    def _verify_scales(self) -> None:
        for name, scale in {**{k: t.scale for k, t in self.tensors.items()}, "logits": self.logits_scale}.items():
            if not (LEAST_SCALE <= scale <= LARGEST_SCALE and storable(scale) == scale):
                raise InvariantError(
                    f"tensor {name} scale must be positive, from 2^-126 to 2^119, and of at most 16 significant bits, "
                    f"not {scale}"
                )
        if self.scale(self.graph.output.name) != self.logits_scale:
            raise InvariantError(f"logits scale must be that of the stored output, not {self.logits_scale}")

    def _verify_matrix(self, node: Node) -> None:
        matrix, stored = self.matrices[node.name], self.tensor(node.inputs[0])
        assert stored is not None
        rows, *columns = self.graph.weight_shape(node)
        matrix.verify(node.name, rows, math.prod(columns), stored.format.bits)
        bound = self.sum_bound(node.name) + np.abs(matrix.bias.astype(np.int64))
        if bound.max(initial=0) > ACCUMULATOR:
            row = int(bound.argmax())
            raise ModelError(f"{node.name} row {row}: sums can reach {bound[row]:,}, beyond the int32 accumulator")

    def _verify_pool(self, node: Node) -> None:
        stored = self.tensor(node.inputs[0])
        assert stored is not None
        assert node.window is not None
        bound = math.prod(node.window.kernel) * stored.format.high
        if bound > ACCUMULATOR:
            raise ModelError(f"{node.name}: sums can reach {bound:,}, beyond the int32 accumulator")

    def _verify_arithmetic(self, node: Node) -> None:
        stored, shape = self.tensor(node.name), self.graph.shapes[node.name]
        low, high = (stored.format.low, stored.format.high) if stored else (-ACCUMULATOR - 1, ACCUMULATOR)
        lengths = {shape[0]} if node.weighted else {1, shape[1] * shape[2]}
        self.arithmetic[node.name].verify(
            node.name, lengths, max(low, 0) if node.relu else low, high, node.skip is not None
        )

    def save(self, path: Path) -> None:
        """Write the file in one step (see `docs/formats.md`)."""
        write_atomically(path, self.to_bytes())

    def checksum(self) -> str:
        """What identifies the program: SHA-256 of its file."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The program's file; the same program gives the same bytes."""
        arithmetic = {k: a.to_file(k) for k, a in self.arithmetic.items()}
        matrices = {k: m.to_file(k) for k, m in self.matrices.items()}
        arrays: dict[str, NDArray[Any]] = {}
        for _, own in (*arithmetic.values(), *matrices.values()):
            arrays |= own
        header = {
            "graph": json.loads(self.graph.to_json()),
            "matrices": {k: numbers for k, (numbers, _) in matrices.items()},
            "arithmetic": {k: numbers for k, (numbers, _) in arithmetic.items()},
            "tensors": {
                k: {"bits": t.format.bits, "signed": t.format.signed, "scale": t.scale} for k, t in self.tensors.items()
            },
            "logits_scale": self.logits_scale,
            "metadata": dict(self.metadata),
        }
        return container_bytes(KIND, VERSION, header, arrays)

    @staticmethod
    def load(path: Path) -> Program:
        """Read and verify a file; a damaged, illegal or newer one is refused with a `ModelError`."""
        header, arrays = read_container(path, KIND, VERSION)
        try:
            return _from_parts(header, arrays).verify()
        except (
            InvariantError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, MemoryError, RecursionError
        ) as error:  # fmt: skip
            raise ModelError(f"{path} does not hold a legal program: {error}") from None


_HEADER = ("kind", "version", "graph", "matrices", "arithmetic", "tensors", "logits_scale", "metadata")


def _from_parts(data: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Program:
    """The program of a file's header and tensors, verified but for its arithmetic."""
    header = strict.record(data, "the header", _HEADER)
    graph = Graph.from_data(header["graph"]).verify()
    matrices = strict.record(header["matrices"], "matrices", {n.name for n in graph.weighted})
    arithmetic = strict.mapping(header["arithmetic"], "arithmetic")
    expected = {f"{k}/{kind}" for k in matrices for kind in ("codes", "scheme", "bias")}
    strict.record(dict(arrays), "tensors", expected | {f"{k}/multiplier" for k in arithmetic})
    return Program(
        graph,
        {k: _matrix(graph, k, m, arrays) for k, m in matrices.items()},
        {k: Arithmetic.from_file(k, a, arrays) for k, a in arithmetic.items()},
        {k: _tensor(k, t) for k, t in strict.mapping(header["tensors"], "tensors").items()},
        strict.real(header["logits_scale"], "logits_scale"),
        strict.mapping(header["metadata"], "metadata"),
    )


def _matrix(graph: Graph, name: str, data: object, arrays: Mapping[str, NDArray[Any]]) -> Matrix:
    rows, *columns = graph.weight_shape(graph[name])
    return Matrix.from_file(name, data, arrays, rows, math.prod(columns))


def _tensor(name: str, data: object) -> TensorQuant:
    found = strict.record(data, f"tensor {name}", {"bits", "signed", "scale"})
    bits, signed = strict.whole(found["bits"], f"{name} bits"), strict.truth(found["signed"], f"{name} signed")
    return TensorQuant(TensorFormat(bits, signed), strict.real(found["scale"], f"{name} scale"))
