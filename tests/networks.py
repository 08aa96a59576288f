"""Random quantized networks for tests: every kind of layer, without any calibration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from ilmpq.graph import Graph, Node, Op, Window
from ilmpq.placeholder import placeholder
from ilmpq.rowquant import QuantModel
from ilmpq.schemes import SCHEMES

NIGHTLY = os.environ.get("ILMPQ_NIGHTLY", "0") != "0"
NETWORKS = 500 if NIGHTLY else 50  # `make nightly`


def shaped(name: str, shape: tuple[int, int, int], nodes: Sequence[Node], rows: Mapping[str, int]) -> Graph:
    """A network without parameters, of layers with so many rows."""
    graph = Graph(name, shape, tuple(nodes))
    object.__setattr__(graph, "_rows", dict(rows))
    return Graph.from_json(graph.to_json()).verify()


def random_graph(rng: np.random.Generator) -> Graph:
    """Two to six blocks of convolutions with residuals, pools and concatenations, then a linear layer or a pool."""
    nodes = [Node("input", Op.INPUT)]
    shape = (int(rng.integers(1, 4)), int(rng.integers(4, 9)), int(rng.integers(4, 9)))
    rows: dict[str, int] = {}
    channels, size, x = shape[0], shape[1:], "input"

    def conv(name, source, skip, in_channels, out, kernel, stride, pad, groups_, relu, dilation=(1, 1)):
        window = Window(kernel, stride, pad, dilation)
        inputs = (source,) if skip is None else (source, skip)
        top = float(rng.uniform(0.5, 6)) if relu and rng.random() < 0.3 else None
        nodes.append(Node(name, Op.CONV, inputs, window, groups=groups_, relu=relu, relu_max=top))
        rows[name] = out
        return name

    for i in range(int(rng.integers(2, 7))):
        kind = rng.choice(["plain", "residual", "pool", "concat", "subsample", "depthwise"])
        if kind == "plain" or min(size) < 3:
            k = (int(rng.choice([1, 2, 3])), int(rng.choice([1, 3])))
            stride = (int(rng.choice([1, 2])), int(rng.choice([1, 2])))
            pad = tuple(int(v) for v in rng.integers(0, 2, 4))
            window = Window(k, stride, pad)
            if min(window.output_size(*size)) < 1:
                continue
            out = int(rng.integers(1, 9))
            x = conv(f"conv{i}", x, None, channels, out, k, stride, pad, 1, bool(rng.random() < 0.7))
            channels, size = out, window.output_size(*size)
        elif kind == "residual":
            same = ((3, 3), (1, 1), (1, 1, 1, 1))
            middle = conv(f"first{i}", x, None, channels, channels, *same, 1, bool(rng.random() < 0.8))
            x = conv(f"second{i}", middle, x, channels, channels, *same, 1, bool(rng.random() < 0.8))
        elif kind == "depthwise":
            x = conv(f"deep{i}", x, None, channels, channels, (3, 3), (1, 1), (2, 2, 2, 2), channels, True, (2, 2))
        elif kind == "pool":
            op = Op.MAX_POOL if rng.random() < 0.5 else Op.AVG_POOL
            pad = (0, 0, 1, 1) if rng.random() < 0.5 else (1, 1, 1, 1)
            window = Window((3, 3), (2, 2), pad)
            count_pad = bool(rng.random() < 0.5) or op is Op.MAX_POOL
            nodes.append(Node(f"pool{i}", op, (x,), window, count_pad=count_pad))
            x, size = f"pool{i}", window.output_size(*size)
        elif kind == "concat":
            left = conv(f"left{i}", x, None, channels, 2, (1, 1), (1, 1), (0, 0, 0, 0), 1, bool(rng.random() < 0.5))
            right = conv(f"right{i}", x, None, channels, 3, (3, 3), (1, 1), (1, 1, 1, 1), 1, True)
            nodes.append(Node(f"join{i}", Op.CONCAT, (left, right)))
            x, channels = f"join{i}", 5
        else:
            nodes.append(
                Node(f"take{i}", Op.SUBSAMPLE, (x,), Window((1, 1), (2, 2)), channels_before=1, channels_after=2)
            )
            x, channels, size = f"take{i}", channels + 3, (-(-size[0] // 2), -(-size[1] // 2))
    nodes.append(Node("flatten", Op.FLATTEN, (x,)))
    nodes.append(Node("fc", Op.LINEAR, ("flatten",)))
    rows["fc"] = int(rng.integers(1, 6))
    return shaped("random", shape, nodes, rows)


def random_model(rng: np.random.Generator, power_of_two: bool = False) -> QuantModel:
    """A small random network with codes of all schemes."""
    graph = random_graph(rng)
    return placeholder(graph, rng, int(rng.integers(4, 9)), dict.fromkeys(range(len(SCHEMES)), 1.0), power_of_two)
