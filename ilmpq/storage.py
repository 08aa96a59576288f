"""Which tensor is stored in how many bits, and how each layer reads it.

Pools, flattening, subsampling and concatenation move codes without changing them, so the tensors they join form one
`group` with one scale. A group's width follows from who reads it:

* the network input is signed, 8 bits;
* a group that a residual addition reads, or that no convolution or linear layer reads, is stored in 8 bits;
* any other group in the largest number of activation bits among the layers that read it.

A layer on A-bit arrays reads a wider tensor through a requantization by 2^-shift, ties to even.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .errors import ModelError
from .graph import Graph, Node, Op

WIDE = 8
MOVES = frozenset({Op.MAX_POOL, Op.FLATTEN, Op.SUBSAMPLE, Op.CONCAT})


@dataclass(frozen=True)
class TensorFormat:
    """Integer codes of a stored tensor: unsigned 0 … 2^bits−1, or signed ±(2^(bits−1)−1)."""

    bits: int
    signed: bool

    @property
    def high(self) -> int:
        return (1 << self.bits - 1) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def low(self) -> int:
        return -self.high if self.signed else 0

    def narrowed(self, bits: int) -> TensorFormat:
        """The format in which a layer with `bits`-bit arrays sees this tensor."""
        return TensorFormat(min(bits, self.bits), self.signed)


def groups(graph: Graph) -> dict[str, str]:
    """For every node, the name of the first node of its storage group."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    order = {n.name: i for i, n in enumerate(graph.nodes)}
    for node in graph.nodes:
        leader[node.name] = node.name
        if node.op in MOVES:
            roots = sorted({find(i) for i in node.inputs} | {node.name}, key=order.__getitem__)
            for root in roots:
                leader[root] = roots[0]
    return {name: find(name) for name in leader}


def formats(graph: Graph, act_bits: Mapping[str, int]) -> dict[str, TensorFormat]:
    """The format of every storage group except the logits'; `act_bits` gives each weighted layer's array width."""
    of = groups(graph)
    signed: dict[str, bool] = {}
    for node in graph.nodes:
        signed[of[node.name]] = signed.get(of[node.name], False) or _brings_negatives(node, signed, of)
    result: dict[str, TensorFormat] = {}
    for leader in dict.fromkeys(of.values()):
        members = [n for n in graph.nodes if of[n.name] == leader]
        names = {n.name for n in members}
        readers = [n for n in graph.nodes if n.weighted and n.inputs[0] in names]
        if graph.output in members and not any(names & set(n.inputs) for n in graph.weighted):
            _check_logits(graph, leader, names)
            continue
        wide = leader == graph.input.name or not readers or any(n.skip in names for n in graph.nodes)
        bits = WIDE if wide else max(act_bits[n.name] for n in readers)
        result[leader] = TensorFormat(bits, signed[leader])
    return result


def _check_logits(graph: Graph, leader: str, members: Collection[str]) -> None:
    """That a group of nothing but logits, 32-bit results, is computed, and not computed with."""
    for node in graph.nodes:
        if node.op is Op.AVG_POOL and node.inputs[0] in members:
            raise ModelError(
                f"{node.name} must not average {node.inputs[0]}, which is a part of the output {graph.output.name}: "
                "end the network before they are joined, or let a convolution or linear layer follow"
            )
    if leader == graph.input.name:
        raise ModelError(
            f"{graph.name} must compute something: no convolution, linear layer or average pool lies between its input "
            f"and {graph.output.name}; add one"
        )


def _brings_negatives(node: Node, signed: Mapping[str, bool], of: Mapping[str, str]) -> bool:
    """Whether the node itself writes negative values into its group; a move brings none of its own."""
    if node.op in MOVES or node.relu:
        return False
    return node.op is not Op.AVG_POOL or signed[of[node.inputs[0]]]


def input_layers(graph: Graph) -> frozenset[str]:
    """The layers that read the image; they see all 8 bits of it."""
    of = groups(graph)
    return frozenset(n.name for n in graph.weighted if of[n.inputs[0]] == graph.input.name)


def layer_bits(graph: Graph, act_bits: int, overrides: Mapping[str, int] | None = None) -> dict[str, int]:
    """Array width of every weighted layer's input: `act_bits`, or what `overrides` says for the layer's name.

    Layers on the image see 8 bits, and so do layers of one weight per row (depthwise 1×1): these stand for a lone batch
    norm, ReLU or addition, and two passes over one weight cost next to nothing.
    """
    overrides = overrides or {}
    images = input_layers(graph)
    return {
        n.name: WIDE if n.name in images or _one_weight(graph, n) else overrides.get(n.name, act_bits)
        for n in graph.weighted
    }


def _one_weight(graph: Graph, node: Node) -> bool:
    return graph.weight_shape(node)[1:] == (1, 1, 1) and node.groups > 1
