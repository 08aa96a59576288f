"""A live `nn.Module`, or a `.pt2` file that `torch.export.save` wrote → raw `Graph`.

graph = load_module(torchvision.models.resnet18(), (3, 224, 224))
graph = load_pt2("resnet18.pt2")
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.fx import Node as FxNode

from .aten import convert
from .aten_program import Call, Program, Ref, is_layer
from .errors import ModelError
from .graph import Graph
from .pt2 import read_program
from .rawgraph import Constant
from .untrusted import reading


def load_module(module: nn.Module, input_shape: Sequence[int]) -> Graph:
    """The raw graph of a module in evaluation mode, for images of (channels, height, width).

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    >>> [node.name for node in load_module(net, (3, 8, 8)).nodes]
    ['input', '0', '1', '2', '3']
    """
    return convert(_trace(module, input_shape), input_shape)


def load_pt2(path: str | Path, input_shape: Sequence[int] | None = None) -> Graph:
    """The raw graph in an archive of `torch.export.save`; no code in it is run.

    `input_shape` (channels, height, width) is needed only if the file leaves the size of its input open.
    """
    path = Path(path)
    with reading(path):
        program, budget = read_program(path)
        return convert(program, resolve_shape(path.name, program.input_shape, input_shape), budget)


def resolve_shape(name: str, declared: Sequence[int], wanted: Sequence[int] | None) -> tuple[int, ...]:
    """Channels, height, width: as a file declares them (batch first, −1 where open), or as the user says.

    >>> resolve_shape("net", (-1, 3, -1, -1), (3, 32, 32))
    (3, 32, 32)
    """
    if len(declared) != 4:
        raise ModelError(
            f"{name} input must be images (batch, channels, height, width), not {len(declared)}-dimensional"
        )
    fixed = tuple(declared[1:])
    if wanted is None:
        if min(fixed) < 1:
            raise ModelError(
                f"{name} leaves the size of its input open; say it with --input-shape, for example 3,224,224"
            )
        return fixed
    if len(wanted) != 3 or any(d not in (-1, w) for d, w in zip(fixed, wanted, strict=True)):
        words = ["×".join("?" if v == -1 else str(v) for v in s) for s in (fixed, wanted)]
        raise ModelError(f"{name} was exported for an input of {words[0]}, not {words[1]}; leave --input-shape out")
    return tuple(wanted)


def _trace(module: nn.Module, input_shape: Sequence[int]) -> Program:
    name = type(module).__name__
    modes = {m: m.training for m in module.modules()}
    parameters = [p for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()]
    if any(p.dtype != torch.float32 for p in parameters):
        module = copy.deepcopy(module).float()
    device = parameters[0].device if parameters else torch.device("cpu")
    try:
        example = torch.zeros(2, *input_shape, device=device)
        exported = torch.export.export(module.eval(), (example,))
    except Exception as error:  # the module is the user's code: whatever it raises is reported
        reason = (str(error).strip().splitlines() or ["no message"])[0][:300]
        raise ModelError(
            f"{name} cannot be traced with an input of {'×'.join(map(str, input_shape))} "
            f"({type(error).__name__}: {reason}); check --input-shape, and that forward has no branches on values"
        ) from error
    finally:
        for submodule, training in modes.items():
            submodule.training = training
    return _program(name, exported)


def _program(name: str, exported: Any) -> Program:
    signature = exported.graph_signature
    if len(signature.user_inputs) != 1 or len(signature.user_outputs) != 1:
        raise ModelError(
            f"{name} must have one input and one output tensor, not {len(signature.user_inputs)} and "
            f"{len(signature.user_outputs)}; wrap it in a module whose forward takes images and returns logits"
        )
    tensors = {**exported.constants, **exported.state_dict}
    targets = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    constants = {k: _reader(path, tensors[path]) for k, path in targets.items()}
    (user_input,), (user_output,) = signature.user_inputs, signature.user_outputs
    graph = exported.graph_module.graph
    example = next(n for n in graph.nodes if n.name == user_input).meta["val"]
    calls = [_call(n) for n in graph.nodes if n.op == "call_function" and n.target is not operator.getitem]
    return Program(name, user_input, tuple(example.shape), str(user_output), calls, constants)


def _reader(path: str, tensor: torch.Tensor) -> Callable[[], Constant]:
    return lambda: Constant(path, tensor.detach().cpu().numpy())


def _call(node: FxNode) -> Call:
    arguments: dict[str, Any] = {}
    if isinstance(node.target, torch._ops.OpOverload):
        names = [a.name for a in node.target._schema.arguments]
        arguments = {n: _argument(v) for n, v in zip(names, node.args, strict=False)}
        arguments |= {k: _argument(v) for k, v in node.kwargs.items()}
    stack = list((node.meta.get("nn_module_stack") or {"": ("", "")}).values())
    path, kind = stack[-1]
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    parts: dict[int, str] = {_index(user): user.name for user in node.users if user.target is operator.getitem}
    outputs = tuple(parts.get(i, f"{node.name}.{i}") for i in range(max(parts) + 1)) if parts else (node.name,)
    return Call(str(node.target), arguments, outputs, path.split("@")[0], is_layer(kind))


def _index(getitem: FxNode) -> int:
    index = getitem.args[1]
    assert isinstance(index, int)
    return index


def _argument(value: Any) -> Any:
    if isinstance(value, FxNode):
        return Ref(value.name)
    if isinstance(value, list | tuple):
        return [_argument(v) for v in value]
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return value
