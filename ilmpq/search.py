"""The fastest design of a chip for some networks, by the cycle model and the model of costs: exact, not by chance.

Every design of the space has a lower bound of its frame time. The frame time itself is only computed for those whose
bound is below the best found so far, the most promising first; what is left cannot be faster. With several networks the
geometric mean of their frame times counts, so that none of them weighs more for being larger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import exp, floor, inf, log

import numpy as np
from numpy.typing import NDArray

from .bound import Designs, LayerRows, lower_bound, rows_in_proportion
from .design import EngineConfig
from .device import Part
from .errors import DoesNotFit, ModelError
from .perf import Frame, Memory, frame, machine_of
from .ratio import Ratio
from .resources import Resources, resources
from .schemes import scheme_named
from .space import RINGS, TABLES, Rules, Space, space
from .workload import Shapes, rows_in, works_for

LATENCY = 40  # cycles to the first word of a burst
CHUNK = 4096  # designs that are bounded at a time
ALIKE = 0.001  # share by which frame times may differ and count as equal
LEAST_LATENCY = 6  # cycles of arrays in LUTs; those on DSPs take more


@dataclass(frozen=True)
class Goal:
    """Networks by name, the chip they run on, and what its arrays may be."""

    networks: Mapping[str, Shapes]
    part: Part
    rules: Rules

    @property
    def memory(self) -> Memory:
        return Memory(self.part.memory_bytes_per_cycle, LATENCY)


@dataclass(frozen=True)
class Found:
    """A design, and every network's frame on it."""

    config: EngineConfig
    frames: Mapping[str, Frame]
    cost: Resources

    @property
    def cycles(self) -> float:
        """The geometric mean."""
        return exp(sum(log(f.cycles) for f in self.frames.values()) / len(self.frames))

    @property
    def order(self) -> tuple[int, float]:
        """The better of two designs comes first: fewer cycles, or within a thousandth as many and fewer LUTs."""
        return floor(log(self.cycles) / ALIKE), float(self.cost.lut)


@dataclass
class Tally:
    """How much work a search was."""

    designs: int = 0
    bounded: int = 0
    computed: int = 0
    refusals: dict[str, int] = field(default_factory=dict)


def fastest(
    goal: Goal,
    designs: Space | None = None,
    tally: Tally | None = None,
    better: Callable[[Found], None] = lambda found: None,
) -> Found:
    """The design with the shortest frame time; `better` is told of every one that was the best so far.

    `DoesNotFit` where no design of the space runs the networks.
    """
    designs = space(goal.part, goal.rules) if designs is None else designs
    tally = tally or Tally()
    tally.designs = len(designs)
    ideal = np.exp(np.mean([log(sum(n.macs.values())) for n in goal.networks.values()])) / designs.macs_per_cycle
    order = np.argsort(ideal, kind="stable")
    best: Found | None = None
    least = inf
    for start in range(0, len(order), CHUNK):
        chosen = order[start : start + CHUNK]
        chosen = chosen[ideal[chosen] < least]
        if not len(chosen):
            break
        some = designs.take(chosen)
        some = some.take(np.flatnonzero(bound(goal, some, *_longest(some)) < least))
        tally.bounded += len(chosen)
        if not len(some):
            continue
        place, ring = some.variants()
        bounds = bound(goal, some, place, ring)
        for index in np.argsort(bounds, kind="stable"):
            if bounds[index] >= least:
                break
            found = measure(goal, some.config(int(place[index]), int(ring[index])), tally)
            if found is not None and (best is None or found.order < best.order):
                best, least = found, exp((found.order[0] + 1) * ALIKE)
                better(found)
    if best is None:
        what = "; ".join(tally.refusals) or "no design"
        raise DoesNotFit(f"{' and '.join(goal.networks)} must run on some design of {goal.part.name}, but: {what}")
    return best


def _longest(designs: Space) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every design with its longest ring."""
    fits = designs.am_depth > 0
    return np.arange(len(designs)), fits.shape[1] - 1 - fits[:, ::-1].argmax(axis=1)


def bound(goal: Goal, designs: Space, place: NDArray[np.int64], ring: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cycles that a variant of a design does not stay under: of the design in this place, with this of the RINGS."""
    schemes = {name: n[place] for name, n in designs.schemes().items()}
    columns = Designs(
        rows=schemes,
        tk=designs.tk[place],
        tp=designs.tp[place],
        act_bits=np.full_like(place, goal.rules.act_bits),
        weight_ports=np.full_like(place, designs.weight_ports),
        ring=np.array(RINGS)[ring],
        table=np.array(TABLES)[ring],
        latency=np.full_like(place, LEAST_LATENCY),
    )
    total = np.zeros(len(place))
    for shapes in goal.networks.values():
        rows = _rows_of_many(goal.rules, shapes, schemes)
        total += np.log(lower_bound(shapes, columns, rows, goal.memory))
    return np.asarray(np.exp(total / len(goal.networks)))


def measure(goal: Goal, config: EngineConfig, tally: Tally | None = None) -> Found | None:
    """Every network's frame on a design; None where one cannot run."""
    frames = {}
    for name, shapes in goal.networks.items():
        try:
            works = works_for(shapes, config, rows_of(goal.rules, shapes, config))
        except (DoesNotFit, ModelError) as error:
            if tally is not None:
                tally.refusals[str(error)] = tally.refusals.get(str(error), 0) + 1
            return None
        frames[name] = frame(works, machine_of(config), goal.memory)
    if tally is not None:
        tally.computed += 1
    return Found(config, frames, resources(config))


def rows_of(rules: Rules, shapes: Shapes, config: EngineConfig) -> dict[str, dict[str, int]]:
    """The rows of each scheme in every layer on a design."""
    others = {name: _uniform(rules.ends) for name in _ends(shapes)} if rules.ends else {}
    return rows_in(shapes, rules.ratio(config.geometry), others)


def _uniform(scheme: str) -> Ratio:
    return Ratio.of_rows({scheme_named(scheme): 1})


def _ends(shapes: Shapes) -> tuple[str, str]:
    names = list(shapes.rows)
    return names[0], names[-1]


def _rows_of_many(rules: Rules, shapes: Shapes, schemes: Mapping[str, NDArray[np.int64]]) -> dict[str, LayerRows]:
    """`rows_of` for every design."""
    if rules.uniform is None:
        return rows_in_proportion(shapes, schemes)
    by_count: dict[tuple[str, int], LayerRows] = {}
    designs = len(next(iter(schemes.values())))
    found = {}
    for name, rows in shapes.rows.items():
        scheme = rules.ends if rules.ends and name in _ends(shapes) else rules.uniform
        found[name] = by_count.setdefault((scheme, rows), {scheme: np.full(designs, rows)})
    return found
