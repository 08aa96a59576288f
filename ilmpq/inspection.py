"""What `ilmpq inspect` tells of a network before any work: every node, its shape, its cost and what will happen to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import demo, zoo
from .canonical import canonical
from .console import operation
from .errors import UsageError
from .files import PathKind, path_kind
from .graph import Graph, Node
from .job import default_images
from .load import load
from .options import Options
from .ratio import Ratio
from .storage import TensorFormat, formats, groups, layer_bits


def network_of(source: str, options: Options) -> tuple[Graph, str]:
    """The graph of a file, of `digits`, or of an architecture's name (which has no weights), and its architecture."""
    options.verify_source(source)
    if source == demo.NAME:
        return demo.digits_graph(), demo.NAME
    if path_kind(Path(source)) is PathKind.ABSENT and Path(source).name == source and not Path(source).suffix:
        _check_name(source)
        if options.arch is not None:
            raise UsageError(f"--arch must be given with weights; {source} is an architecture itself")
        return canonical(zoo.build(source, options.input_shape)), source
    loaded = load(source, arch=options.arch, input_shape=options.input_shape)
    return loaded.graph, loaded.architecture


def _check_name(source: str) -> None:
    """That what is no file is an architecture."""
    try:
        zoo.named(source)
    except UsageError as error:
        raise UsageError(f"{source} does not exist: check the path; if it is a name, the {error}") from None


def inspect(source: str, options: Options) -> dict[str, Any]:
    """Everything that `ilmpq inspect` prints."""
    options.verify()
    graph, architecture = network_of(source, options)
    general, overrides = options.layer_act_bits(n.name for n in graph.weighted)
    bits = layer_bits(graph, general, overrides)
    stored = formats(graph, bits)
    group = groups(graph)
    rows = [_node(graph, n, stored.get(group[n.name]), bits, options) for n in graph.nodes]
    return {
        "model": source,
        "architecture": architecture,
        "input_shape": list(graph.input_shape),
        "classes": graph.classes,
        "layers": len(graph.weighted),
        "parameters": sum(r["weights"] + (r["shape"][0] if r["weights"] else 0) for r in rows),
        "macs": sum(r["macs"] for r in rows),
        "calibration_images": options.calib_images or default_images(graph, options),
        "nodes": rows,
    }


def _node(
    graph: Graph, node: Node, stored: TensorFormat | None, bits: dict[str, int], options: Options
) -> dict[str, Any]:
    weights = 1
    for size in graph.weight_shape(node) if node.weighted else (0,):
        weights *= size
    return {
        "node": node.name,
        "operation": operation(graph, node),
        "inputs": list(node.inputs),
        "shape": list(graph.shapes[node.name]),
        "weights": weights,
        "macs": graph.macs(node),
        "plan": _plan(graph, node, stored, bits, options),
    }


def _plan(graph: Graph, node: Node, stored: TensorFormat | None, bits: dict[str, int], options: Options) -> str:
    """What quantization will do to a node, in words."""
    parts = []
    if node.weighted:
        if options.budget is None and options.assignment is None:
            counts = Ratio.parse(options.ratio).counts(graph.weight_shape(node)[0])
            parts.append(" ".join(f"{s.name}:{n}" for s, n in counts))
        parts.append(f"reads {bits[node.name]} bits")
    if stored is None:
        parts.append("logits")
    else:
        parts.append(f"stored in {stored.bits} bits{', signed' if stored.signed else ''}")
    return "; ".join(parts)
