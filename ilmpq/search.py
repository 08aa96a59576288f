"""The fastest design of a chip for some networks, by the cycle model and the model of costs: exact, not by chance.

Every design of the space has a lower bound of its frame time. The frame time itself is only computed for those whose
bound is below the best found so far, the most promising first; what is left cannot be faster. With several networks the
geometric mean of their frame times counts, so that none of them weighs more for being larger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from math import exp, floor, inf, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bound import Designs, LayerRows, lower_bound, lower_bound_of_plan, rows_in_proportion
from .design import EngineConfig
from .device import Part
from .errors import DoesNotFit, IlmpqError, MemoryTooSmall, ModelError
from .perf import Cycles, Frame, frame
from .planning import MEMORY_MEND
from .ratio import Ratio
from .resources import Resources, resources
from .schemes import scheme_named
from .space import RINGS, TABLES, Rules, Space, space
from .work import Memory, machine_of
from .workload import Shapes, operations_for, rows_in, unrolls, works_for

LATENCY = 40  # cycles to the first word of a burst
CHUNK = 4096  # designs that are bounded at a time
ALIKE = 0.001  # share by which frame times may differ and count as equal
LEAST_LATENCY = 6  # cycles of arrays in LUTs; those on DSPs take more
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Goal:
    """Networks by name, the chip they run on, and what its arrays may be."""

    networks: Mapping[str, Shapes]
    part: Part
    rules: Rules
    images: int = 1  # of a program: late layers fetch their weights once for several

    @property
    def memory(self) -> Memory:
        return Memory(self.part.memory_bytes_per_cycle, LATENCY)


@dataclass(frozen=True)
class Found:
    """A design, and every network's program of so many images on it."""

    config: EngineConfig
    frames: Mapping[str, Frame]
    cost: Resources
    images: int = 1

    @property
    def cycles(self) -> float:
        """Of an image; the geometric mean of all networks'."""
        return exp(sum(log(f.cycles / self.images) for f in self.frames.values()) / len(self.frames))

    @property
    def order(self) -> tuple[int, float, float]:
        """The better of two designs comes first: fewer cycles, or within a thousandth as many and fewer LUTs."""
        return floor(log(self.cycles) / ALIKE), float(self.cost.lut), self.cycles


@dataclass
class Tally:
    """How much work a search was."""

    designs: int = 0
    bounded: int = 0
    computed: int = 0
    refusals: dict[int, str] = field(
        default_factory=dict
    )  # the last one, for each size of the activation memory in bytes


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
    plans = _Plans(goal, designs, tally)
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
        queue = _Queue(goal, some, plans)
        while (config := queue.pop(least)) is not None:
            try:
                found = measure(goal, config, least)
            except (DoesNotFit, ModelError) as refusal:
                plans.refused(config, refusal)
                continue
            tally.computed += 1
            if best is None or found.order < best.order:
                best, least = found, exp((found.order[0] + 1) * ALIKE)
                better(found)
    if best is None:
        raise DoesNotFit(_why_none(goal, tally))
    return best


def _why_none(goal: Goal, tally: Tally) -> str:
    """What the design with the largest activation memory lacks."""
    told = (
        f"{' and '.join(goal.networks)} must run on some design of {goal.part.name}, but none of {tally.designs:,} does"
    )
    if not tally.refusals:
        return told
    size = max(tally.refusals)
    why = tally.refusals[size].removesuffix(f": {MEMORY_MEND}")
    return f"{told}. With the largest activation memory, {size:,} bytes: {why}. Give a smaller --input-shape or another --device"


def _longest(designs: Space) -> tuple[Places, Places]:
    """Every design with its longest ring."""
    fits = designs.am_depth > 0
    return np.arange(len(designs)), fits.shape[1] - 1 - fits[:, ::-1].argmax(axis=1)


def columns_of(goal: Goal, designs: Space, place: Places, ring: Places) -> Designs:
    """Variants of designs: of the design in this place, with this of the RINGS."""
    return Designs(
        rows={name: n[place] for name, n in designs.schemes().items()},
        tk=designs.tk[place],
        tp=designs.tp[place],
        act_bits=np.full_like(place, goal.rules.act_bits),
        weight_ports=np.full_like(place, designs.weight_ports),
        ring=np.array(RINGS)[ring],
        table=np.array(TABLES)[ring],
        latency=np.full_like(place, LEAST_LATENCY),
        apart=designs.schemes_apart()[place],
    )


def bound(goal: Goal, designs: Space, place: Places, ring: Places) -> Cycles:
    """Cycles that a variant of a design does not stay under."""
    columns, total = columns_of(goal, designs, place, ring), np.zeros(len(place))
    for shapes in goal.networks.values():
        rows = _rows_of_many(goal.rules, shapes, columns.rows)
        total += np.log(lower_bound(shapes, columns, rows, goal.memory, goal.images) / goal.images)
    return np.asarray(np.exp(total / len(goal.networks)))


class _Queue:
    """Variants of designs, the most promising first. Bounds get nearer when the plan that variants share is known.

    Plans take long, so that of the activation memories that designs have with some lanes and positions the largest is
    tried first, and none that is smaller than one that did not do.
    """

    def __init__(self, goal: Goal, designs: Space, plans: _Plans) -> None:
        self._goal, self._designs, self._plans = goal, designs, plans
        self._place, self._ring = designs.variants()
        self._bounds = bound(goal, designs, self._place, self._ring)
        self._planned = np.zeros(len(self._place), bool)
        order = np.argsort(self._bounds, kind="stable")
        self._heap = list(zip(self._bounds[order].tolist(), order.tolist(), strict=True))

    def pop(self, least: float) -> EngineConfig | None:
        """The next that may stay under so many cycles."""
        while self._heap and self._heap[0][0] < least:
            known, index = heappop(self._heap)
            config = self._designs.config(int(self._place[index]), int(self._ring[index]))
            if not self._plans.may_do(config):
                continue
            if not self._planned[index]:
                self._plan(config)
            if self._bounds[index] <= known:
                return config
            heappush(self._heap, (float(self._bounds[index]), index))
        return None

    def _plan(self, config: EngineConfig) -> None:
        """The nearer bounds of all variants that share a plan with this one."""
        designs, place, ring = self._designs, self._place, self._ring
        alike = (designs.tk[place] == config.geometry.tk) & (designs.tp[place] == config.geometry.tp)
        alike &= designs.am_depth[place, ring] == config.am_depth
        if self._goal.images > 1:  # which layers share their weights depends on the ring
            alike &= np.array(RINGS)[ring] == config.ring_depth
        nearer = self._plans.bound(config, columns_of(self._goal, designs, place[alike], ring[alike]))
        self._bounds[alike] = np.maximum(self._bounds[alike], nearer)
        self._planned |= alike


class _Plans:
    """What is known of plans: which activation memories were too small, and bounds with the plans of others."""

    def __init__(self, goal: Goal, designs: Space, tally: Tally) -> None:
        self._goal, self._designs, self._tally = goal, designs, tally
        self._untried: dict[tuple[Any, ...], list[int]] = {}  # activation memories, for designs whose plans are alike
        self._too_small: dict[tuple[Any, ...], int] = {}

    def may_do(self, config: EngineConfig) -> bool:
        """Whether the activation memory of a design is worth a try."""
        kind = self._kind(config)
        if kind not in self._untried:
            alike = (self._designs.tk == config.geometry.tk) & (self._designs.tp == config.geometry.tp)
            self._untried[kind] = sorted(set(self._designs.am_depth[alike].ravel().tolist()) - {0})
        while kind not in self._too_small and config.am_depth <= max(self._untried[kind], default=0):
            self._try(replace(config, am_depth=self._untried[kind].pop()))
        return config.am_depth > self._too_small.get(kind, 0)

    def _kind(self, config: EngineConfig) -> tuple[Any, ...]:
        """What a plan depends on beside the activation memory: with several images the ring says what they share."""
        columns = Designs.of([config])
        unrolled = []
        for shapes in self._goal.networks.values():
            rows = _rows_of_many(self._goal.rules, shapes, columns.rows)
            unrolled.append(bool(unrolls(shapes, config, columns.rows, rows, columns.ring, columns.table)[0]))
        ring = config.ring_depth if self._goal.images > 1 else 0
        return config.geometry.tk, config.geometry.tp, ring, *unrolled

    def _try(self, config: EngineConfig) -> None:
        for shapes in self._goal.networks.values():
            try:
                works_for(shapes, config, rows_of(self._goal.rules, shapes, config), self._goal.images)
            except (DoesNotFit, ModelError) as refusal:
                self.refused(config, refusal)

    def refused(self, config: EngineConfig, refusal: IlmpqError) -> None:
        """A network cannot run on a design."""
        if isinstance(refusal, MemoryTooSmall):
            self._too_small[self._kind(config)] = config.am_depth
        self._tally.refusals[config.am_depth * config.word_bytes] = str(refusal)

    def bound(self, config: EngineConfig, designs: Designs) -> Cycles:
        """Cycles of an image that designs with the plans of this one do not stay under; 0 where it has none."""
        total = np.zeros(len(designs.tk))
        for shapes in self._goal.networks.values():
            rows = _rows_of_many(self._goal.rules, shapes, designs.rows)
            outer = unrolls(shapes, config, designs.rows, rows, designs.ring, designs.table)
            for whether in set(outer.tolist()):
                try:
                    plan = operations_for(shapes, config, whether, self._goal.images)
                except (DoesNotFit, ModelError):
                    return np.zeros(len(designs.tk))  # which is told where a design is refused
                least = lower_bound_of_plan(shapes, designs, rows, self._goal.memory, plan) / self._goal.images
                total[outer == whether] += np.log(least[outer == whether])
        return np.asarray(np.exp(total / len(self._goal.networks)))


def measure(goal: Goal, config: EngineConfig, least: float = inf) -> Found:
    """Every network's frame on a design; `DoesNotFit` or `ModelError` where one cannot run.

    Cycles that are not fewer than the `least` may be more than is said.
    """
    enough = least * goal.images if len(goal.networks) == 1 else inf
    frames = {}
    for name, shapes in goal.networks.items():
        works = works_for(shapes, config, rows_of(goal.rules, shapes, config), goal.images)
        frames[name] = frame(works, machine_of(config), goal.memory, enough)
    return Found(config, frames, resources(config), goal.images)


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
