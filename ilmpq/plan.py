"""How a run decides which row gets which scheme: by the ratio in every layer, from a file, or under a budget of bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from .assign import RowScores, Rule, under_budget
from .calibrate import Streams
from .gradient import RowGradients, row_gradients
from .graph import Graph, Node
from .quantize import quantize_layer
from .ratio import Ratio
from .rowquant import LayerQuant
from .rowsfile import read_assignment, write_schemes
from .schemes import BY_IDENT, Scheme
from .score import Candidates, score_layer, wants_full_statistics
from .storage import layer_bits

if TYPE_CHECKING:
    from .job import Job
    from .reporter import Reporter

GRADIENT_IMAGES = 256
Idents = NDArray[np.uint8]


@dataclass(frozen=True)
class Plan:
    """The schemes that rows may get, and the rule: (node, its candidates, generator) → scheme of each row."""

    schemes: tuple[Scheme, ...]
    assign: Callable[[Node, Candidates, np.random.Generator], Idents]


def make_plan(job: Job, images: torch.Tensor, kept: Path, reporter: Reporter) -> Plan:
    """The plan that the options ask for; what a budget gave is kept in a file for `--resume`."""
    options = job.options
    if job.assignment is not None:
        return _given(job.assignment)
    ratio = Ratio.parse(options.ratio)
    if options.average_bits is not None:
        if not kept.exists():
            write_schemes(kept, _spend_budget(job, images, ratio.schemes, options.average_bits, reporter))
        return _given(read_assignment(kept, job.graph))
    gradients = _gradients(job, images) if options.assign is Rule.HESSIAN else None
    return Plan(ratio.schemes, _by_ratio(job.graph, ratio, options.assign, gradients))


def _idents(schemes: tuple[Scheme, ...], choice: NDArray[np.intp]) -> Idents:
    return np.array([s.ident for s in schemes], np.uint8)[choice]


def _by_ratio(
    graph: Graph, ratio: Ratio, rule: Rule, gradients: dict[str, RowGradients] | None
) -> Callable[[Node, Candidates, np.random.Generator], Idents]:
    """Exactly the ratio's counts in every layer."""

    def assign(node: Node, candidates: Candidates, rng: np.random.Generator) -> Idents:
        costs = candidates.costs()
        weight = graph.parameters[node.name].weight.reshape(len(costs), -1).astype(np.float64)
        eigenvalue = gradients[node.name].eigenvalue if gradients else np.zeros(len(costs))
        scores = RowScores(candidates.schemes, costs, weight.var(axis=1), eigenvalue)
        counts = [n for _, n in ratio.counts(len(costs))]
        return _idents(candidates.schemes, rule.function(scores, counts, rng))

    return assign


def _given(assignment: dict[str, Idents]) -> Plan:
    """An assignment made before."""
    used = np.unique(np.concatenate(list(assignment.values())))
    schemes = tuple(BY_IDENT[int(i)] for i in used)
    return Plan(schemes, lambda node, candidates, rng: assignment[node.name])


def _gradients(job: Job, images: torch.Tensor) -> dict[str, RowGradients]:
    return row_gradients(job.graph, images[:GRADIENT_IMAGES], np.random.default_rng([job.options.seed, 3]))


def _spend_budget(
    job: Job, images: torch.Tensor, schemes: tuple[Scheme, ...], average_bits: float, reporter: Reporter
) -> dict[str, Idents]:
    """One pass with every row at its best scheme of the fewest bits gives the costs; gradients make layers comparable."""
    graph, options = job.graph, job.options
    gradients = _gradients(job, images)
    general, overrides = options.layer_act_bits(n.name for n in graph.weighted)
    bits = layer_bits(graph, general, overrides)
    streams = Streams(graph, images, bits, options.scales)
    fewest = [i for i, s in enumerate(schemes) if s.bits == min(t.bits for t in schemes)]
    costs, sizes = {}, {}
    reporter.stage("score", len(graph.weighted))
    for index, node in enumerate(graph.nodes):
        layer = None
        if node.weighted:
            rng = np.random.default_rng([options.seed, 4, index])
            statistics = streams.statistics(node, rng, full=wants_full_statistics(graph, node, options.settings))
            candidates = score_layer(graph, node, statistics, schemes, options.settings)
            cost = candidates.costs()
            costs[node.name] = cost * gradients[node.name].weight[:, None]
            sizes[node.name] = candidates.target.shape[1]
            narrow = _idents(schemes, np.array(fewest)[cost[:, fewest].argmin(axis=1)])
            scales = streams.input_scale(node), streams.skip_scale(node)
            result = quantize_layer(candidates, narrow, statistics, *scales, options.settings)
            layer = LayerQuant(result.rows, result.bias, bits[node.name], streams.input_shift(node))
            reporter.advance()
        streams.advance(node, layer)
    choices = under_budget(costs, sizes, schemes, average_bits, options.granularity == "layer")
    return {name: _idents(schemes, choice) for name, choice in choices.items()}
