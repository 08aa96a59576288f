"""Activation ranges: a histogram of each stored tensor, and the scale and shift that suit it best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .scales import Scales, storable
from .storage import TensorFormat

BINS = 4096
SMALLEST = 1e-30  # a range below this counts as none: its reciprocal would overflow
PART = 1 << 20  # values counted at once
RANGE, TRIALS = (0.1, 1.0), 61  # steps tried, in units of the one that just covers the range


@dataclass(frozen=True)
class Histogram:
    """How often |x| falls in each of `BINS` equal bins up to `top`, for x of one stored tensor."""

    counts: NDArray[np.float64]
    top: float

    @staticmethod
    def of(x: Tensor) -> Histogram:
        low, high = x.aminmax()
        top = max(float(high), -float(low))
        top = 0.0 if top < SMALLEST else top
        counts = torch.zeros(BINS, dtype=torch.int64)
        if 0 < top < np.inf:
            values = x.reshape(-1)
            for start in range(0, len(values), PART):
                index = (values[start : start + PART].abs() * (BINS / top)).to(torch.int32).clamp_(max=BINS - 1)
                counts += torch.bincount(index, minlength=BINS)
        return Histogram(counts.numpy().astype(np.float64), top)

    def merged(self, other: Histogram) -> Histogram:
        """The histogram of both tensors together, on the larger of both ranges."""
        if self.top < other.top:
            return other.merged(self)
        if other.top == 0:
            return self
        index = ((np.arange(BINS) + 0.5) * (other.top / self.top)).astype(np.intp)
        return Histogram(self.counts + np.bincount(index, other.counts, BINS), self.top)

    def error(self, step: float, high: int, stored: float = 0.0, stored_high: int = 0) -> float:
        """Mean squared error of codes 0 … `high` with this step (read from codes of step `stored`, if given)."""
        x = (np.arange(BINS) + 0.5) * (self.top / BINS)
        x_hat = np.minimum(np.rint(x / stored), stored_high) * stored if stored else x
        x_hat = np.minimum(np.rint(x_hat / step), high) * step
        return float((self.counts * (x_hat - x) ** 2).sum() / max(self.counts.sum(), 1.0))

    def best_step(self, high: int, scales: Scales) -> float:
        """The allowed step with the least error among those tried up to the step that just covers the range."""
        if self.top == 0:
            return 1.0
        steps = scales.between(np.array([self.top / high], np.float32), *RANGE, TRIALS)
        return min((float(s) for s in steps.ravel()), key=lambda s: self.error(s, high))


def choose_scale(histogram: Histogram, stored: TensorFormat, read: TensorFormat, scales: Scales) -> float:
    """The scale of a stored tensor such that its narrowest reader sees its best step.

    A tensor stored in more bits than it is read gets the reader's step divided by the largest power of two that still
    lets the stored codes cover the whole range.
    """
    step = histogram.best_step(read.high, scales)
    shift = 0
    while shift < stored.bits - read.bits and stored.high * step / 2 ** (shift + 1) >= histogram.top:
        shift += 1
    return storable(step / 2**shift)


def choose_shift(histogram: Histogram, scale: float, stored: TensorFormat, read: TensorFormat) -> int:
    """The right shift with which a reader sees a stored tensor best."""
    shifts = range(stored.bits - read.bits + 1)
    return min(shifts, key=lambda k: histogram.error(scale * 2.0**k, read.high, scale, stored.high))
