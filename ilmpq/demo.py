"""The embedded demonstration: a small residual CNN for scikit-learn's digits, whose weights come with the package.

`scripts/train_digits.py` trained it.

>>> digits_graph().weighted[0].name, digits_graph().classes
('conv1', 10)
"""

from __future__ import annotations

from functools import partial
from importlib.resources import files

from safetensors.numpy import load

from .canonical import canonical
from .graph import Graph
from .preprocess import PRESETS
from .zoo import Architecture
from .zoo_families import cifar_resnet

NAME = "digits"
PREPROCESS = PRESETS["digits"]
ARCHITECTURE = Architecture(
    NAME,
    partial(cifar_resnet, layers=(1, 1), planes=16, projection=True),
    first_layer="conv1",
    preset=NAME,
    input_shape=PREPROCESS.input_shape,
    classes=10,
)


def digits_graph() -> Graph:
    """The trained network in canonical form."""
    state = load((files(__package__) / "assets" / "digits.safetensors").read_bytes())
    return canonical(ARCHITECTURE.graph(state))
