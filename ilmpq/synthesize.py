"""Calibration images where the user has none: made so that the network's batch norms see what they saw in training.

Start from coloured 1/f noise, whose spectrum is that of photographs. Then gradient descent on the pixels brings mean
and deviation of every layer's output close to those that batch norm remembers:

    loss = mean over layers and rows of ((mean − mean') / d)² + ((std − std') / d)²,   d = std' + 0.05·average std'

`docs/method.md` says what else was tried. A network without batch norms gets overlapping shapes on such noise, as
they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .forward import clip, float_weights, run_before_clip, run_node
from .graph import FloatArray, Graph, Op, Shape
from .preprocess import Preprocess

RATE = 0.1  # Adam's, in units of normalised pixels; falls to 0 along a cosine
BATCH = 64  # images whose statistics are taken together
STEPS = (12, 25)  # fewest and most steps of descent
BUDGET_MACS = 2e12  # forward multiplications to spend, which sets the steps between those
BATCH_VALUES = 5e7  # output values of all layers of a batch, kept for the gradient: bounds memory to about 1 GB

Doubles = NDArray[np.float64]


def has_statistics(graph: Graph) -> bool:
    """Whether batch norms left something to aim at."""
    return bool(graph.statistics)


def synthesize(
    graph: Graph,
    preprocess: Preprocess,
    count: int,
    rng: np.random.Generator,
    progress: Callable[[float], None] | None = None,
) -> FloatArray:
    """`count` preprocessed images N×C×H×W for a canonical graph; `progress` is told the share that is done."""
    low, high = preprocess.pixel_range()
    if not has_statistics(graph):
        return low + (high - low) * shapes_on_noise(count, preprocess.input_shape, rng)
    images = low + (high - low) * noise_images(count, preprocess.input_shape, rng)
    steps = _steps(graph, count)
    batches = np.array_split(np.arange(count), math.ceil(count / _batch_size(graph)))
    for number, batch in enumerate(batches):

        def tell(share: float, done: int = number) -> None:
            if progress is not None:
                progress((done + share) / len(batches))

        images[batch] = _descend(graph, images[batch], low, high, steps, tell)
    return images


def _batch_size(graph: Graph) -> int:
    values = sum(math.prod(shape) for shape in graph.shapes.values())
    return int(np.clip(BATCH_VALUES / values, 4, BATCH))


def _steps(graph: Graph, count: int) -> int:
    macs = count * sum(graph.macs(n) for n in graph.weighted)
    return int(np.clip(BUDGET_MACS / max(macs, 1), *STEPS))


def _descend(
    graph: Graph, images: FloatArray, low: FloatArray, high: FloatArray, steps: int, tell: Callable[[float], None]
) -> FloatArray:
    x = torch.from_numpy(images.copy()).requires_grad_()
    black, white = torch.from_numpy(low), torch.from_numpy(high)
    optimiser = torch.optim.Adam([x], lr=RATE, betas=(0.9, 0.99))
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.zero_grad()
        loss = statistics_loss(graph, x)
        if not torch.isfinite(loss):  # the network overflows: there is no way down
            break
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            x.copy_(torch.minimum(torch.maximum(x, black), white))
        tell((step + 1) / steps)
    return x.detach().numpy()


def statistics_loss(graph: Graph, x: Tensor) -> Tensor:
    """How far the outputs of a batch are from the batch norms' statistics; 0 when they agree."""
    weights = float_weights(graph)
    last = {source: node.name for node in graph.nodes for source in node.inputs}
    live: dict[str, Tensor] = {}
    losses: list[Tensor] = []
    for node in graph.nodes:
        inputs = [live[i] for i in node.inputs]
        if node.op is Op.INPUT:
            value = x
        elif node.name in graph.statistics:
            # Batch norm saw the convolution's output: without the residual, before the clip.
            value = run_before_clip(replace(node, inputs=node.inputs[:1]), inputs, weights[node.name])
            losses.append(_distance(graph, node.name, value))
            value = clip(node, value if node.skip is None else value + inputs[1])
            if len(losses) == len(graph.statistics):
                break
        else:
            value = run_node(node, inputs, weights.get(node.name))
        live[node.name] = value
        for source in node.inputs:
            if last[source] == node.name:
                live.pop(source, None)
    return torch.stack(losses).mean()


def _distance(graph: Graph, name: str, value: Tensor) -> Tensor:
    aim = graph.statistics[name]
    mean, std = torch.from_numpy(aim.mean), torch.from_numpy(aim.std)
    unit = std + 0.05 * std.mean() + 1e-6
    dims = [d for d in range(value.ndim) if d != 1]
    got = torch.sqrt(value.var(dims, unbiased=False) + 1e-12)
    return (((value.mean(dims) - mean) / unit) ** 2 + ((got - std) / unit) ** 2).mean()


# --- images without a network ----------------------------------------------------------------------------------------


def noise_images(count: int, shape: Shape, rng: np.random.Generator) -> FloatArray:
    """Images N×C×H×W in 0 … 1: 1/f noise of random brightness and contrast."""
    images = np.empty((count, *shape), dtype=np.float32)
    for image in images:
        brightness, contrast = rng.uniform(0.25, 0.7), rng.uniform(0.1, 0.3)
        image[...] = np.clip(brightness + contrast * pink_noise(shape, rng), 0, 1)
    return images


def shapes_on_noise(count: int, shape: Shape, rng: np.random.Generator) -> FloatArray:
    """Images N×C×H×W in 0 … 1: 5 to 40 overlapping ellipses, boxes and diamonds, shaded, on 1/f noise.

    >>> images = shapes_on_noise(2, (3, 8, 8), np.random.default_rng(0))
    >>> images.shape, bool(0 <= images.min() < images.max() <= 1)
    ((2, 3, 8, 8), True)
    """
    channels, height, width = shape
    images = noise_images(count, shape, rng)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    for image in images:
        picture = image.astype(np.float64)
        palette, spread = rng.uniform(0, 1, (channels, 1, 1)), rng.uniform(0.1, 0.35)
        for _ in range(int(rng.integers(5, 40))):
            radius = min(height, width) * min(0.5, 0.04 + 0.04 * rng.pareto(1.2))
            angle, flatness = rng.uniform(0, math.pi), rng.uniform(0.4, 1)
            dy, dx = y - rng.uniform(0, height), x - rng.uniform(0, width)
            along = dx * math.cos(angle) + dy * math.sin(angle)
            across = np.abs(dy * math.cos(angle) - dx * math.sin(angle)) / flatness
            distance = _DISTANCES[int(rng.integers(3))](np.abs(along), across)
            cover = np.clip(radius - distance + 0.5, 0, 1)
            grey = rng.standard_normal()
            colour = palette + spread * (grey + 0.4 * rng.standard_normal((channels, 1, 1)))
            shading = rng.uniform(-0.3, 0.3) * along / (2 * radius)
            picture = picture * (1 - cover) + cover * (colour + shading)
        image[...] = np.clip(picture, 0, 1)
    return images


_DISTANCES: tuple[Callable[[Doubles, Doubles], Doubles], ...] = (np.hypot, np.maximum, np.add)


def pink_noise(shape: Shape, rng: np.random.Generator) -> Doubles:
    """Noise C×H×W of amplitude 1/f and deviation 1; the channels are similar, as they are in photographs."""
    _, height, width = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1 / max(height, width)
    white = rng.standard_normal((1, height, width)) + 0.4 * rng.standard_normal(shape)
    noise = np.fft.irfft2(np.fft.rfft2(white) / frequency, s=(height, width))
    noise -= noise.mean()
    return np.asarray(noise / max(float(noise.std()), 1e-9))
