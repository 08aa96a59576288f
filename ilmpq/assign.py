"""Which row gets which scheme, in exactly the numbers the ratio prescribes.

Every rule sees one layer's `RowScores` and how many rows each scheme gets, and returns for each row the index of its
scheme. `under_budget` instead gives every row of every layer its scheme under a budget of average bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from .errors import UsageError
from .schemes import Kind, Scheme

Cost = NDArray[np.float64]
Choice = NDArray[np.intp]
LLOYD_STEPS = 30
NARROW_BITS = 4  # up to here the papers' rules tell schemes apart by variance, above by need of bits


@dataclass(frozen=True)
class RowScores:
    """What is known of a layer's rows: `cost` (rows × schemes) is the error each would cause under each scheme."""

    schemes: tuple[Scheme, ...]
    cost: Cost
    variance: NDArray[np.float64]
    eigenvalue: NDArray[np.float64]


def exact(scores: RowScores, counts: Sequence[int], rng: np.random.Generator) -> Choice:
    """The least total cost under the counts."""
    return transport(scores.cost, counts)


def cluster(scores: RowScores, counts: Sequence[int], rng: np.random.Generator) -> Choice:
    """Cluster the rows by their sensitivities, one cluster per scheme, of the prescribed sizes.

    A row's features are the root errors it would suffer under each scheme beyond its best one. k-means finds the
    centres; each centre takes the scheme it suffers least from; then rows go to centres under the counts with the
    least total squared distance, and centres move to the mean of their rows, until nothing changes.
    """
    root = np.sqrt(np.maximum(scores.cost, 0))
    features = root - root.min(axis=1, keepdims=True)
    spread = features.std() or 1.0
    features = features / spread
    clusters = min(len(counts), len(np.unique(features, axis=0)))
    if clusters < len(counts):  # too few different rows to tell clusters apart
        return transport(scores.cost, counts)
    seed = int(rng.integers(2**31))
    from sklearn.cluster import KMeans  # takes most of a second to import, which a search need not pay

    centres = KMeans(clusters, n_init=10, random_state=seed).fit(features).cluster_centers_
    of_scheme = linear_sum_assignment(centres.T)[1]
    centres = centres[of_scheme]
    choice = np.full(len(features), -1)
    for _ in range(LLOYD_STEPS):
        distance = ((features[:, None, :] - centres[None]) ** 2).sum(axis=2)
        new = transport(distance, counts)
        if (new == choice).all():
            break
        choice = new
        for i, n in enumerate(counts):
            if n:
                centres[i] = features[choice == i].mean(axis=0)
    return choice


def hessian(scores: RowScores, counts: Sequence[int], rng: np.random.Generator) -> Choice:
    """The papers' rule (RMSMP, ILMPQ): largest Hessian eigenvalue to the most bits, then least variance to powers of two."""
    return _ranked(scores, counts, scores.eigenvalue)


def output_error(scores: RowScores, counts: Sequence[int], rng: np.random.Generator) -> Choice:
    """FILM-QNN's rule: the rows with the largest error at few bits get the most; then variance, as in `hessian`."""
    narrow = [i for i, s in enumerate(scores.schemes) if s.bits == min(t.bits for t in scores.schemes)]
    return _ranked(scores, counts, scores.cost[:, narrow].min(axis=1))


def variance(scores: RowScores, counts: Sequence[int], rng: np.random.Generator) -> Choice:
    """Weight variance alone: the largest gets the most bits, the least gets powers of two."""
    return _ranked(scores, counts, scores.variance)


def random(scores: RowScores, counts: Sequence[int], rng: np.random.Generator) -> Choice:
    """A shuffle."""
    choice = np.repeat(np.arange(len(counts)), counts)
    rng.shuffle(choice)
    return choice


class Rule(StrEnum):
    """The rules by name, as `--assign` takes them."""

    EXACT = "exact"
    CLUSTER = "cluster"
    HESSIAN = "hessian"
    OUTPUT_ERROR = "output-error"
    VARIANCE = "variance"
    RANDOM = "random"

    @property
    def function(self) -> Callable[[RowScores, Sequence[int], np.random.Generator], Choice]:
        return _RULES[self]


_RULES = {
    Rule.EXACT: exact,
    Rule.CLUSTER: cluster,
    Rule.HESSIAN: hessian,
    Rule.OUTPUT_ERROR: output_error,
    Rule.VARIANCE: variance,
    Rule.RANDOM: random,
}


def transport(cost: NDArray[np.floating], counts: Sequence[int]) -> Choice:
    """Least total cost with `counts[s]` rows in column s: a transportation problem, solved by cancelling cycles.

    Moving a row from scheme i to j costs cost[row, j] − cost[row, i]; an assignment is best when no ring of such moves
    lowers the total. There are few schemes, so the cheapest move of each pair is all that is needed to find one.

    >>> transport(np.array([[1.0, 0.0], [9.0, 0.0], [2.0, 0.0]]), [2, 1])
    array([0, 1, 0])
    """
    choice = _greedy(cost, counts)
    schemes = cost.shape[1]
    while True:
        move = np.full((schemes, schemes), np.inf)
        mover = np.zeros((schemes, schemes), np.intp)
        for i in range(schemes):
            members = np.flatnonzero(choice == i)
            if len(members):
                change = cost[members] - cost[members, i, None]
                mover[i] = members[change.argmin(axis=0)]
                move[i] = change.min(axis=0)
        ring = _negative_ring(move)
        if not ring:
            return choice
        for i, j in pairwise([*ring, ring[0]]):
            choice[mover[i, j]] = j


def _greedy(cost: NDArray[np.floating], counts: Sequence[int]) -> Choice:
    """A first assignment: rows with most at stake choose first among the schemes that have room."""
    room = list(counts)
    choice = np.zeros(len(cost), np.intp)
    for row in np.argsort(cost.min(axis=1) - cost.max(axis=1), kind="stable"):
        choice[row] = next(s for s in np.argsort(cost[row], kind="stable") if room[s])
        room[choice[row]] -= 1
    return choice


def _negative_ring(move: NDArray[np.float64]) -> list[int]:
    """Schemes around which moving one row each lowers the total cost; none if there are none (Bellman-Ford)."""
    size = len(move)
    distance, before = np.zeros(size), np.full(size, -1)
    last = -1
    for _ in range(size):
        last = -1
        for i in range(size):
            for j in range(size):
                if i != j and distance[i] + move[i, j] < distance[j]:
                    distance[j], before[j], last = distance[i] + move[i, j], i, j
        if last < 0:
            return []
    for _ in range(size):  # walk back into the ring
        last = int(before[last])
    ring = [last]
    while int(before[ring[-1]]) != last:
        ring.append(int(before[ring[-1]]))
    ring.reverse()
    edges = [move[i, j] for i, j in pairwise([*ring, ring[0]])]
    return ring if sum(edges) < -1e-12 * max(map(abs, edges)) else []


def _ranked(scores: RowScores, counts: Sequence[int], need_of_bits: NDArray[np.float64]) -> Choice:
    """Wider schemes to the rows that need bits most; among the narrowest, powers of two to the least variance."""
    narrow = max(NARROW_BITS, min(s.bits for s in scores.schemes))
    ladder = sorted(range(len(counts)), key=lambda i: -scores.schemes[i].bits)
    choice = np.full(len(need_of_bits), -1)
    for i in ladder:
        free = np.flatnonzero(choice < 0)
        if scores.schemes[i].bits > narrow:
            order = np.argsort(-need_of_bits[free], kind="stable")
        elif scores.schemes[i].kind is Kind.POWER_OF_TWO:
            order = np.argsort(scores.variance[free], kind="stable")
        else:
            order = np.argsort(-scores.variance[free], kind="stable")
        choice[free[order[: counts[i]]]] = i
    return choice


def under_budget(
    costs: Mapping[str, Cost], sizes: Mapping[str, int], schemes: Sequence[Scheme], average_bits: float, by_layer: bool
) -> dict[str, Choice]:
    """Schemes of all rows of all layers with a low total cost within an average of bits per weight.

    `sizes` is the number of weights of one row of each layer; `by_layer` gives all rows of a layer one scheme. Steps
    along each unit's lower convex hull are taken in the order of saving per bit while they fit the budget.
    """
    check_budget(schemes, average_bits)
    units: list[tuple[str, int]] = []  # (layer, row), or (layer, -1) for the whole layer
    steps: list[tuple[float, int, int, int, int]] = []  # (-saving per bit, unit, from scheme, to scheme, bits added)
    current: list[int] = []
    spent = total = 0
    for layer, cost in costs.items():
        table = cost.sum(axis=0, keepdims=True) if by_layer else cost
        weights = sizes[layer] * (len(cost) if by_layer else 1)
        for row, values in enumerate(table):
            hull = _hull(values, schemes)
            unit = len(units)
            units.append((layer, -1 if by_layer else row))
            current.append(hull[0])
            spent += schemes[hull[0]].bits * weights
            total += weights
            for a, b in pairwise(hull):
                added = (schemes[b].bits - schemes[a].bits) * weights
                steps.append((-(values[a] - values[b]) / added, unit, a, b, added))
    for _, unit, origin, scheme, added in sorted(steps):
        if current[unit] == origin and spent + added <= average_bits * total + 1e-9:
            current[unit] = scheme
            spent += added
    choices = {layer: np.zeros(len(cost), np.intp) for layer, cost in costs.items()}
    for (layer, row), scheme in zip(units, current, strict=True):
        choices[layer][slice(None) if row < 0 else row] = scheme
    return choices


def check_budget(schemes: Sequence[Scheme], average_bits: float) -> None:
    """Refuse a budget that no choice of these schemes can meet or use."""
    least, most = min(s.bits for s in schemes), max(s.bits for s in schemes)
    if not least <= average_bits <= most:
        raise UsageError(
            f"budget must be between {least} and {most} average bits for these schemes, not {average_bits:g}"
        )


def _hull(values: NDArray[np.float64], schemes: Sequence[Scheme]) -> list[int]:
    """Schemes on the lower convex hull of cost over bits, by rising bits, from the cheapest in bits on."""
    order = sorted(range(len(schemes)), key=lambda i: (schemes[i].bits, values[i]))
    hull: list[int] = []
    for i in order:
        if hull and (schemes[i].bits == schemes[hull[-1]].bits or values[i] >= values[hull[-1]]):
            continue
        while len(hull) >= 2:
            a, b = hull[-2], hull[-1]
            slope_ab = (values[b] - values[a]) / (schemes[b].bits - schemes[a].bits)
            slope_bi = (values[i] - values[b]) / (schemes[i].bits - schemes[b].bits)
            if slope_ab < slope_bi:
                break
            hull.pop()
        hull.append(i)
    return hull
