"""Programs as ONNX files for other tools, sealed with a checksum: standard QDQ, or QONNX.

A file is a model followed by its seal, which is a model too, with nothing but the checksum of the bytes before it in
its metadata. Protobuf reads the two as one model, so every ONNX tool does; `read_export` compares bytes, so a cut file
or one flipped bit is found. `docs/formats.md` specifies both forms.
"""

from __future__ import annotations

import hashlib
import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from onnx import ModelProto, StringStringEntryProto, TensorProto, helper

from .errors import ModelError, UsageError
from .export_graph import INPUT, OUTPUT, QONNX_DOMAIN, Parts, Qdq, Qonnx
from .files import PathKind, path_kind
from .program import Program

VERSION = 1
OPSET, IR_VERSION = 17, 8  # what tools of 2022 read; newer ones do
_SEAL_KEY = "ilmpq.sha256"
_PRODUCER, _HEAD = b"\x12\x05ilmpq", 16  # producer_name as protobuf writes it, among so many first bytes
_AGAIN = "`ilmpq export` makes it again"


class Format(StrEnum):
    """The forms a program is exported in."""

    QDQ = "qdq"
    QONNX = "qonnx"


_DESCRIPTIONS = {
    Format.QDQ: "standard ONNX with int8 weights, QuantizeLinear and DequantizeLinear",
    Format.QONNX: "QONNX with Quant nodes and int8 weights; tools read it after qonnx' cleanup_model",
}


def file_name(form: Format) -> str:
    """What the file is called.

    >>> file_name(Format.QDQ)
    'model.qdq.onnx'
    """
    return f"model.{form.value}.onnx"


def describe(form: Format) -> str:
    """What the file is, in words."""
    return _DESCRIPTIONS[form]


def export_bytes(program: Program, form: Format) -> bytes:
    """The whole file; the same program gives the same bytes."""
    parts, shapes = _parts(program, form), program.graph.shapes
    float_input = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", *program.graph.input_shape])
    logits = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", *shapes[program.graph.output.name]])
    graph = helper.make_graph(
        parts.nodes, program.graph.name, [float_input], [logits], initializer=list(parts.constants.values())
    )
    opsets = [helper.make_opsetid("", OPSET)]
    if form is Format.QONNX:
        opsets.append(helper.make_opsetid(QONNX_DOMAIN, 1))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="ilmpq")
    helper.set_model_props(model, _metadata(program, form))
    body = bytes(model.SerializeToString(deterministic=True))
    return body + _seal(body)


def stored_values(program: Program, form: Format) -> dict[str, str]:
    """Of each node that stores a tensor (logits are not stored), the ONNX tensor that holds it.

    Codes in QDQ, where a node that moves codes has none; code × scale in QONNX.
    """
    return dict(_parts(program, form).stored)


def read_export(path: Path, program: Program | None = None, form: Format | None = None) -> bytes:
    """The bytes of an export that is whole, and made from `program` and in `form` if these are given."""
    if path_kind(path) is not PathKind.FILE:
        raise UsageError(f"{path} is not a file: {_AGAIN}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    _check_seal(data, path)
    metadata = _metadata_of(data, path)
    version, found = metadata.get("ilmpq.version", ""), metadata.get("ilmpq.format", "")
    if not re.fullmatch("[0-9]{1,9}", version):
        raise ModelError(f"{path} is not an export of ilmpq: it names no version; {_AGAIN}")
    if int(version) > VERSION:
        raise ModelError(f"{path} has version {version} of its format, this program knows {VERSION}: upgrade ilmpq")
    forms = [f.value for f in ([form] if form else Format)]
    if found not in forms:
        raise ModelError(f"{path} must be an export in the form {' or '.join(forms)}, not {found[:40]!r}; {_AGAIN}")
    if program is not None and metadata.get("ilmpq.program") != program.checksum():
        raise ModelError(f"{path} was made from another program; {_AGAIN}")
    return data


def _check_seal(data: bytes, path: Path) -> None:
    """That the file ends with the checksum of what comes before; a cut one still begins as ours do."""
    size = len(_seal(b""))
    if len(data) >= size and data[-size:] == _seal(data[:-size]):
        return
    ours = _PRODUCER in data[:_HEAD] or b"ilmpq." in data
    kind = "is damaged: its checksum does not match" if ours else "is not an export of ilmpq"
    raise ModelError(f"{path} {kind}; {_AGAIN}")


def _metadata_of(data: bytes, path: Path) -> dict[str, str]:
    try:
        model = ModelProto.FromString(data)
    except DecodeError:
        raise ModelError(f"{path} is not an ONNX file; {_AGAIN}") from None
    return {entry.key: entry.value for entry in model.metadata_props}


def _parts(program: Program, form: Format) -> Parts:
    translator = Qdq(program) if form is Format.QDQ else Qonnx(program)
    return translator.parts_of_program()


def _metadata(program: Program, form: Format) -> dict[str, str]:
    schemes = {name: "".join(map(str, matrix.scheme)) for name, matrix in program.matrices.items()}
    values: dict[str, Any] = {
        "version": VERSION,
        "format": form.value,
        "program": program.checksum(),
        "schemes": json.dumps(schemes),
    }
    return {f"ilmpq.{key}": str(value) for key, value in values.items()}


def _seal(body: bytes) -> bytes:
    """The bytes that end a file with this body; always as many."""
    checksum = hashlib.sha256(body).hexdigest()
    model = ModelProto(metadata_props=[StringStringEntryProto(key=_SEAL_KEY, value=checksum)])
    return bytes(model.SerializeToString(deterministic=True))
