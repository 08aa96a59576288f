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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .container import container_bytes, read_container
from .errors import InvariantError, ModelError
from .files import write_atomically
from .graph import Graph, Node, Op
from .packing import pack, unpack
from .rowquant import TensorQuant
from .scales import is_power_of_two, storable
from .schemes import BY_IDENT
from .storage import WIDE, TensorFormat, formats, groups

KIND, VERSION = "integer program", 1
MULTIPLIER_BITS, SKIP_MULTIPLIER_BITS = 20, 25
ACCUMULATOR = 2**31 - 1
EXACT_FLOAT32 = 2**24  # whole numbers up to here are exact in float32
Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class Arithmetic:
    """How sums become codes. `multiplier` has one value per row; a pool's has one, or one per position."""

    multiplier: Int32
    shift: int
    low: int
    high: int
    skip_multiplier: int = 0


@dataclass(frozen=True)
class Matrix:
    """The integer weights of a layer: codes (rows × K), the rows' schemes, int32 biases, and how the input is read."""

    codes: NDArray[np.int8]
    scheme: NDArray[np.uint8]
    bias: Int32
    input_bits: int
    input_shift: int


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

    def verify(self) -> Program:
        """Check every rule; `ModelError` names the layer whose accumulator could overflow."""
        self.graph.verify()
        computing = {n.name for n in self.graph.nodes if n.weighted or n.op is Op.AVG_POOL}
        if set(self.matrices) != {n.name for n in self.graph.weighted} or set(self.arithmetic) != computing:
            raise InvariantError("matrices and arithmetic must be those of the graph's layers and average pools")
        self._verify_tensors()
        for name, matrix in self.matrices.items():
            self._verify_matrix(name, matrix)
        for name, arithmetic in self.arithmetic.items():
            self._verify_arithmetic(name, arithmetic)
        return self

    def _verify_tensors(self) -> None:
        needed = formats(self.graph, {k: m.input_bits for k, m in self.matrices.items()})
        if {k: t.format for k, t in self.tensors.items()} != needed:
            raise InvariantError("tensors must be stored as the graph and its readers ask")
        for name, scale in {**{k: t.scale for k, t in self.tensors.items()}, "logits": self.logits_scale}.items():
            if not (0 < scale < np.inf and storable(scale) == scale):
                raise InvariantError(
                    f"tensor {name} scale must be positive and of at most 16 significant bits, not {scale}"
                )

    def _verify_matrix(self, name: str, matrix: Matrix) -> None:
        rows, *columns = self.graph.weight_shape(self.graph[name])
        shapes = {"codes": (rows, int(np.prod(columns))), "scheme": (rows,), "bias": (rows,)}
        types = {"codes": np.int8, "scheme": np.uint8, "bias": np.int32}
        for label, shape in shapes.items():
            array: NDArray[Any] = getattr(matrix, label)
            if array.shape != shape or array.dtype != types[label]:
                raise InvariantError(
                    f"{name} {label} must be {np.dtype(types[label])} {shape}, not {array.dtype} {array.shape}"
                )
        for ident in np.unique(matrix.scheme):
            members = matrix.scheme == ident
            if int(ident) not in BY_IDENT or not BY_IDENT[int(ident)].holds(matrix.codes[members]).all():
                raise InvariantError(f"{name} codes must be those of their rows' schemes")
        stored = self.tensor(self.graph[name].inputs[0])
        assert stored is not None
        if not 1 <= matrix.input_bits <= WIDE or not 0 <= matrix.input_shift <= max(
            stored.format.bits - matrix.input_bits, 0
        ):
            raise InvariantError(f"{name} input bits or shift is out of bounds")
        bound = self.sum_bound(name) + np.abs(matrix.bias.astype(np.int64))
        if bound.max(initial=0) > ACCUMULATOR:
            row = int(bound.argmax())
            raise ModelError(f"{name} row {row}: sums can reach {bound[row]:,}, beyond the int32 accumulator")

    def _verify_arithmetic(self, name: str, a: Arithmetic) -> None:
        node = self.graph[name]
        shape = self.graph.shapes[name]
        sizes = {shape[0]} if node.weighted else {1, shape[1] * shape[2]}
        if a.multiplier.dtype != np.int32 or a.multiplier.ndim != 1 or len(a.multiplier) not in sizes:
            raise InvariantError(f"{name} multiplier must be int32 of length {sorted(sizes)[-1]}")
        if a.multiplier.min() <= 0 or a.multiplier.max() >= 2**MULTIPLIER_BITS:
            raise InvariantError(f"{name} multiplier must be from 1 to 2^20 - 1")
        if not (0 <= a.skip_multiplier < 2**SKIP_MULTIPLIER_BITS and 0 <= a.shift < 63):
            raise InvariantError(f"{name} skip multiplier or shift is out of bounds")
        stored = self.tensor(name)
        low, high = (stored.format.low, stored.format.high) if stored else (-ACCUMULATOR - 1, ACCUMULATOR)
        if not low <= a.low <= a.high <= high:
            raise InvariantError(f"{name} range must lie within {low} … {high}, not {a.low} … {a.high}")

    def save(self, path: Path) -> None:
        """Write the file in one step (see `docs/formats.md`)."""
        write_atomically(path, self.to_bytes())

    def checksum(self) -> str:
        """What identifies the program: SHA-256 of its file."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The program's file; the same program gives the same bytes."""
        arrays: dict[str, NDArray[Any]] = {f"{k}/multiplier": a.multiplier for k, a in self.arithmetic.items()}
        for name, m in self.matrices.items():
            arrays |= {
                f"{name}/codes": pack(m.codes, m.scheme),
                f"{name}/scheme": m.scheme,
                f"{name}/bias": m.bias,
            }
        numbers = ("shift", "low", "high", "skip_multiplier")
        header = {
            "graph": json.loads(self.graph.to_json()),
            "matrices": {
                k: {"input_bits": m.input_bits, "input_shift": m.input_shift} for k, m in self.matrices.items()
            },
            "arithmetic": {k: {n: getattr(a, n) for n in numbers} for k, a in self.arithmetic.items()},
            "tensors": {
                k: {"bits": t.format.bits, "signed": t.format.signed, "scale": t.scale} for k, t in self.tensors.items()
            },
            "logits_scale": self.logits_scale,
            "metadata": dict(self.metadata),
        }
        return container_bytes(KIND, VERSION, header, arrays)

    @staticmethod
    def load(path: Path) -> Program:
        """Read and verify a file; a damaged or newer one is refused with a `ModelError`."""
        header, arrays = read_container(path, KIND, VERSION)
        try:
            graph = Graph.from_json(json.dumps(header["graph"]))
            matrices = {
                k: Matrix(
                    unpack(arrays[f"{k}/codes"], arrays[f"{k}/scheme"], int(np.prod(graph.weight_shape(graph[k])[1:]))),
                    arrays[f"{k}/scheme"],
                    arrays[f"{k}/bias"],
                    int(m["input_bits"]),
                    int(m["input_shift"]),
                )
                for k, m in header["matrices"].items()
            }
            arithmetic = {k: Arithmetic(arrays[f"{k}/multiplier"], **n) for k, n in header["arithmetic"].items()}
            tensors = {
                k: TensorQuant(TensorFormat(int(t["bits"]), bool(t["signed"])), float(t["scale"]))
                for k, t in header["tensors"].items()
            }
            scale = float(header["logits_scale"])
            return Program(graph, matrices, arithmetic, tensors, scale, header["metadata"]).verify()
        except (KeyError, TypeError, ValueError, AttributeError, InvariantError) as error:
            raise ModelError(f"{path} does not hold a legal program: {error}") from None
