"""A graph under rewriting: nodes that may be replaced, bypassed and inserted, put in order again at the end.

`canonical.py` holds the rewrites; here is only what they share. Names keep their meaning while a rewrite runs: a node
may change how it computes its tensor, and a node that moves gives its new shape.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace

from .graph import Graph, Node, OutputStatistics, Parameters, Shape


class Draft:
    """The nodes of a graph by name, with their parameters, statistics and shapes; `output` is the name of the last."""

    def __init__(self, graph: Graph) -> None:
        self.nodes: dict[str, Node] = dict(graph.by_name)
        self.parameters: dict[str, Parameters] = dict(graph.parameters)
        self.statistics: dict[str, OutputStatistics] = dict(graph.statistics)
        self.shapes: dict[str, Shape] = dict(graph.shapes)
        self.output = graph.output.name
        self._input = graph.input.name
        self._readers: dict[str, list[str]] | None = None
        self.drop_unread()

    def __iter__(self) -> Iterator[Node]:
        """The nodes as they are now; rewriting meanwhile is allowed, and nodes that are gone are left out."""
        for name in list(self.nodes):
            if name in self.nodes:
                yield self.nodes[name]

    def readers(self, name: str) -> list[Node]:
        """The nodes that read `name`, each once."""
        if self._readers is None:
            self._readers = {}
            for node in self.nodes.values():
                for source in dict.fromkeys(node.inputs):
                    self._readers.setdefault(source, []).append(node.name)
        return [self.nodes[n] for n in self._readers.get(name, ())]

    def read_once(self, name: str) -> bool:
        """Whether exactly one node reads `name` (and it is not the network's output)."""
        return len(self.readers(name)) == 1 and name != self.output

    def put(self, node: Node, parameters: Parameters | None = None, shape: Shape | None = None) -> None:
        """Insert a node, or replace the one of that name."""
        self.nodes[node.name] = node
        if parameters is not None:
            self.parameters[node.name] = parameters
        if shape is not None:
            self.shapes[node.name] = shape
        self._readers = None

    def bypass(self, name: str, source: str) -> None:
        """Remove a node; whoever read it now reads `source`."""
        for reader in self.readers(name):
            self.nodes[reader.name] = replace(reader, inputs=tuple(source if i == name else i for i in reader.inputs))
        if self.output == name:
            self.output = source
        del self.nodes[name]
        self.parameters.pop(name, None)
        self.statistics.pop(name, None)
        self._readers = None

    def unused(self, name: str) -> str:
        """`name`, or with a number behind it, so that no node has it yet."""
        candidate, number = name, 2
        while candidate in self.nodes:
            candidate, number = f"{name}{number}", number + 1
        return candidate

    def depths(self) -> dict[str, tuple[int, int]]:
        """For every node, the length of the longest path that leads to it from the input, then its place in order."""
        depth: dict[str, tuple[int, int]] = {}
        for place, name in enumerate(self.ordered()):
            depth[name] = (1 + max((depth[i][0] for i in self.nodes[name].inputs), default=-1), place)
        return depth

    def drop_unread(self) -> None:
        """Remove every node that the output does not depend on; the input stays."""
        live, todo = {self._input}, [self.output]
        while todo:
            name = todo.pop()
            if name not in live:
                live.add(name)
                todo.extend(self.nodes[name].inputs)
        self.nodes = {k: v for k, v in self.nodes.items() if k in live}
        self._readers = None

    def ordered(self) -> list[str]:
        """The names, inputs before readers, otherwise as the nodes stood."""
        rank = {name: i for i, name in enumerate(self.nodes)}
        missing = {n.name: len(set(n.inputs)) for n in self.nodes.values()}
        ready = [(rank[name], name) for name, count in missing.items() if count == 0]
        heapq.heapify(ready)
        result: list[str] = []
        while ready:
            _, name = heapq.heappop(ready)
            result.append(name)
            for reader in self.readers(name):
                missing[reader.name] -= 1
                if missing[reader.name] == 0:
                    heapq.heappush(ready, (rank[reader.name], reader.name))
        assert len(result) == len(self.nodes), "rewriting must not make a cycle"
        return result

    def freeze(self, graph: Graph) -> Graph:
        """The rewritten graph; `graph` gives its name and input shape."""
        self.drop_unread()
        nodes = [self.nodes[name] for name in self.ordered()]
        weighted = {n.name for n in nodes if n.weighted}
        return graph.with_nodes(
            nodes,
            {k: v for k, v in self.parameters.items() if k in self.nodes},
            {k: v for k, v in self.statistics.items() if k in weighted},
        )
