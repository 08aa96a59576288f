"""The embedded demonstration network is whole, small and accurate."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import torch

from ilmpq.data import open_data
from ilmpq.demo import ARCHITECTURE, PREPROCESS, digits_graph
from ilmpq.forward import forward
from ilmpq.graph import Op


def test_the_graph_is_canonical_and_has_a_projected_residual() -> None:
    graph = digits_graph().verify()
    assert (graph.input_shape, graph.classes) == ((1, 8, 8), 10)
    assert [n.name for n in graph.weighted if n.skip] == ["layer1.0.conv2", "layer2.0.conv2"]
    shortcut = graph["layer2.0.shortcut.0"]
    assert (shortcut.op, shortcut.window.stride if shortcut.window else None) == (Op.CONV, (2, 2))
    assert set(graph.statistics) == {n.name for n in graph.weighted if n.op is Op.CONV}


def test_accuracy_on_the_test_part() -> None:
    graph = digits_graph()
    data = open_data("digits", PREPROCESS, labels=True, classes=graph.classes)
    with torch.no_grad():
        right = [forward(graph, torch.from_numpy(x)).argmax(1).numpy() == y for x, y in data.batches(256)]
    assert np.concatenate(right).mean() >= 0.98


def test_the_asset_is_small() -> None:
    assert len((files("ilmpq") / "assets" / "digits.safetensors").read_bytes()) < 150_000
    assert 10_000 < sum(int(np.prod(s)) for s in ARCHITECTURE.shapes().values()) < 40_000
