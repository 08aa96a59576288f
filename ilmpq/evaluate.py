"""How good the integer network is: accuracy, closeness to the float network, and error per layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from .emulate import float_logits
from .graph import Graph, Node
from .integer import Executor
from .program import Program

Batch = tuple[NDArray[np.float32], NDArray[np.int64] | None]


@dataclass(frozen=True)
class Evaluation:
    """What was measured over some images. Percentages; `kl_to_float` is mean KL(float ‖ quantized) in nats.

    `snr_db` is 10·log10(signal power / noise power) of every layer's output.
    """

    images: int
    accuracy_float: float | None
    accuracy_quantized: float | None
    kl_to_float: float
    agreement: float
    snr_db: dict[str, float] = field(default_factory=dict)


class NoiseMeter:
    """Adds up signal and noise power of each layer's output."""

    def __init__(self) -> None:
        self._signal: dict[str, float] = {}
        self._noise: dict[str, float] = {}

    def add(self, name: str, exact: torch.Tensor, quantized: torch.Tensor) -> None:
        """Count one batch of a layer's output in both networks."""
        self._signal[name] = self._signal.get(name, 0.0) + float(exact.square().sum(dtype=torch.float64))
        noise = float((quantized - exact).square().sum(dtype=torch.float64))
        self._noise[name] = self._noise.get(name, 0.0) + noise

    def snr_db(self) -> dict[str, float]:
        """Per layer; a layer without any noise has 99 dB, one without signal 0."""
        return {
            name: round(min(99.0, 10 * float(np.log10(max(signal, 1e-30) / max(self._noise[name], 1e-30)))), 2)
            if signal
            else 0.0
            for name, signal in self._signal.items()
        }


def evaluate(
    graph: Graph,
    program: Program,
    batches: Iterable[Batch],
    progress: Callable[[int], None] = lambda images: None,
    snr_images: int = 256,
) -> Evaluation:
    """Run float and integer network over `batches`; signal-to-noise is measured on the first `snr_images`."""
    executor = Executor(program)
    meter = NoiseMeter()
    images = labelled = right_float = right_quantized = same = 0
    divergence = 0.0
    for x, labels in batches:
        batch = torch.from_numpy(x)
        exact: dict[str, torch.Tensor] = {}
        measure = images < snr_images

        def remember(node: Node, value: torch.Tensor, exact: dict[str, torch.Tensor] = exact) -> None:
            if node.weighted:
                exact[node.name] = value

        def compare(node: Node, value: torch.Tensor, exact: dict[str, torch.Tensor] = exact) -> None:
            if node.weighted:
                meter.add(node.name, exact.pop(node.name), value.float().mul_(program.scale(node.name)))

        reference = float_logits(graph, batch, remember if measure else None).flatten(1)
        logits = executor.logits(batch, compare if measure else None).flatten(1)
        log_p, log_q = reference.double().log_softmax(1), logits.log_softmax(1)
        divergence += float((log_p.exp() * (log_p - log_q)).sum())
        guess_float, guess = reference.argmax(1), logits.argmax(1)
        same += int((guess_float == guess).sum())
        images += len(batch)
        if labels is not None:
            truth = torch.from_numpy(labels)
            labelled += len(truth)
            right_float += int((guess_float == truth).sum())
            right_quantized += int((guess == truth).sum())
        progress(len(batch))
    return Evaluation(
        images=images,
        accuracy_float=100 * right_float / labelled if labelled else None,
        accuracy_quantized=100 * right_quantized / labelled if labelled else None,
        kl_to_float=divergence / max(images, 1),
        agreement=100 * same / max(images, 1),
        snr_db=meter.snr_db(),
    )
