"""Everything that can run an integer program, behind one call, so that `verify.py` can compare their integers.

A backend gets real images and gives, for every node it can show, the stored codes, and integer logits where it has
them. `integer.Executor` is the reference; the others share no arithmetic with it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from . import naive
from .errors import ToolMissing
from .graph import FloatArray
from .integer import Executor
from .program import Program

if TYPE_CHECKING:
    from .export import Format

Codes = NDArray[np.int64]


class Name(StrEnum):
    """The backends there are."""

    INTEGER = "integer"
    NAIVE = "naive"
    ONNXRUNTIME = "onnxruntime"
    QONNX = "qonnx"
    HLS = "hls"  # simulated engines: whoever has one hands over its opener
    RTL = "rtl"


@dataclass(frozen=True)
class Outcome:
    """What a batch of images became: stored codes by node, and real logits in the shape of the network's output.

    Codes are whole numbers if the backend is right; what it gave is kept as it was.
    """

    codes: Mapping[str, NDArray[Any]]
    logits: NDArray[np.float64]


class Backend(Protocol):
    """Something that runs a program. `name` is shown; `macs` is how many multiplications it may spend on a check.

    `exact` says that it computes in integers, or in floats that hold every integer of this program.
    """

    name: str
    macs: float
    exact: bool

    def run(self, images: FloatArray) -> Outcome:
        """Run a batch of real images."""


class IntegerBackend:
    """The reference executor."""

    name, macs, exact = Name.INTEGER.value, 1e12, True

    def __init__(self, program: Program) -> None:
        self._executor = Executor(program)

    def run(self, images: FloatArray) -> Outcome:
        codes: dict[str, Codes] = {}
        executor, x = self._executor, torch.from_numpy(images)
        logits = executor.logits(x, lambda node, value: codes.__setitem__(node.name, value.long().numpy()))
        return Outcome(codes, logits.numpy())


class NaiveBackend:
    """The second implementation, in plain numpy."""

    name, macs, exact = Name.NAIVE.value, 2e9, True

    def __init__(self, program: Program) -> None:
        self._program = program

    def run(self, images: FloatArray) -> Outcome:
        codes: dict[str, Codes] = {}
        inputs = naive.input_codes(self._program, images)
        out = naive.run(self._program, inputs, lambda node, value: codes.__setitem__(node.name, value))
        return Outcome(codes, out.astype(np.float64) * self._program.logits_scale)


class OnnxBackend:
    """An exported file in a session of somebody else's; subclasses say whose.

    Every stored tensor is an output of the session that is compared node by node; logits come from a session of the
    file as it is, because outputs in the middle keep an optimiser from what it would do otherwise.
    """

    name: str
    macs: float

    def __init__(self, program: Program, form: Format, data: bytes) -> None:
        from .export import stored_values

        self._program = program
        self.exact = program.exact_in_float32
        self._values = stored_values(program, form)
        self._scaled = form.value == "qonnx"  # values are code × scale there, codes in QDQ
        self._open(data, list(dict.fromkeys(self._values.values())))

    def run(self, images: FloatArray) -> Outcome:
        logits, values = self._infer(images)
        codes = {}
        for node, tensor in self._values.items():
            value = np.asarray(values[tensor], np.float64)
            codes[node] = _unscaled(value, self._program.scale(node)) if self._scaled else value
        return Outcome(codes, np.asarray(logits, np.float64))

    def _open(self, data: bytes, tensors: list[str]) -> None:
        raise NotImplementedError

    def _infer(self, images: FloatArray) -> tuple[NDArray[Any], Mapping[str, NDArray[Any]]]:
        """Logits, and the tensors asked for."""
        raise NotImplementedError


class OnnxRuntime(OnnxBackend):
    """onnxruntime on the QDQ export."""

    name, macs = Name.ONNXRUNTIME.value, 5e11

    def _open(self, data: bytes, tensors: list[str]) -> None:
        import onnxruntime

        self._tensors = tensors
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry(
            "session.x64quantprecision", "1"
        )  # kernels that saturate without VNNI: not here
        self._plain, self._open_up = (
            onnxruntime.InferenceSession(form, options, providers=["CPUExecutionProvider"])
            for form in (data, with_outputs(data, tensors))
        )

    def _infer(self, images: FloatArray) -> tuple[NDArray[Any], Mapping[str, NDArray[Any]]]:
        logits = self._plain.run(["logits"], {"input": images})[0]
        return logits, dict(zip(self._tensors, self._open_up.run(self._tensors, {"input": images}), strict=True))


class Qonnx(OnnxBackend):
    """qonnx' node-by-node executor on the QONNX export (not cleaned up: that gives every tensor another name)."""

    name, macs = Name.QONNX.value, 2e11

    def _open(self, data: bytes, tensors: list[str]) -> None:
        self._data = data
        self._models: dict[int, Any] = {}

    def _infer(self, images: FloatArray) -> tuple[NDArray[Any], Mapping[str, NDArray[Any]]]:
        from qonnx.core.onnx_exec import execute_onnx

        if len(images) not in self._models:
            self._models[len(images)] = self._of_batch(len(images))
        found = execute_onnx(self._models[len(images)], {"input": images}, return_full_exec_context=True)
        return found["logits"], found

    def _of_batch(self, count: int) -> Any:
        """The model for batches of that size: qonnx knows fixed shapes only."""
        import onnx
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.transformation.infer_shapes import InferShapes

        model = onnx.load_from_string(self._data)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = count
        return ModelWrapper(model).transform(InferShapes())


def _unscaled(value: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """The codes in code × scale; what is no such product stays as far off as it is.

    A scale has so few bits that the product of a code is exact in float32.
    """
    codes = value / scale
    whole = np.rint(codes)
    return np.where(whole * scale == value, whole, codes)


Opener = Callable[[Program], Backend]
ENGINES = frozenset({Name.HLS, Name.RTL})
ON_REQUEST = frozenset({Name.RTL})  # the simulator is built first, which takes half a minute
NO_ENGINES: Mapping[Name, Opener] = {}


def with_outputs(data: bytes, tensors: list[str]) -> bytes:
    """An ONNX file with more outputs, so that values in its middle can be read."""
    import onnx

    model = onnx.load_from_string(data)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    return bytes(model.SerializeToString())


def open_backend(name: Name, program: Program, exports: Path, engines: Mapping[Name, Opener] = NO_ENGINES) -> Backend:
    """A backend by its name; ONNX files are taken from the folder `exports` if they are there, else made in memory."""
    if name in engines:
        return engines[name](program)
    makers: Mapping[Name, Callable[[], Backend]] = {
        Name.INTEGER: lambda: IntegerBackend(program),
        Name.NAIVE: lambda: NaiveBackend(program),
        Name.ONNXRUNTIME: lambda: _open_onnx(OnnxRuntime, "qdq", program, exports),
        Name.QONNX: lambda: _open_onnx(Qonnx, "qonnx", program, exports),
    }
    if name not in makers:
        raise ToolMissing(f"the backend {name.value} needs simulators that are missing: `make hw-tools` installs them")
    return makers[name]()


def _open_onnx(kind: type[OnnxBackend], form: str, program: Program, exports: Path) -> Backend:
    if not available(Name(kind.name)):
        raise ToolMissing(f"the package {kind.name} is missing: pip install {kind.name}")
    from .export import Format, export_bytes, file_name, read_export

    chosen = Format(form)
    path = exports / file_name(chosen)
    return kind(
        program, chosen, read_export(path, program, chosen) if os.path.lexists(path) else export_bytes(program, chosen)
    )


def available(name: Name, engines: Mapping[Name, Opener] = NO_ENGINES) -> bool:
    """Whether the package that a backend needs is installed, or there is such an engine."""
    if name in ENGINES:
        return name in engines
    return name in (Name.INTEGER, Name.NAIVE) or importlib.util.find_spec(name.value) is not None


def all_names() -> Iterator[Name]:
    """Those that are compared with the reference unless some are named."""
    return (n for n in Name if n is not Name.INTEGER and n not in ON_REQUEST)
