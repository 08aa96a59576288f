"""Small networks for tests, and calibration images for them."""

from __future__ import annotations

import numpy as np

from ilmpq.graph import Graph, Node, Op, OutputStatistics, Parameters, Window

PADDED = Window((3, 3), (1, 1), (1, 1, 1, 1))


def parameters(rng: np.random.Generator, rows: int, *columns: int) -> Parameters:
    """Weights that keep activations near unit size."""
    weight = rng.normal(size=(rows, *columns)) * (2 / np.prod(columns)) ** 0.5
    return Parameters(weight.astype(np.float32), (0.1 * rng.normal(size=rows)).astype(np.float32))


def residual_net(seed: int = 0, channels: int = 8, classes: int = 5) -> Graph:
    """Convolution, a residual block with a strided option-A shortcut, depthwise and grouped layers, pools, linear."""
    rng = np.random.default_rng(seed)
    nodes = [
        Node("input", Op.INPUT),
        Node("conv1", Op.CONV, ("input",), PADDED, relu=True),
        Node("conv2", Op.CONV, ("conv1",), PADDED, relu=True),
        Node("conv3", Op.CONV, ("conv2", "conv1"), PADDED, relu=True),
        Node("pool", Op.MAX_POOL, ("conv3",), Window((2, 2), (2, 2))),
        Node("depthwise", Op.CONV, ("pool",), PADDED, groups=channels, relu=True, relu_max=6.0),
        Node("expand", Op.CONV, ("depthwise",), Window((1, 1)), relu=False),
        Node("grouped", Op.CONV, ("expand",), Window((3, 1), (2, 2), (1, 0, 1, 0), (1, 1)), groups=2),
        Node("shortcut", Op.SUBSAMPLE, ("expand",), Window((1, 1), (2, 2)), channels_before=1, channels_after=1),
        Node("project", Op.CONV, ("grouped", "shortcut"), Window((1, 1)), relu=True),
        Node("average", Op.AVG_POOL, ("project",), Window((2, 2), (2, 2))),
        Node("flatten", Op.FLATTEN, ("average",)),
        Node("fc", Op.LINEAR, ("flatten",)),
    ]
    c = channels
    values = {
        "conv1": parameters(rng, c, 3, 3, 3),
        "conv2": parameters(rng, c, c, 3, 3),
        "conv3": parameters(rng, c, c, 3, 3),
        "depthwise": parameters(rng, c, 1, 3, 3),
        "expand": parameters(rng, 2 * c, c, 1, 1),
        "grouped": parameters(rng, 4, c, 3, 1),
        "project": parameters(rng, 2 * c + 2, 4, 1, 1),
        "fc": parameters(rng, classes, 2 * c + 2),
    }
    statistics = {"conv1": OutputStatistics(np.zeros(c, np.float32), np.ones(c, np.float32))}
    return Graph("residual_net", (3, 8, 8), tuple(nodes), values, statistics).verify()


def concat_net(seed: int = 0) -> Graph:
    """Two branches of one concatenation, one of them signed, and a convolution as the last layer."""
    rng = np.random.default_rng(seed)
    nodes = [
        Node("input", Op.INPUT),
        Node("squeeze", Op.CONV, ("input",), Window((3, 3), (2, 2)), relu=True),
        Node("left", Op.CONV, ("squeeze",), Window((1, 1)), relu=True),
        Node("right", Op.CONV, ("squeeze",), PADDED, relu=True),
        Node("join", Op.CONCAT, ("left", "right")),
        Node("pool", Op.MAX_POOL, ("join",), Window((3, 3), (2, 2), (0, 0, 1, 1))),
        Node("last", Op.CONV, ("pool",), Window((1, 1)), relu=True),
        Node("average", Op.AVG_POOL, ("last",), Window((2, 2), (2, 2))),
        Node("flatten", Op.FLATTEN, ("average",)),
    ]
    values = {
        "squeeze": parameters(rng, 6, 3, 3, 3),
        "left": parameters(rng, 5, 6, 1, 1),
        "right": parameters(rng, 7, 6, 3, 3),
        "last": parameters(rng, 4, 12, 1, 1),
    }
    return Graph("concat_net", (3, 9, 9), tuple(nodes), values).verify()


def images(graph: Graph, count: int = 40, seed: int = 1) -> np.ndarray:
    """Smooth random images."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, *graph.input_shape))
    return (x + np.roll(x, 1, axis=2) + np.roll(x, 1, axis=3)).astype(np.float32)
