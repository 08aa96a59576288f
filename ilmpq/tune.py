"""Effort `high`: teach the quantized network the float network's answers on the calibration images, without labels.

Learned are activation scales, row scales and biases; codes stay as they are (learning them too, by straight-through
rounding, overfits a few hundred images: docs/method.md). The loss is KL(float ‖ quantized) of the logits on augmented
images (flipped, shifted, mixed).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .emulate import float_logits
from .forward import Weights, forward
from .graph import Graph, Node
from .reporter import Reporter
from .rowquant import LayerQuant, QuantModel, RowQuant, TensorQuant
from .storage import MOVES, TensorFormat, groups

BATCH = 64
STEPS = 1000
MIX = 0.5  # share of the images that are mixed with another
STEP_RATE, SCALE_RATE, BIAS_RATE = 3e-3, 1e-3, 3e-3


class Student(torch.nn.Module):
    """The quantized network, learnable: logarithms of the scales, and biases in units of their row."""

    def __init__(self, model: QuantModel) -> None:
        super().__init__()
        self.model = model
        self.group = groups(model.graph)
        self.index = {name: str(i) for i, name in enumerate([*model.tensors, *model.layers])}
        parameter = torch.nn.Parameter
        self.step = torch.nn.ParameterDict(
            {self.index[k]: parameter(torch.tensor(math.log(t.scale))) for k, t in model.tensors.items()}
        )
        self.scale = torch.nn.ParameterDict()
        self.bias = torch.nn.ParameterDict()
        self.codes: dict[str, Tensor] = {}
        self.unit: dict[str, Tensor] = {}
        for name, layer in model.layers.items():
            i = self.index[name]
            self.scale[i] = parameter(torch.from_numpy(layer.rows.scale).log())
            self.unit[name] = torch.from_numpy(layer.rows.scale * float(np.sqrt(layer.rows.codes.shape[1])))
            self.bias[i] = parameter(torch.from_numpy(layer.bias) / self.unit[name])
            self.codes[name] = torch.from_numpy(layer.rows.codes.astype(np.float32))

    def weights(self, node: Node) -> Weights:
        """Weight and bias as real tensors, differentiable."""
        i = self.index[node.name]
        weight = self.codes[node.name] * self.scale[i].exp()[:, None]
        return weight.view(self.model.graph.weight_shape(node)), self.bias[i] * self.unit[node.name]

    def forward(self, images: Tensor) -> Tensor:
        graph = self.model.graph
        weights = {n.name: self.weights(n) for n in graph.weighted}
        return forward(graph, images, weights, after=self._store, read=self._read)

    def _store(self, node: Node, value: Tensor) -> Tensor:
        name = self.group[node.name]
        if name not in self.model.tensors or node.op in MOVES:
            return value
        return fake_round(value, self.step[self.index[name]].exp(), self.model.tensors[name].format)

    def _read(self, node: Node, value: Tensor) -> Tensor:
        layer, name = self.model.layers[node.name], self.group[node.inputs[0]]
        stored = self.model.tensors[name].format
        read = stored.narrowed(layer.input_bits)
        if layer.input_shift == 0 and read == stored:
            return value
        return fake_round(value, self.step[self.index[name]].exp() * 2.0**layer.input_shift, read)

    def result(self) -> QuantModel:
        """The model as it stands."""
        tensors = {
            k: TensorQuant(t.format, float(np.float32(self.step[self.index[k]].detach().exp())))
            for k, t in self.model.tensors.items()
        }
        layers = {}
        for name, layer in self.model.layers.items():
            i = self.index[name]
            rows = RowQuant(layer.rows.codes, self.scale[i].detach().exp().numpy(), layer.rows.scheme)
            bias = (self.bias[i].detach() * self.unit[name]).numpy()
            layers[name] = LayerQuant(rows, bias, layer.input_bits, layer.input_shift)
        return QuantModel(self.model.graph, layers, tensors, self.model.metadata).verify()


def fake_round(x: Tensor, step: Tensor, tensor: TensorFormat) -> Tensor:
    """Round to codes and back; the gradient passes where the code is not clamped, and reaches the step."""
    v = x / step
    return (v + (v.round() - v).detach()).clamp(tensor.low, tensor.high) * step


def augment(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Flip half of the images, shift each by up to an eighth, and mix half of them with another."""
    out = images.clone()
    flip = torch.from_numpy(rng.random(len(out)) < 0.5)
    out[flip] = out[flip].flip(3)
    reach = [max(1, s // 8) for s in out.shape[2:]]
    for i in range(len(out)):
        dy, dx = (int(rng.integers(-r, r + 1)) for r in reach)
        out[i] = out[i].roll((dy, dx), (1, 2))
    share = torch.from_numpy(np.where(rng.random(len(out)) < MIX, rng.beta(1.0, 1.0, len(out)), 1.0)).float()
    share = share[:, None, None, None]
    other = torch.from_numpy(rng.permutation(len(out)))
    return share * out + (1 - share) * out[other]


def tune(graph: Graph, model: QuantModel, images: Tensor, seed: int, reporter: Reporter) -> QuantModel:
    """The model after distillation."""
    rng = np.random.default_rng([seed, 5])
    student = Student(model)
    rates = ((student.step, STEP_RATE), (student.scale, SCALE_RATE), (student.bias, BIAS_RATE))
    optimiser = torch.optim.Adam([{"params": list(p.values()), "lr": rate} for p, rate in rates])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: 0.5 * (1 + math.cos(math.pi * s / STEPS)))
    reporter.stage("tune", STEPS)
    order = rng.permutation(len(images))
    for step in range(STEPS):
        at = (step * BATCH) % len(images)
        if at + BATCH > len(images):
            order, at = rng.permutation(len(images)), 0
        batch = augment(images[torch.from_numpy(order[at : at + BATCH])], rng)
        teacher = float_logits(graph, batch)
        loss = F.kl_div(student(batch).log_softmax(1), teacher.log_softmax(1), log_target=True, reduction="batchmean")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        reporter.advance()
    return student.result()
