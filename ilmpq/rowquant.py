"""The quantized network: integer codes with one scale and one scheme per row, and its file.

`RowQuant` is the one carrier of a row-mixed tensor across every boundary. `QuantModel` holds one `LayerQuant` per
weighted layer and one `TensorQuant` per stored tensor. Both check themselves (`verify`). The file
is specified in `docs/formats.md`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .container import read_container, write_container
from .errors import InvariantError, ModelError
from .graph import Graph
from .scales import is_power_of_two, storable
from .schemes import BY_IDENT, Scheme
from .storage import WIDE, TensorFormat, formats, groups

KIND = "quantized model"
FORMAT_VERSION = 1
SCALE_RANGE, SKIP_RANGE = 2.0**9, 2.0**14  # see `least_row_scale`
BIAS_LIMIT = 2**30  # |bias / (row scale × input scale)| stays below this, so that it fits the int32 accumulator


@dataclass(frozen=True)
class RowQuant:
    """A matrix of codes, row by row on its own grid: value[r, k] = codes[r, k] × scale[r]."""

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    scheme: NDArray[np.uint8]

    @property
    def rows(self) -> int:
        return int(self.codes.shape[0])

    def values(self) -> NDArray[np.float32]:
        """The numbers that the codes stand for.

        >>> rows = RowQuant(np.array([[1, -8]], np.int8), np.array([0.5], np.float32), np.array([0], np.uint8))
        >>> rows.values()
        array([[ 0.5, -4. ]], dtype=float32)
        """
        return self.codes.astype(np.float32) * self.scale[:, None]

    def schemes(self) -> Iterator[tuple[Scheme, NDArray[np.intp]]]:
        """Each scheme that occurs, with the rows that have it."""
        for ident in np.unique(self.scheme):
            yield BY_IDENT[int(ident)], np.flatnonzero(self.scheme == ident)

    def bits(self) -> int:
        """Bits of all codes, packed."""
        return sum(s.bits * len(r) * self.codes.shape[1] for s, r in self.schemes())

    def verify(self, layer: str) -> RowQuant:
        """Check every rule; messages begin with the layer's name."""
        rows = self.codes.shape[0]
        for label, array, dtype in (
            ("codes", self.codes, np.int8),
            ("scale", self.scale, np.float32),
            ("scheme", self.scheme, np.uint8),
        ):
            if array.dtype != dtype:
                raise InvariantError(f"{layer} {label} must be {np.dtype(dtype)}, not {array.dtype}")
            if array.ndim != (2 if label == "codes" else 1) or array.shape[0] != rows:
                raise InvariantError(f"{layer} {label} must have {rows} rows, not shape {array.shape}")
        bad = np.flatnonzero(~(np.isfinite(self.scale) & (self.scale > 0)))
        if len(bad):
            raise InvariantError(f"{layer} row {bad[0]}: scale must be positive, not {self.scale[bad[0]]}")
        unknown = [int(i) for i in np.unique(self.scheme) if int(i) not in BY_IDENT]
        if unknown:
            raise InvariantError(f"{layer} scheme must be one of {sorted(BY_IDENT)}, not {unknown[0]}")
        for scheme, members in self.schemes():
            wrong = np.argwhere(~scheme.holds(self.codes[members]))
            if len(wrong):
                row, column = int(members[wrong[0][0]]), int(wrong[0][1])
                raise InvariantError(
                    f"{layer} row {row}: {scheme.name.upper()} code must be {scheme.rule}, not {self.codes[row, column]}"
                )
        return self


@dataclass(frozen=True)
class LayerQuant:
    """A quantized convolution or linear layer.

    It sees its input in `input_bits` bits: the stored code divided by 2^`input_shift`, rounded to even, clamped.
    `bias` is in real numbers.
    """

    rows: RowQuant
    bias: NDArray[np.float32]
    input_bits: int
    input_shift: int = 0


@dataclass(frozen=True)
class TensorQuant:
    """A stored activation tensor: value = code × scale, zero point 0."""

    format: TensorFormat
    scale: float


@dataclass(frozen=True)
class QuantModel:
    """A quantized network. `graph` has no float parameters; `tensors` is keyed by storage group (see storage.py)."""

    graph: Graph
    layers: Mapping[str, LayerQuant]
    tensors: Mapping[str, TensorQuant]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def tensor(self, name: str) -> TensorQuant:
        """How the output of node `name` is stored."""
        return self.tensors[groups(self.graph)[name]]

    def input_scale(self, layer: str) -> float:
        """The scale of the codes that a layer's arrays see."""
        return self.tensor(self.graph[layer].inputs[0]).scale * 2.0 ** self.layers[layer].input_shift

    def skip_scale(self, layer: str) -> float:
        """The scale of the tensor that a layer adds; 0 where it adds none."""
        skip = self.graph[layer].skip
        return 0.0 if skip is None else self.tensor(skip).scale

    @property
    def power_of_two(self) -> bool:
        """Whether every scale is a power of two, so that requantization is shifts alone."""
        scales = [np.array([t.scale for t in self.tensors.values()]), *(q.rows.scale for q in self.layers.values())]
        return all(is_power_of_two(s) for s in scales)

    def average_weight_bits(self) -> float:
        codes = sum(q.rows.codes.size for q in self.layers.values())
        return sum(q.rows.bits() for q in self.layers.values()) / max(codes, 1)

    def float_bytes(self) -> int:
        """Size of the same parameters (weights and biases) in float32."""
        return sum(4 * (q.rows.codes.size + q.bias.size) for q in self.layers.values())

    def verify(self) -> QuantModel:
        """Check every layer, tensor and the relations between them."""
        self.graph.verify()
        if set(self.layers) != {n.name for n in self.graph.weighted}:
            raise InvariantError("layers must be exactly the graph's convolution and linear nodes")
        for name, layer in self.layers.items():
            layer.rows.verify(name)
            shape = self.graph.weight_shape(self.graph[name])
            expected = (shape[0], int(np.prod(shape[1:])))
            if layer.rows.codes.shape != expected:
                raise InvariantError(f"{name} codes must have shape {expected}, not {layer.rows.codes.shape}")
            if layer.bias.shape != expected[:1] or layer.bias.dtype != np.float32 or not np.isfinite(layer.bias).all():
                raise InvariantError(f"{name} bias must be {expected[0]} finite float32 values")
            if not 1 <= layer.input_bits <= WIDE or layer.input_shift < 0:
                raise InvariantError(f"{name} input must be 1 to 8 bits and its shift not negative")
        needed = formats(self.graph, {k: v.input_bits for k, v in self.layers.items()})
        if set(self.tensors) != set(needed):
            raise InvariantError(f"tensors must be {', '.join(needed)}, not {', '.join(self.tensors)}")
        for name, tensor in self.tensors.items():
            if tensor.format != needed[name]:
                raise InvariantError(f"tensor {name} must be {needed[name]}, not {tensor.format}")
            if not (0 < tensor.scale < np.inf and storable(tensor.scale) == tensor.scale):
                raise InvariantError(
                    f"tensor {name} scale must be positive and of at most 16 significant bits, not {tensor.scale}"
                )
        for name, layer in self.layers.items():
            stored = self.tensor(self.graph[name].inputs[0]).format
            if layer.input_shift > stored.bits - min(layer.input_bits, stored.bits):
                raise InvariantError(f"{name} input shift must be at most {stored.bits - layer.input_bits}")
            units = np.abs(layer.bias / (layer.rows.scale.astype(np.float64) * self.input_scale(name)))
            if units.max(initial=0.0) >= BIAS_LIMIT:
                row = int(units.argmax())
                raise InvariantError(
                    f"{name} row {row}: bias must be below 2^30 steps of the accumulator, not {units[row]:.3g}"
                )
        return self

    def save(self, path: Path) -> None:
        """Write the file in one step (see `docs/formats.md`)."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, layer in self.layers.items():
            arrays |= {
                f"{name}/codes": layer.rows.codes,
                f"{name}/scale": layer.rows.scale,
                f"{name}/scheme": layer.rows.scheme,
                f"{name}/bias": layer.bias,
            }
        header = {
            "graph": json.loads(self.graph.to_json()),
            "layers": {k: {"input_bits": v.input_bits, "input_shift": v.input_shift} for k, v in self.layers.items()},
            "tensors": {
                k: {"bits": v.format.bits, "signed": v.format.signed, "scale": v.scale} for k, v in self.tensors.items()
            },
            "metadata": dict(self.metadata),
        }
        write_container(path, KIND, FORMAT_VERSION, header, arrays)

    @staticmethod
    def load(path: Path) -> QuantModel:
        """Read and verify a file; a damaged or newer one is refused with a `ModelError`."""
        header, arrays = read_container(path, KIND, FORMAT_VERSION)
        try:
            return _from_parts(header, arrays).verify()
        except (KeyError, TypeError, ValueError, AttributeError, InvariantError) as error:
            raise ModelError(f"{path} does not hold a legal model: {error}") from None

    def with_metadata(self, **more: Any) -> QuantModel:
        return replace(self, metadata={**self.metadata, **more})


def whole_steps(bias: NDArray[np.floating], scale: NDArray[np.float32], input_scale: float) -> NDArray[np.float32]:
    """A bias in whole steps of its row's accumulator, which is all that integer arithmetic can add."""
    unit = scale.astype(np.float64) * input_scale
    return (np.rint(bias.astype(np.float64) / unit) * unit).astype(np.float32)


def least_row_scale(scale: NDArray[np.float32], input_scale: float, skip_scale: float) -> np.float32:
    """The least scale that a row may have beside the layer's largest, and beside what is added to its sums.

    A layer's multipliers share one shift, with 20 bits for the largest row and 25 for the residual: a row at this bound
    has 10 bits left or more, and rounding its multiplier moves no code by half a step.
    """
    return np.float32(max(float(scale.max()) / SCALE_RANGE, skip_scale / input_scale / SKIP_RANGE))


def _from_parts(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> QuantModel:
    layers = {
        name: LayerQuant(
            RowQuant(arrays[f"{name}/codes"], arrays[f"{name}/scale"], arrays[f"{name}/scheme"]),
            arrays[f"{name}/bias"],
            int(entry["input_bits"]),
            int(entry["input_shift"]),
        )
        for name, entry in header["layers"].items()
    }
    tensors = {
        name: TensorQuant(TensorFormat(int(t["bits"]), bool(t["signed"])), float(t["scale"]))
        for name, t in header["tensors"].items()
    }
    return QuantModel(Graph.from_json(json.dumps(header["graph"])), layers, tensors, header["metadata"])
