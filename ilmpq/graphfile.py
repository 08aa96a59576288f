"""The float network of a run in one file, so that a RUN folder can be evaluated without the checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .container import read_container, write_container
from .errors import InvariantError, ModelError
from .graph import Graph, OutputStatistics, Parameters

KIND = "float network"
VERSION = 1


def save_graph(graph: Graph, path: Path) -> None:
    """Write structure, parameters and batch-norm statistics."""
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, values in graph.parameters.items():
        arrays |= {f"{name}/weight": values.weight, f"{name}/bias": values.bias}
    for name, statistics in graph.statistics.items():
        arrays |= {f"{name}/mean": statistics.mean, f"{name}/std": statistics.std}
    write_container(path, KIND, VERSION, {"graph": json.loads(graph.to_json())}, arrays)


def load_graph(path: Path) -> Graph:
    """The inverse of `save_graph`; the graph is verified."""
    header, arrays = read_container(path, KIND, VERSION)
    try:
        graph = Graph.from_json(json.dumps(header["graph"]))
        names = [n.name for n in graph.weighted]
        parameters = {n: Parameters(arrays[f"{n}/weight"], arrays[f"{n}/bias"]) for n in names}
        statistics = {
            n: OutputStatistics(arrays[f"{n}/mean"], arrays[f"{n}/std"]) for n in names if f"{n}/mean" in arrays
        }
        return replace(graph, parameters=parameters, statistics=statistics).verify()
    except (KeyError, TypeError, ValueError, InvariantError) as error:
        raise ModelError(f"{path} does not hold a legal network: {error}") from None
