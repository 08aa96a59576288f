"""Known architectures: a table, recognition from a checkpoint's names and shapes, and networks with random weights.

>>> resnet = named("resnet18")
>>> resnet.preset, resnet.input_shape, recognise(random_state_dict("cifar_resnet8", np.random.default_rng(0))).name
('imagenet', (3, 224, 224), 'cifar_resnet8')
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError, UsageError
from .graph import Graph, Shape
from .zoo_build import COUNTERS, Builder, Checkpoint, Outline, Random
from .zoo_families import (
    SQUEEZENET_1_0,
    SQUEEZENET_1_1,
    VGG_CONVOLUTIONS,
    alexnet,
    cifar_resnet,
    mobilenet_v2,
    resnet,
    squeezenet,
    vgg,
)

State = Mapping[str, NDArray[Any]]
_SHOWN = 5  # differences named in a message


@dataclass(frozen=True)
class Architecture:
    """A network's structure; `describe(builder, classes)` writes it down. `preset` names its usual preprocessing."""

    name: str
    describe: Callable[[Builder, int], None]
    first_layer: str
    preset: str = "imagenet"
    input_shape: tuple[int, int, int] = (3, 224, 224)
    classes: int = 1000

    def shapes(self, known: Mapping[str, Shape] | None = None, classes: int | None = None) -> dict[str, Shape]:
        """Shape of every parameter (counters apart), with the widths of the checkpoint `known`."""
        tensors = Outline(known)
        self.describe(Builder(tensors, self._input_shape(tensors.known)), classes or self.classes)
        return tensors.shapes

    def graph(self, state: State, input_shape: tuple[int, int, int] | None = None) -> Graph:
        """The raw graph of a checkpoint that `differences` finds nothing wrong with."""
        tensors = Checkpoint(state)
        builder = Builder(tensors, input_shape or self._input_shape(tensors.known))
        self.describe(builder, self.classes)
        return builder.graph(self.name)

    def random_state(self, rng: np.random.Generator, classes: int | None = None) -> dict[str, NDArray[Any]]:
        """A checkpoint as torch would save it, with random weights."""
        tensors = Random(rng)
        self.describe(Builder(tensors, self.input_shape), classes or self.classes)
        return tensors.drawn

    def _input_shape(self, known: Mapping[str, Shape]) -> tuple[int, int, int]:
        """The usual one, with as many channels as the checkpoint's first layer reads."""
        first = known.get(f"{self.first_layer}.weight", ())
        channels = first[1] if len(first) == 4 and first[1] > 0 else self.input_shape[0]
        return (channels, *self.input_shape[1:])


_cifar = partial(Architecture, first_layer="conv1", preset="cifar10", input_shape=(3, 32, 32), classes=10)


def _resnet(name: str, layers: tuple[int, ...], bottleneck: bool, groups: int = 1, width: int = 64) -> Architecture:
    describe = partial(resnet, layers=layers, bottleneck=bottleneck, groups=groups, group_width=width)
    return Architecture(name, describe, "conv1")


def _cifar_resnet(depth: int, projection: bool) -> Architecture:
    name = f"cifar_resnet{depth}{'_b' if projection else ''}"
    return _cifar(name, partial(cifar_resnet, layers=((depth - 2) // 6,) * 3, projection=projection))


def _squeezenet(name: str, first: tuple[int, int], features: dict[int, tuple[int, int] | None]) -> Architecture:
    return Architecture(name, partial(squeezenet, first=first, features=features), "features.0")


ARCHITECTURES: tuple[Architecture, ...] = (
    _resnet("resnet18", (2, 2, 2, 2), bottleneck=False),
    _resnet("resnet34", (3, 4, 6, 3), bottleneck=False),
    _resnet("resnet50", (3, 4, 6, 3), bottleneck=True),
    _resnet("resnet101", (3, 4, 23, 3), bottleneck=True),
    _resnet("resnet152", (3, 8, 36, 3), bottleneck=True),
    _resnet("wide_resnet50_2", (3, 4, 6, 3), bottleneck=True, width=128),
    _resnet("wide_resnet101_2", (3, 4, 23, 3), bottleneck=True, width=128),
    _resnet("resnext50_32x4d", (3, 4, 6, 3), bottleneck=True, groups=32, width=4),
    _resnet("resnext101_32x8d", (3, 4, 23, 3), bottleneck=True, groups=32, width=8),
    *(Architecture(f"vgg{d}", partial(vgg, depth=d, norm=False), "features.0") for d in VGG_CONVOLUTIONS),
    *(Architecture(f"vgg{d}_bn", partial(vgg, depth=d, norm=True), "features.0") for d in VGG_CONVOLUTIONS),
    Architecture("mobilenet_v2", mobilenet_v2, "features.0.0"),
    _squeezenet("squeezenet1_0", (96, 7), SQUEEZENET_1_0),
    _squeezenet("squeezenet1_1", (64, 3), SQUEEZENET_1_1),
    Architecture("alexnet", alexnet, "features.0"),
    *(_cifar_resnet(d, projection) for projection in (False, True) for d in (20, 32, 44, 56, 110)),
    # The other usual ResNets for CIFAR: four stages of 64 to 512 channels.
    _cifar("cifar_resnet18", partial(cifar_resnet, layers=(2, 2, 2, 2), planes=64, projection=True)),
    _cifar("cifar_resnet34", partial(cifar_resnet, layers=(3, 4, 6, 3), planes=64, projection=True)),
)
BY_NAME = {a.name: a for a in ARCHITECTURES}


@cache
def named(name: str) -> Architecture:
    """The architecture of that name; `cifar_resnet` takes any depth 6n+2 (with `_b`, projecting shortcuts)."""
    if name in BY_NAME:
        return BY_NAME[name]
    cifar = re.fullmatch(r"cifar_resnet(\d{1,4})(_b)?", name)
    if cifar and int(cifar[1]) >= 8 and int(cifar[1]) % 6 == 2:
        return _cifar_resnet(int(cifar[1]), bool(cifar[2]))
    near = difflib.get_close_matches(name, BY_NAME, 3) or list(BY_NAME)
    raise UsageError(f"architecture must be a known one such as {', '.join(near)}, not {name!r}")


def is_name(text: str) -> bool:
    """Whether `text` names an architecture."""
    try:
        return bool(named(text))
    except UsageError:
        return False


def build(
    name: str,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    rng: np.random.Generator | None = None,
) -> Graph:
    """The raw graph of an architecture with random weights; without `rng`, with zeros that take no memory."""
    architecture = named(name)
    builder = Builder(Outline() if rng is None else Random(rng), input_shape or architecture.input_shape)
    architecture.describe(builder, classes or architecture.classes)
    return builder.graph(name)


def random_state_dict(name: str, rng: np.random.Generator, classes: int | None = None) -> dict[str, NDArray[Any]]:
    """A checkpoint of an architecture as torch would save it, with random weights."""
    return named(name).random_state(rng, classes)


def recognise(state: State) -> Architecture:
    """The architecture whose parameters are those of `state`, or a `ModelError` that says what comes nearest."""
    candidates = _candidates(state)
    fitting = [a for a in candidates if not differences(a, state)]
    if fitting:
        return min(fitting, key=lambda a: _unusual(a, state))
    found = sorted(((len(differences(a, state)), a) for a in candidates), key=lambda pair: pair[0])
    total = len(_shapes(state))
    raise ModelError(
        f"the checkpoint's {total} parameters must be those of a known architecture; nearest are "
        f"{', '.join(f'{a.name} ({count} differ)' for count, a in found[:3])}. {_explain(found[0][1], state)}. "
        "For another network give --arch package.module:callable, or export it to ONNX or with torch.export"
    )


def check(architecture: Architecture, state: State) -> Architecture:
    """Raise a `ModelError` unless `state` holds exactly the parameters of `architecture`."""
    if differences(architecture, state):
        raise ModelError(
            f"the checkpoint must hold the parameters of {architecture.name}. {_explain(architecture, state)}"
        )
    return architecture


def differences(architecture: Architecture, state: State) -> list[str]:
    """What is missing, of another shape, or too much, in words; widths are the checkpoint's own."""
    known = _shapes(state)
    expected = architecture.shapes(known)
    missing = [f"{k} is missing" for k in expected if k not in known]
    shapes = [
        f"{k} is {_words(known[k])} where {_words(expected[k])} is needed"
        for k in expected
        if k in known and known[k] != expected[k]
    ]
    return missing + shapes + [f"{k} is too much" for k in known if k not in expected]


def _explain(architecture: Architecture, state: State) -> str:
    found = differences(architecture, state)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"For {architecture.name}: {'; '.join(found[:_SHOWN])}{more}"


def _candidates(state: State) -> list[Architecture]:
    """The table, and the CIFAR ResNets of the depth that the names suggest."""
    blocks = sum(bool(re.fullmatch(r"layer1\.\d+\.conv1\.weight", name)) for name in state)
    deeper = [f"cifar_resnet{6 * blocks + 2}{suffix}" for suffix in ("", "_b")] if 0 < blocks < 1000 else []
    return [*ARCHITECTURES, *(named(n) for n in deeper if n not in BY_NAME)]


def _unusual(architecture: Architecture, state: State) -> int:
    """How many shapes are not the architecture's usual ones (resnet50 and resnext50 differ in nothing else)."""
    known, usual = _shapes(state), architecture.shapes()
    return sum(known[k] != shape for k, shape in usual.items())


def _shapes(state: State) -> dict[str, Shape]:
    return {k: v.shape for k, v in state.items() if not k.endswith(COUNTERS)}


def _words(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a single number"
