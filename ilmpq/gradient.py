"""What the loss feels of each row: gradients of the float network at its layers' outputs, without labels.

The loss is the cross-entropy with a label drawn from the network's own softmax, so that mean squares of the gradients
are the (Gauss-Newton, Fisher) curvature of KL(float ‖ perturbed). From them come

* `weight[r]` = E_images Σ_positions g_r²: how much noise on row r's output changes the network's answer;
* `eigenvalue[r]` = λ_max(E[g_r²·u·uᵀ]) with the input columns u: the largest Hessian eigenvalue of the row's weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .forward import clip, float_weights, run_before_clip, unfold
from .graph import Graph, Node, Op

COLUMNS = 1024  # sampled input columns per layer for the eigenvalues
POWER_STEPS = 12
BATCH_VALUES = 1 << 25


@dataclass(frozen=True)
class RowGradients:
    """Per row of one layer."""

    weight: NDArray[np.float64]
    eigenvalue: NDArray[np.float64]


def row_gradients(graph: Graph, images: Tensor, rng: np.random.Generator) -> dict[str, RowGradients]:
    """Gradient statistics of every weighted layer over `images`."""
    squares: dict[str, NDArray[np.float64]] = {}
    columns: dict[str, list[Tensor]] = {n.name: [] for n in graph.weighted}
    weights: dict[str, list[Tensor]] = {n.name: [] for n in graph.weighted}
    per_image = sum(int(np.prod(s)) for s in graph.shapes.values())
    batch = max(1, min(len(images), BATCH_VALUES // per_image))
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        for node, x, gradient in _layer_gradients(graph, part, rng):
            square = gradient.square().flatten(2) if gradient.ndim > 2 else gradient.square()[:, :, None]
            squares[node.name] = squares.get(node.name, 0.0) + square.sum((0, 2)).double().numpy()
            wanted = -(-COLUMNS * len(part) // len(images))
            chosen = _sample(square.shape[0] * square.shape[2], wanted, rng)
            u = unfold(node, x).permute(1, 2, 0, 3).flatten(2)[:, :, chosen]
            columns[node.name].append(u)
            weights[node.name].append(square.permute(1, 0, 2).flatten(1)[:, chosen])
    return {
        name: RowGradients(total / len(images), _eigenvalues(torch.cat(columns[name], 2), torch.cat(weights[name], 1)))
        for name, total in squares.items()
    }


def _sample(count: int, wanted: int, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(np.sort(rng.choice(count, min(count, wanted), replace=False)))


def _layer_gradients(graph: Graph, images: Tensor, rng: np.random.Generator) -> Iterator[tuple[Node, Tensor, Tensor]]:
    """Each weighted node with its input and the loss gradient at its output, before clip."""
    weights = float_weights(graph)
    values: dict[str, Tensor] = {}
    probes: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}
    with torch.enable_grad():
        for node in graph.nodes:
            if node.op is Op.INPUT:
                values[node.name] = images
                continue
            value = run_before_clip(node, [values[i] for i in node.inputs], weights.get(node.name))
            if node.weighted:
                inputs[node.name] = values[node.inputs[0]].detach()
                probes[node.name] = torch.zeros_like(value, requires_grad=True)
                value = value + probes[node.name]
            values[node.name] = clip(node, value)
        logits = values[graph.output.name].flatten(1)
        chance = logits.detach().softmax(1).cumsum(1)
        drawn = torch.from_numpy(rng.random((len(images), 1))).to(chance.dtype)
        labels = (chance < drawn).sum(1).clamp(max=logits.shape[1] - 1)
        loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        gradients = torch.autograd.grad(loss, list(probes.values()))
    for (name, _), gradient in zip(probes.items(), gradients, strict=True):
        yield graph[name], inputs[name], gradient


def _eigenvalues(columns: Tensor, weights: Tensor) -> NDArray[np.float64]:
    """Power iteration on E[g²·u·uᵀ] for all rows of a layer at once; columns groups × K × n, weights rows × n."""
    groups, size, count = columns.shape
    g = weights.view(groups, -1, count)
    v = torch.ones(groups, g.shape[1], size) / size**0.5
    value = torch.zeros(groups, g.shape[1])
    for _ in range(POWER_STEPS):
        v = torch.bmm(torch.bmm(v, columns) * g, columns.transpose(1, 2)) / count
        value = v.norm(dim=2)
        v = v / value.clamp(min=1e-30)[:, :, None]
    return value.flatten().double().numpy()
