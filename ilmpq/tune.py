"""Distillation: teach the quantized network the float network's answers on the calibration images, without labels.

Learned are activation scales, row scales and biases (of a network of powers of two, biases only); codes stay as they are (learning them too, by straight-through
rounding, overfits a few hundred images: docs/method.md). The loss is KL(float ‖ quantized) of the logits on augmented
images (flipped, shifted, mixed). Every step draws its images from a generator of its own, so that a run that was
interrupted goes on from its last saved step to the same result.
"""

from __future__ import annotations

import math
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .container import read_container, write_container
from .emulate import float_logits
from .forward import Weights, forward
from .graph import Graph, Node
from .reporter import Reporter
from .rowquant import LayerQuant, QuantModel, RowQuant, TensorQuant, least_row_scale, whole_steps
from .scales import storable
from .storage import MOVES, TensorFormat, groups

BATCH = 64
MIX = 0.5  # share of the images that are mixed with another
RATES = {"step": 3e-3, "scale": 1e-3, "bias": 3e-3}  # Adam's, falling to 0 along a cosine
LEAST_STEPS = 50  # fewer would not be worth their while
MOST_STEPS = 1500
BATCH_VALUES = 1 << 27  # activations of a batch kept for the gradient: bounds memory to about 1 GB
SAVE_SECONDS = 30.0
KIND, VERSION = "tuning state", 1


class Student(torch.nn.Module):
    """The quantized network, learnable: factors on activation and row scales (their logarithms), and biases.

    Biases are in units of their row. Scales that are powers of two stay as they are.
    """

    def __init__(self, model: QuantModel) -> None:
        super().__init__()
        self.model = model
        self.group = groups(model.graph)
        self.tensor_index = {name: i for i, name in enumerate(model.tensors)}
        edges = np.cumsum([0] + [layer.rows.rows for layer in model.layers.values()])
        self.rows_of = {name: slice(a, b) for name, (a, b) in zip(model.layers, pairwise(edges), strict=True)}
        self.codes = {k: torch.from_numpy(v.rows.codes.astype(np.float32)) for k, v in model.layers.items()}
        self.start_scale = torch.from_numpy(np.concatenate([v.rows.scale for v in model.layers.values()]))
        self.start_step = torch.tensor([t.scale for t in model.tensors.values()])
        width = np.concatenate([np.full(v.rows.rows, v.rows.codes.shape[1]) for v in model.layers.values()])
        self.unit = self.start_scale * torch.from_numpy(width).float().sqrt()
        bias = torch.from_numpy(np.concatenate([v.bias for v in model.layers.values()]))
        free = not model.power_of_two
        self.step = torch.nn.Parameter(torch.zeros_like(self.start_step), free)
        self.scale = torch.nn.Parameter(torch.zeros_like(self.start_scale), free)
        self.bias = torch.nn.Parameter(bias / self.unit)

    def forward(self, images: Tensor) -> Tensor:
        graph = self.model.graph
        weights = {n.name: self._layer(n) for n in graph.weighted}
        return forward(graph, images, weights, after=self._store, read=self._read)

    def _layer(self, node: Node) -> Weights:
        """Weight and bias as real tensors, differentiable."""
        rows = self.rows_of[node.name]
        weight = self.codes[node.name] * self._row_scale(node)[:, None]
        return weight.view(self.model.graph.weight_shape(node)), self.bias[rows] * self.unit[rows]

    def _row_scale(self, node: Node) -> Tensor:
        """Row scales of a layer, none below what its multipliers can follow."""
        rows = self.rows_of[node.name]
        scale = self.start_scale[rows] * self.scale[rows].exp()
        seen = self._step(node.inputs[0]).item() * 2.0 ** self.model.layers[node.name].input_shift
        skip = 0.0 if node.skip is None else self._step(node.skip).item()
        return scale.clamp(min=float(least_row_scale(scale.detach().numpy(), seen, skip)))

    def _step(self, name: str) -> Tensor:
        """The scale of the tensor in which the output of node `name` is stored."""
        index = self.tensor_index[self.group[name]]
        return self.start_step[index] * self.step[index].exp()

    def _store(self, node: Node, value: Tensor) -> Tensor:
        name = self.group[node.name]
        if name not in self.model.tensors or node.op in MOVES:
            return value
        return fake_round(value, self._step(name), self.model.tensors[name].format)

    def _read(self, node: Node, value: Tensor) -> Tensor:
        layer, name = self.model.layers[node.name], self.group[node.inputs[0]]
        stored = self.model.tensors[name].format
        read = stored.narrowed(layer.input_bits)
        if layer.input_shift == 0 and read == stored:
            return value
        return fake_round(value, self._step(name) * 2.0**layer.input_shift, read)

    def result(self) -> QuantModel:
        """The model as it stands."""
        bias = (self.bias * self.unit).detach()
        tensors = {k: TensorQuant(t.format, storable(self._step(k).item())) for k, t in self.model.tensors.items()}
        layers = {}
        for name, layer in self.model.layers.items():
            rows = self.rows_of[name]
            node = self.model.graph[name]
            quant = RowQuant(layer.rows.codes, self._row_scale(node).detach().numpy().copy(), layer.rows.scheme)
            source = tensors[self.group[node.inputs[0]]]
            whole = whole_steps(bias[rows].numpy(), quant.scale, source.scale * 2.0**layer.input_shift)
            layers[name] = LayerQuant(quant, whole, layer.input_bits, layer.input_shift)
        return QuantModel(self.model.graph, layers, tensors, self.model.metadata).verify()


def fake_round(x: Tensor, step: Tensor, tensor: TensorFormat) -> Tensor:
    """Round to codes and back; the gradient passes where the code is not clamped, and reaches the step."""
    v = x / step
    return (v + (v.round() - v).detach()).clamp(tensor.low, tensor.high) * step


def augment(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Flip half of the images, shift each by up to an eighth of its size, and mix a share `MIX` with another."""
    out = images.clone()
    flip = torch.from_numpy(rng.random(len(out)) < 0.5)
    out[flip] = out[flip].flip(3)
    reach = [max(1, s // 8) for s in out.shape[2:]]
    for i in range(len(out)):
        dy, dx = (int(rng.integers(-r, r + 1)) for r in reach)
        out[i] = out[i].roll((dy, dx), (1, 2))
    share = torch.from_numpy(np.where(rng.random(len(out)) < MIX, rng.random(len(out)), 1.0)).float()
    share = share[:, None, None, None]
    return share * out + (1 - share) * out[torch.from_numpy(rng.permutation(len(out)))]


def schedule(graph: Graph, images: int, macs: float) -> tuple[int, int]:
    """Steps and images per step: what so many multiplications pay for; no steps where they pay for too few."""
    values = sum(math.prod(s) for s in graph.shapes.values())
    batch = max(1, min(BATCH, images, BATCH_VALUES // values))
    per_step = 4 * batch * sum(graph.macs(n) for n in graph.weighted)  # teacher, student, and twice that backwards
    steps = min(int(macs / per_step), MOST_STEPS)
    return (steps if steps >= LEAST_STEPS else 0), batch


def tune(
    graph: Graph, model: QuantModel, images: Tensor, macs: float, seed: int, state: Path, reporter: Reporter
) -> QuantModel:
    """The model after distillation with about `macs` multiplications; `state` is the file in which progress is kept."""
    steps, batch = schedule(graph, len(images), macs)
    if not steps:
        return model
    student = Student(model)
    parameters = {name: p for name, p in student.named_parameters() if p.requires_grad}
    optimiser = torch.optim.Adam([{"params": [p], "lr": RATES[name]} for name, p in parameters.items()])
    reporter.stage("tune", steps)
    done = _restore(state, parameters, optimiser) if state.exists() else 0
    reporter.advance(done)
    saved = time.monotonic()
    for step in range(done, steps):
        rng = np.random.default_rng([seed, 5, step])
        chosen = images[torch.from_numpy(rng.choice(len(images), batch, replace=False))]
        examples = augment(chosen, rng)
        teacher = float_logits(graph, examples).flatten(1).log_softmax(1)
        answer = student(examples).flatten(1).log_softmax(1)
        loss = F.kl_div(answer, teacher, log_target=True, reduction="batchmean")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for group, name in zip(optimiser.param_groups, parameters, strict=True):
            group["lr"] = RATES[name] * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.step()
        reporter.advance()
        if time.monotonic() - saved > SAVE_SECONDS:
            _keep(state, step + 1, parameters, optimiser)
            saved = time.monotonic()
    return student.result()


def _keep(path: Path, done: int, parameters: dict[str, torch.nn.Parameter], optimiser: torch.optim.Adam) -> None:
    """Write parameters and Adam's moments after `done` steps."""
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, parameter in parameters.items():
        state = optimiser.state[parameter]
        values = (parameter.detach(), state["exp_avg"], state["exp_avg_sq"])
        arrays |= {f"{name}/{k}": v.numpy() for k, v in zip(("value", "mean", "square"), values, strict=True)}
    write_container(path, KIND, VERSION, {"done": done}, arrays)


def _restore(path: Path, parameters: dict[str, torch.nn.Parameter], optimiser: torch.optim.Adam) -> int:
    """The inverse of `_keep`; the number of steps done."""
    header, arrays = read_container(path, KIND, VERSION)
    done = int(header["done"])
    for name, parameter in parameters.items():
        value, mean, square = (torch.from_numpy(arrays[f"{name}/{k}"].copy()) for k in ("value", "mean", "square"))
        parameter.data.copy_(value)
        optimiser.state[parameter] = {"step": torch.tensor(float(done)), "exp_avg": mean, "exp_avg_sq": square}
    return done
