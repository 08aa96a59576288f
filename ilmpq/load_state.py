"""Weights from a file that nobody vouches for: PyTorch checkpoints and safetensors → float32 arrays by name.

Nothing in the file is run. Every tensor is checked under the name it has in the file; then prefixes that wrappers
add (`module.`, `_orig_mod.`) are taken off, and batch norm counters are left out.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from .errors import ModelError
from .filekind import FileKind
from .graph import FloatArray
from .zoo_build import COUNTERS

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # where training scripts put the weights
_PREFIXES = ("module.", "_orig_mod.")  # DataParallel, torch.compile
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_DEPTH = 4


def read_state(path: Path, kind: FileKind) -> dict[str, FloatArray]:
    """The weights of a checkpoint or safetensors file."""
    tensors = _find_state(path, _read(path, kind))
    arrays = {k: _array(path, k, v) for k, v in tensors.items() if not k.endswith(COUNTERS)}
    if not arrays:
        raise ModelError(f"{path} holds no weights: save model.state_dict()")
    return strip_prefixes(arrays)


def strip_prefixes(state: Mapping[str, FloatArray], most: bool = False) -> dict[str, FloatArray]:
    """The same tensors without prefixes that all their names share.

    With `most`, without prefixes that more than half of them share, so that a stray name can be told from the others:
    for built-in architectures, none of which has a part called `module`.

    >>> list(strip_prefixes({"module._orig_mod.fc.bias": np.zeros(1, np.float32)}))
    ['fc.bias']
    """
    names = list(state)
    enough = len(names) // 2 + 1 if most else max(1, len(names))
    while prefix := next((p for p in _PREFIXES if sum(n.startswith(p) for n in names) >= enough), None):
        names = [n.removeprefix(prefix) for n in names]
    stripped = dict(zip(names, state.values(), strict=True))
    if len(stripped) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ModelError(f"tensor {twice} is there with and without a wrapper's prefix: save model.state_dict()")
    return stripped


def _read(path: Path, kind: FileKind) -> Any:
    try:
        if kind is FileKind.SAFETENSORS:
            return load_file(path, device="cpu")
        # A Namespace is a bag of attributes; the `args` of many training scripts are one.
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file makes the readers raise
        needed = re.search(r"GLOBAL ([\w.<>]+)", str(error))
        if needed:
            raise ModelError(
                f"{path} is a pickle that needs code ({needed[1]}); opening it could run any program, so it is refused. "
                "Where the network was made, save its weights alone with torch.save(model.state_dict(), PATH) and give "
                "that file; for an architecture that is not built in add --arch package.module:callable"
            ) from error
        if "Unsupported operand" in str(error):
            raise ModelError(
                f"{path} is pickled in a way that is not opened without running it, or damaged: save the weights again "
                "with torch.save(model.state_dict(), PATH) and no other options"
            ) from error
        raise ModelError(f"{path} is cut off or damaged: copy or download it again") from error


def _find_state(path: Path, content: Any) -> dict[str, Tensor]:
    """The dictionary of tensors inside a checkpoint."""
    for _ in range(_DEPTH):
        if not isinstance(content, dict) or not content:
            break
        if any(isinstance(v, Tensor) for k, v in content.items() if k not in _WRAPPERS):
            inner = [content[k] for k in _WRAPPERS if _is_state(content.get(k))]
        else:
            inner = [content[k] for k in _WRAPPERS if isinstance(content.get(k), dict)]
            inner = inner or [v for v in content.values() if _is_state(v)]
        if not inner:
            return _checked_names(path, content)
        content = inner[0]
    what = "an empty dictionary" if content == {} else f"{type(content).__name__}"
    raise ModelError(f"{path} must hold a dictionary of tensors, not {what}: save model.state_dict()")


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(v, Tensor) for v in value.values())


def _checked_names(path: Path, content: dict[Any, Any]) -> dict[str, Tensor]:
    for key, value in content.items():
        if not isinstance(key, str):
            raise ModelError(f"{path} names must be text, not {type(key).__name__}: save model.state_dict()")
        if not isinstance(value, Tensor):
            raise ModelError(
                f"{path} entry {key!r} must be a tensor, not {type(value).__name__}: save model.state_dict() alone, "
                "or under the key 'state_dict'"
            )
    return content


def _array(path: Path, name: str, tensor: Tensor) -> FloatArray:
    """A tensor as finite float32 numbers, or a `ModelError` with its name."""
    if tensor.is_quantized:
        raise ModelError(f"{path} tensor {name} is quantized already: give the float network's checkpoint")
    if tensor.is_nested or tensor.layout is not torch.strided or tensor.device.type != "cpu":
        raise ModelError(f"{path} tensor {name} must be dense and hold its values: save it with .to_dense()")
    if tensor.dtype not in _FLOATS:
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise ModelError(f"{path} tensor {name} must hold floating-point numbers, not {dtype}: save the float network")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ModelError(f"{path} tensor {name} repeats fewer values than it has: save it with .contiguous()")
    array = np.ascontiguousarray(tensor.detach().to(torch.float32).numpy())
    if not np.isfinite(array).all():
        raise ModelError(
            f"{path} tensor {name} must be finite, but it has NaN or infinite values: the training diverged or the "
            "file is damaged; take an earlier checkpoint"
        )
    if name.endswith("running_var") and (array < 0).any():
        raise ModelError(f"{path} tensor {name} must not be negative, not {array.min()}: the file is damaged")
    return array
