"""From what the user has (.pt .pth .th .safetensors .pt2 .onnx, or an nn.Module) to a canonical graph."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from . import zoo
from .canonical import canonical
from .errors import IlmpqError, ModelError, UsageError
from .filekind import FileKind, kind_of
from .files import PathKind, path_kind
from .graph import FloatArray, Graph
from .load_state import read_state, strip_prefixes
from .zoo_build import COUNTERS

ImageShape = tuple[int, int, int]
_SHOWN = 5  # differing names in a message


@dataclass(frozen=True)
class Loaded:
    """A network ready for the pipeline, and where it comes from; `preset` names its usual preprocessing if known."""

    graph: Graph
    architecture: str
    preset: str | None
    source: str
    checksum: str | None


def load(source: str | Path | nn.Module, *, arch: str | None = None, input_shape: ImageShape | None = None) -> Loaded:
    """Load and verify a network.

    `arch` is a built-in architecture's name, or `package.module:callable` for code of the user's own, which is
    imported and called without arguments to make the nn.Module that the weights are for.
    """
    if input_shape is not None and (len(input_shape) != 3 or min(input_shape) < 1):
        raise UsageError(f"input shape must be channels, height and width, not {input_shape}: for example 3,224,224")
    if isinstance(source, nn.Module):
        if arch is not None:
            raise UsageError("arch must not be given with an nn.Module, which is its own architecture")
        name = type(source).__name__
        return Loaded(canonical(_trace(source, input_shape)), name, None, name, None)
    path = Path(source)
    there = path_kind(path)
    if there is PathKind.OTHER:
        raise UsageError(f"{path} must be a file, not {there.value}: copy what it gives to a file first")
    if there is PathKind.ABSENT and zoo.is_name(str(source)):
        raise UsageError(
            f"{source} is the name of an architecture, without weights: give a checkpoint of it, for example {source}.pt; "
            f"`ilmpq inspect {source}` needs none"
        )
    kind = kind_of(path)
    if kind in (FileKind.EXPORTED, FileKind.ONNX):
        if arch is not None:
            raise UsageError(
                f"--arch must be given with weights alone; {path} is {kind.value} and brings its structure"
            )
        graph, name, preset = _from_program(path, kind, input_shape), path.stem, None
    else:
        graph, name, preset = _from_weights(path, read_state(path, kind), arch, input_shape)
    return Loaded(canonical(graph), name, preset, str(source), _checksum(path))


def _from_program(path: Path, kind: FileKind, input_shape: ImageShape | None) -> Graph:
    if kind is FileKind.ONNX:
        from .load_onnx import load_onnx

        return load_onnx(path, input_shape)
    from .load_export import load_pt2

    return load_pt2(path, input_shape)


def _from_weights(
    path: Path, state: Mapping[str, FloatArray], arch: str | None, input_shape: ImageShape | None
) -> tuple[Graph, str, str | None]:
    """The raw graph, its architecture and preset."""
    if arch is not None and ":" in arch:
        name = arch.rpartition(":")[2]
        module = _make_module(arch)
        _load_strictly(path, module, state, arch)
        return _trace(module, input_shape), name, None
    try:
        state = strip_prefixes(state, most=True)
        architecture = zoo.recognise(state) if arch is None else zoo.check(zoo.named(arch), state)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    return architecture.graph(state, input_shape), architecture.name, architecture.preset


def _trace(module: nn.Module, input_shape: ImageShape | None) -> Graph:
    """The raw graph of a module."""
    from .load_export import load_module

    name = type(module).__name__
    if input_shape is None:
        raise UsageError(
            f"input shape of {name} must be given, its code does not tell: for example --input-shape 3,224,224"
        )
    for key, tensor in module.state_dict().items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{name} tensor {key} must be finite, but it has NaN or infinite values")
    return load_module(module, input_shape)


def _make_module(arch: str) -> nn.Module:
    """Import and call the user's own code; whatever it raises is told, not thrown."""
    package, _, attribute = arch.partition(":")
    if not package or not attribute:
        raise UsageError(f"--arch must be package.module:callable, not {arch!r}: for example mynet.models:resnet8")
    sys.path.insert(0, os.getcwd())  # as `python` does for scripts, so that a file beside the user is found
    try:
        target = importlib.import_module(package)
        for part in attribute.split("."):
            target = getattr(target, part)
        module = target() if callable(target) else target
    except IlmpqError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"--arch {arch} must import and run without arguments, but raised {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(os.getcwd())
    if not isinstance(module, nn.Module):
        raise UsageError(f"--arch {arch} must return an nn.Module, not {type(module).__name__}")
    return module


def _load_strictly(path: Path, module: nn.Module, state: Mapping[str, FloatArray], arch: str) -> None:
    """Put the weights into the module; names and shapes must agree exactly (batch norm counters apart)."""
    own = {k: tuple(v.shape) for k, v in module.state_dict().items() if not k.endswith(COUNTERS)}
    found = [f"{k} is missing" for k in own if k not in state]
    found += [f"{k} is {state[k].shape}, not {s}" for k, s in own.items() if k in state and state[k].shape != s]
    found += [f"{k} is too much" for k in state if k not in own]
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ModelError(f"{path} must hold the parameters of {arch}: {'; '.join(found[:_SHOWN])}{more}")
    module.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, strict=False)
    module.eval()


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
