"""Quantized networks with random codes: what hardware can be measured with when nobody has weights or images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .graph import Graph
from .rowquant import LayerQuant, QuantModel, RowQuant, TensorQuant
from .scales import Scales, storable
from .schemes import SCHEMES
from .storage import formats, groups, layer_bits

SPREAD = 0.4  # standard deviation of codes, of a scheme's largest level: that of trained weights
_LIKELY = [
    likely / likely.sum() for likely in (np.exp(-((np.array(s.levels) / s.top / SPREAD) ** 2) / 2) for s in SCHEMES)
]


def placeholder(
    graph: Graph, rng: np.random.Generator, act_bits: int, ratio: Mapping[int, float], power_of_two: bool = False
) -> QuantModel:
    """Rows of schemes (by `ident`) in a ratio, scales whose outputs sometimes saturate, zero rows, biases; verified."""
    allowed = Scales.POWER_OF_TWO if power_of_two else Scales.FREE
    shares = np.array(list(ratio.values())) / sum(ratio.values())
    bits = layer_bits(graph, act_bits)
    stored = formats(graph, bits)
    of = groups(graph)
    tensors = {
        k: TensorQuant(f, storable(float(allowed.up(np.array([rng.uniform(0.5, 2) / f.high]))[0])))
        for k, f in stored.items()
    }
    layers = {}
    for node in graph.weighted:
        rows, *columns = graph.weight_shape(node)
        size = int(np.prod(columns))
        scheme = _dealt(rng, list(ratio), shares, rows)
        codes = np.stack(
            [rng.choice(SCHEMES[s].levels, size, p=_LIKELY[s]) * rng.choice([-1, 1], size) for s in scheme]
        )
        codes[rng.random(rows) < 0.1] = 0
        peak = np.array([SCHEMES[s].top for s in scheme])
        source = stored[of[node.inputs[0]]]
        shift = int(rng.integers(0, source.bits - min(bits[node.name], source.bits) + 1))
        scale = allowed.up(rng.uniform(0.2, 2, rows) / (peak * SPREAD * np.sqrt(size)))
        unit = scale * tensors[of[node.inputs[0]]].scale * 2.0**shift
        bias = (rng.normal(size=rows) * rng.choice([0.1, 1.0, 100.0]) * unit * peak).astype(np.float32)
        layers[node.name] = LayerQuant(RowQuant(codes.astype(np.int8), scale, scheme), bias, bits[node.name], shift)
    return QuantModel(graph, layers, tensors).verify()


def _dealt(rng: np.random.Generator, schemes: list[int], shares: NDArray[np.float64], rows: int) -> NDArray[np.uint8]:
    """A layer's schemes: at random if they are all alike, else by largest remainder, in any order."""
    if np.ptp(shares) == 0:
        return rng.choice(schemes, rows).astype(np.uint8)
    exact = shares * rows
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: rows - counts.sum()]] += 1
    return rng.permutation(np.repeat(schemes, counts)).astype(np.uint8)
