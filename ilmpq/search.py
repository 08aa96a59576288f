"""The fastest design of a chip for some networks, by the cycle model and the model of costs: exact, not by chance.

Every design of the space has a lower bound of its frame time. The frame time itself is only computed for those whose
bound is below the best found so far, the most promising first; what is left cannot be faster. With several networks the
geometric mean of their frame times counts, so that none of them weighs more for being larger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import exp, inf, log

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
from .space import RINGS, Rules, Space, space
from .workload import Shapes, rows_in, works_for

LATENCY = 40  # cycles to the first word of a burst
CHUNK = 4096  # designs that are bounded at a time


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
    macs = np.prod([float(sum(n.macs.values())) ** (1 / len(goal.networks)) for n in goal.networks.values()])
    order = np.argsort(-designs.macs_per_cycle, kind="stable")
    best: Found | None = None
    least = inf
    for start in range(0, len(order), CHUNK):
        chosen = order[start : start + CHUNK]
        chosen = chosen[macs / designs.macs_per_cycle[chosen] < least]
        if not len(chosen):
            break
        bounds = bound(goal, designs.take(chosen))
        tally.bounded += len(chosen)
        for place in np.argsort(bounds, kind="stable"):
            if bounds[place] >= least:
                break
            for ring in designs.rings(int(chosen[place])):
                found = measure(goal, designs.config(int(chosen[place]), ring), tally)
                if found is not None and found.cycles < least:
                    best, least = found, found.cycles
                    better(found)
    if best is None:
        what = "; ".join(tally.refusals) or "no design"
        raise DoesNotFit(f"{' and '.join(goal.networks)} must run on some design of {goal.part.name}, but: {what}")
    return best


def bound(goal: Goal, designs: Space) -> NDArray[np.float64]:
    """Cycles that no variant of a design stays under: with its longest ring."""
    fitting = designs.am_depth > 0
    longest = np.array(RINGS)[len(RINGS) - 1 - fitting[:, ::-1].argmax(axis=1)]
    schemes = designs.schemes()
    columns = Designs(
        rows=schemes,
        tk=designs.tk,
        tp=designs.tp,
        act_bits=np.full_like(designs.tk, goal.rules.act_bits),
        weight_ports=np.full_like(designs.tk, designs.weight_ports),
        ring=longest,
        table=designs.table_depth,
        latency=np.full_like(designs.tk, 6),
    )
    total = np.zeros(len(designs))
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
