"""Reads the archive `torch.export.save` writes into an `aten.Program`, running nothing that is in it.

`torch.export.load` unpickles parts of the file, which executes whatever its author put there. Here only JSON and raw
bytes are read: `models/NAME.json` is the graph, `data/weights/NAME_weights_config.json` says where each parameter lies
in `data/weights/weight_N`, and likewise for constants. Files of torch ≤ 2.7 keep the parameters in one `torch.save`
file, which `torch.load(weights_only=True)` reads without running code. Pickled parameters are refused.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .aten_program import Call, Program, Ref, is_layer
from .errors import ModelError
from .rawgraph import Constant
from .untrusted import Budget

Array = NDArray[Any]
Json = Mapping[str, Any]

MAX_JSON = 2**26
BFLOAT16 = 13
_DTYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f2", 7: "<f4", 8: "<f8", BFLOAT16: "<u2"}
_FLOATS = {6: "float16", 7: "float32", 8: "float64", BFLOAT16: "bfloat16"}  # torch._export.serde.schema.ScalarType
_MEND = "save it again with torch.export.save from a network of plain tensors, or give its state_dict"


def read_program(path: Path) -> tuple[Program, Budget]:
    """The exported program in an archive, and the memory its parameters may take."""
    archive = _Archive(path)
    parameters: Callable[[str], Constant]
    if archive.has("serialized_exported_program.json"):
        model = archive.json("serialized_exported_program.json")
        parameters = _Saved(archive, "serialized_state_dict.pt").constants
        tensors: Callable[[str], Constant] = _Saved(archive, "serialized_constants.pt").constants
    else:
        models = [n for n in archive.names if n.startswith("models/") and n.endswith(".json")]
        if len(models) != 1:
            raise ModelError(f"{path} must hold one exported program, not {len(models)}; {_MEND}")
        name = models[0].removeprefix("models/").removesuffix(".json")
        model = archive.json(models[0])
        parameters = _payload(archive, "data/weights/", f"{name}_weights_config.json", f"{name}.pt")
        tensors = _payload(archive, "data/constants/", f"{name}_constants_config.json", f"{name}.pt")
    return _program(path, model["graph_module"], parameters, tensors), archive.budget


class _Archive:
    """A zip file whose entries are stored, not compressed: none is larger than the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file_bytes = path.stat().st_size
        self.budget = Budget(path, self.file_bytes)
        self._zip = zipfile.ZipFile(path)
        _check_stored(path, self._zip, self.file_bytes)
        infos = self._zip.infolist()
        root = infos[0].filename.split("/")[0] + "/" if infos and "/" in infos[0].filename else ""
        self.names = {i.filename.removeprefix(root): i for i in infos}
        if "byteorder" in self.names and self.read("byteorder").strip() != b"little":
            raise ModelError(f"{path} must be saved on a little-endian machine; {_MEND}")

    def has(self, name: str) -> bool:
        return name in self.names

    def size(self, name: str) -> int:
        if name not in self.names:
            raise ModelError(f"{self.path} must hold {name!r}, but does not: the file is incomplete; {_MEND}")
        return self.names[name].file_size

    def read(self, name: str) -> bytes:
        self.budget.spend(self.size(name), name)
        return self._zip.read(self.names[name])

    def json(self, name: str) -> Any:
        if self.size(name) > MAX_JSON:
            raise ModelError(f"{self.path} {name} must be smaller than {MAX_JSON} bytes")
        return json.loads(self.read(name))


def _check_stored(path: Path, file: zipfile.ZipFile, file_bytes: int) -> None:
    for info in file.infolist():
        if info.compress_type != zipfile.ZIP_STORED or not 0 <= info.file_size == info.compress_size <= file_bytes:
            raise ModelError(f"{path} entry {info.filename[:80]!r} must be stored uncompressed, as torch does; {_MEND}")


class _Saved:
    """A `torch.save` file of tensors inside the archive, read when the first of them is needed."""

    def __init__(self, archive: _Archive, name: str) -> None:
        self.archive, self.name = archive, name
        self.tensors: Mapping[str, Any] | None = None

    def constants(self, path: str) -> Constant:
        if self.tensors is None:
            data = self.archive.read(self.name)
            with zipfile.ZipFile(io.BytesIO(data)) as inner:
                _check_stored(self.archive.path, inner, len(data))
            try:
                self.tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            except Exception as error:  # pickle errors of many types: none may pass as something else
                raise ModelError(f"{self.archive.path} {self.name} must hold tensors only; {_MEND}") from error
        assert self.tensors is not None
        tensor = self.tensors[path]
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
            raise ModelError(f"{self.archive.path} {path} must be a plain tensor; {_MEND}")
        self.archive.budget.spend(tensor.numel() * 4, path)
        return Constant(path, (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy())


def _payload(archive: _Archive, folder: str, config_name: str, legacy_name: str) -> Callable[[str], Constant]:
    """A reader of parameters by path; the configuration is read when the first is needed."""
    if archive.has(folder + legacy_name):
        return _Saved(archive, folder + legacy_name).constants
    config: dict[str, Any] = {}

    def read(path: str) -> Constant:
        if not config:
            config.update(archive.json(folder + config_name)["config"])
        entry = config[path]
        if entry["use_pickle"] or entry["tensor_meta"] is None:
            raise ModelError(
                f"{archive.path} {path} is stored as a pickle, which can run code and is not read; {_MEND}"
            )
        return Constant(path, _tensor(archive, f"{folder}{entry['path_name']}", path, entry["tensor_meta"]))

    return read


def _tensor(archive: _Archive, record: str, path: str, meta: Json) -> Array:
    """The tensor that sizes, strides and offset cut out of a record; all three are checked against its length."""
    kind = meta["dtype"]
    if kind not in _DTYPES:
        raise ModelError(f"{archive.path} {path} must hold numbers of a known type, not type {str(kind)[:20]}; {_MEND}")
    sizes, strides = _static(meta["sizes"]), _static(meta["strides"])
    offset = _static([meta["storage_offset"]])[0]
    data = archive.read(record)
    values = np.frombuffer(data, _DTYPES[kind], len(data) // np.dtype(_DTYPES[kind]).itemsize)
    last = offset + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
    if (
        min(*sizes, 1, *(s + 1 for s in strides), offset + 1) < 1
        or last >= len(values)
        or math.prod(sizes) > len(values)
    ):
        raise ModelError(f"{archive.path} {path} must lie inside its record {record!r}, but does not; {_MEND}")
    steps = tuple(s * values.itemsize for s in strides)
    cut = np.lib.stride_tricks.as_strided(values[offset:], tuple(sizes), steps, writeable=False)
    return cut if kind != BFLOAT16 else (cut.astype(np.uint32) << 16).view(np.float32)


def _static(sizes: list[Json]) -> list[int]:
    values = [s["as_int"] for s in sizes]
    if not all(type(v) is int for v in values):
        raise TypeError("a size is not an integer")
    return values


def _program(
    path: Path, module: Json, parameters: Callable[[str], Constant], tensors: Callable[[str], Constant]
) -> Program:
    graph, signature = module["graph"], module["signature"]
    inputs: list[str] = []
    constants: dict[str, Callable[[], Constant]] = {}
    for spec in signature["input_specs"]:
        if "parameter" in spec:
            entry = spec["parameter"]
            constants[entry["arg"]["name"]] = _reader(parameters, entry["parameter_name"])
        elif "buffer" in spec:
            entry = spec["buffer"]
            source = parameters if entry.get("persistent", True) else tensors
            constants[entry["arg"]["name"]] = _reader(source, entry["buffer_name"])
        elif "tensor_constant" in spec:
            entry = spec["tensor_constant"]
            constants[entry["arg"]["name"]] = _reader(tensors, entry["tensor_constant_name"])
        elif "user_input" in spec and "as_tensor" in spec["user_input"]["arg"]:
            inputs.append(spec["user_input"]["arg"]["as_tensor"]["name"])
        else:
            raise ModelError(f"{path} must take one image tensor, not also {', '.join(map(str, spec))[:80]}; {_MEND}")
    outputs = [s["user_output"]["arg"] for s in signature["output_specs"] if "user_output" in s]
    if len(inputs) != 1 or len(outputs) != 1 or "as_tensor" not in outputs[0]:
        raise ModelError(
            f"{path} must have one input and one output tensor, not {len(inputs)} and {len(outputs)}; "
            "export a module whose forward takes images and returns logits"
        )
    meta = graph["tensor_values"][inputs[0]]
    if meta["dtype"] not in _FLOATS:
        raise ModelError(f"{path} input must be floating point, not type {str(meta['dtype'])[:20]}")
    shape = tuple(s.get("as_int", -1) for s in meta["sizes"])
    calls = [_call(node) for node in graph["nodes"]]
    return Program(path.stem, inputs[0], shape, outputs[0]["as_tensor"]["name"], calls, constants)


def _reader(read: Callable[[str], Constant], name: str) -> Callable[[], Constant]:
    return lambda: read(name)


def _call(node: Json) -> Call:
    module, leaf = innermost_module(node["metadata"].get("nn_module_stack", ""))
    outputs: list[str] = []
    for output in node["outputs"]:
        for value in output.values():
            entries = value if isinstance(value, list) else [value]
            outputs += [str(e.get("name", e.get("as_name"))) for e in entries if isinstance(e, dict)]
    arguments = {a["name"]: _argument(a["arg"]) for a in node["inputs"]}
    return Call(str(node["target"]).removeprefix("torch.ops."), arguments, tuple(outputs), module, leaf)


def _argument(argument: Json) -> Any:
    """A tagged JSON value as a Python one; tensors and symbolic integers become `Ref`."""
    ((kind, value),) = argument.items()
    match kind:
        case "as_none":
            return None
        case "as_tensor":
            return Ref(str(value["name"]))
        case "as_tensors":
            return [Ref(str(v["name"])) for v in value]
        case "as_sym_int":
            return _symbol(value)
        case "as_sym_ints":
            return [_symbol(v) for v in value]
        case "as_scalar_type":
            return _FLOATS.get(value, f"type {value}")
        case _:
            return value


def _symbol(value: Json) -> Any:
    return value["as_int"] if "as_int" in value else Ref(str(value["as_name"]))


def innermost_module(stack: str) -> tuple[str, bool]:
    """Path of the innermost module of a `nn_module_stack`, and whether it is one of torch's own layers.

    >>> innermost_module("L__self__,,Net;L__self___conv1,conv1,torch.nn.modules.conv.Conv2d")
    ('conv1', True)
    """
    parts = stack.split(";")[-1].split(",")
    if len(parts) != 3:
        return "", False
    return parts[1].split("@")[0], is_layer(parts[2])
