"""The designs that a chip can hold: rows of every kind of array, lanes, positions, sizes of memories, as columns of numbers.

Every number of lanes that was synthesised, every even number of positions and of rows is there; where kinds are so many
that designs are more than can be tried, one of those with the same rows of each scheme. Other sizes follow by rule: writers of windows and pixels a cycle from the MACs of a cycle, the activation memory from the block RAMs
that the weight ring leaves.

    >>> from .device import PARTS
    >>> found = space(PARTS["xc7z020"], Rules.parse("fix4@dsp, fix8@dsp", act_bits=4))
    >>> place = int(found.macs_per_cycle.argmax())
    >>> config = found.config(place, ring=int(found.am_depth[place].argmax()))
    >>> bool(config.geometry.macs_per_cycle == found.macs_per_cycle.max())
    True
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .design import EngineConfig
from .device import Part
from .errors import UsageError
from .geometry import ACT_BITS, KINDS, Array, Geometry, Resource, kind_name
from .ratio import Ratio
from .resources import Resources, Sizes, around, arrays, block_rams, usable
from .schemes import scheme_named

Column = NDArray[Any]

TKS = (8, 16, 32)
TPS = (4, 6, 8, 10, 12, 14, 16)
MOST_ROWS = 64
RINGS = (512, 1024, 1536, 2048, 3072, 4096, 5120, 6144, 8192)  # steps
TABLES = (512, 512, 512, 1024, 1024, 1024, 1024, 1024, 2048)  # slots, so that a ring's row tiles have theirs
DEPTHS = (512, 1024, 2048, 4096, 5120, 6144, 8192, 12_288, 16_384, 24_576, 32_768)  # words of the activation memory
DEFAULT_SCHEMES = "pot4@lut,fix4@dsp,fix8@dsp"  # the mission's three, each where its lanes are cheapest
MOST_ALIKE = (
    10_000  # designs with some lanes and positions; of more, those with the same rows of each scheme count once
)
LEAST_FIX8 = 5  # percent of the rows where a mix has Fixed8: the share that the published mixes have


@dataclass(frozen=True)
class Kind:
    """A kind of array: a scheme on a resource, and the most products that a DSP takes (0: as many as fit)."""

    scheme: str
    resource: Resource
    products: int = 0

    @staticmethod
    def parse(text: str) -> tuple[Kind, ...]:
        """`fix4@dsp2`, or a scheme alone: every resource it has an array on, packed as well as can be.

        >>> [str(kind) for kind in Kind.parse("fix4")]
        ['fix4@dsp', 'fix4@lut']
        """
        found = re.fullmatch(r"(\w+?)(?:@(lut|dsp)([1-9]?))?", text.strip(), re.ASCII)
        scheme = scheme_named(found[1] if found else text).name
        if found is None or found[2] is None:
            kinds = [kind for kind in KINDS if kind[0] == scheme and kind[2] == 0]
        else:
            kinds = [kind for kind in KINDS if kind == (scheme, Resource(found[2]), int(found[3] or 0))]
        if not kinds:
            raise UsageError(f"schemes must be among {', '.join(kind_name(*k) for k in KINDS)}, not {text.strip()!r}")
        return tuple(Kind(*kind) for kind in kinds)

    def __str__(self) -> str:
        return kind_name(self.scheme, self.resource, self.products)


@dataclass(frozen=True)
class Rules:
    """What arrays a design may have, and the schemes of a network's rows on it."""

    kinds: tuple[Kind, ...]
    act_bits: int
    uniform: str | None = None  # the scheme of all rows; None: as the arrays have them, every scheme at least once
    ends: str | None = None  # another scheme for the first and the last layer
    least_fix8: float = LEAST_FIX8

    @staticmethod
    def parse(text: str, act_bits: int, **other: Any) -> Rules:
        """Rules with kinds like `pot4, fix4@dsp, fix8@dsp`."""
        low, high = ACT_BITS
        if not low <= act_bits <= high:
            raise UsageError(f"activation bits must be from {low} to {high}, not {act_bits}")
        kinds = tuple(dict.fromkeys(kind for part in text.split(",") for kind in Kind.parse(part)))
        return Rules(kinds, act_bits, **other)

    @property
    def schemes(self) -> tuple[str, ...]:
        """The schemes of a network's rows."""
        if self.uniform is None:
            return tuple(dict.fromkeys(kind.scheme for kind in self.kinds))
        return (self.uniform,) if self.ends is None else (self.uniform, self.ends)

    @property
    def acc_bits(self) -> int:
        """Of the accumulators: wide enough for the layers of common networks; lowering proves it for each."""
        return 24 if self.act_bits <= 5 else 32

    def ratio(self, geometry: Geometry) -> Ratio:
        """That of a network's rows; of all layers but its ends, if those have another."""
        if self.uniform is not None:
            return Ratio.of_rows({scheme_named(self.uniform): 1})
        return Ratio.of_rows(geometry.schemes())


@dataclass(frozen=True)
class Space:
    """Designs, one in each place of the columns. A design has variants: rings, each with the memory it leaves room for."""

    rules: Rules
    rows: Mapping[Kind, Column]
    tk: Column
    tp: Column
    weight_ports: int
    patch_writers: Column
    image_pixels: Column
    am_depth: Column  # designs × RINGS; 0 where the block RAMs do not suffice, or a longer ring leaves as much
    cost: Resources  # with the shortest ring

    def __len__(self) -> int:
        return len(self.tk)

    @property
    def all_rows(self) -> Column:
        return np.asarray(sum(self.rows.values()))

    @property
    def macs_per_cycle(self) -> Column:
        return self.all_rows * self.tk * self.tp

    def schemes(self) -> dict[str, Column]:
        """Rows of each scheme."""
        found: dict[str, Column] = {}
        for kind, count in self.rows.items():
            found[kind.scheme] = found.get(kind.scheme, 0) + count
        return found

    def schemes_apart(self) -> Column:
        """Whether every scheme of a design stands on one array."""
        kinds = sum(np.not_equal(n, 0).astype(np.int64) for n in self.rows.values())
        return np.equal(kinds, sum(np.not_equal(n, 0).astype(np.int64) for n in self.schemes().values()))

    def step_words(self) -> Column:
        """64-bit words of a step of the weight image."""
        bits = self.tk * np.asarray(sum(n * scheme_named(s).bits for s, n in self.schemes().items()))
        return np.asarray(-(-bits // 64))

    def variants(self) -> tuple[Column, Column]:
        """Every design with every ring: their places in the columns and in RINGS."""
        design, ring = np.nonzero(self.am_depth)
        return design, ring

    def config(self, index: int, ring: int) -> EngineConfig:
        """A variant of a design."""
        found = [
            Array(kind.scheme, kind.resource, int(n[index]), kind.products) for kind, n in self.rows.items() if n[index]
        ]
        tk, tp, rules = int(self.tk[index]), int(self.tp[index]), self.rules
        return EngineConfig(
            Geometry(tuple(found), tk, tp, rules.act_bits, rules.acc_bits),
            am_depth=int(self.am_depth[index, ring]),
            ring_depth=RINGS[ring],
            table_depth=TABLES[ring],
            weight_ports=self.weight_ports,
            patch_writers=int(self.patch_writers[index]),
            image_pixels=int(self.image_pixels[index]),
        ).verify()

    def take(self, chosen: Column) -> Space:
        """Some of the designs."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        picked: dict[str, Any] = {
            name: values[chosen] for name, values in columns.items() if isinstance(values, np.ndarray)
        }
        cost = Resources(*(np.asarray(getattr(self.cost, f.name))[chosen] for f in fields(Resources)))
        return replace(self, rows={kind: n[chosen] for kind, n in self.rows.items()}, cost=cost, **picked)


def space(part: Part, rules: Rules, tks: Sequence[int] = TKS, tps: Sequence[int] = TPS) -> Space:
    """Every design of a chip under some rules that fits."""
    parts = [found for tk in tks for tp in tps if (found := _with_shape(part, rules, tk, tp)) is not None]
    if not parts:
        raise UsageError(
            f"no design with {', '.join(map(str, rules.kinds))} and {rules.act_bits}-bit activations fits {part.name}: "
            "give other --schemes"
        )
    joined: dict[str, Any] = {
        f.name: np.concatenate([getattr(p, f.name) for p in parts])
        for f in fields(Space)
        if isinstance(getattr(parts[0], f.name), np.ndarray)
    }
    cost = Resources(*(np.concatenate([getattr(p.cost, f.name) for p in parts]) for f in fields(Resources)))
    rows = {kind: np.concatenate([p.rows[kind] for p in parts]) for kind in rules.kinds}
    return replace(parts[0], rows=rows, cost=cost, **joined)


def _with_shape(part: Part, rules: Rules, tk: int, tp: int, every: bool = False) -> Space | None:
    """The designs with so many lanes and positions; `every`: also those that others equal, however many there are."""
    most = usable(part)
    try:
        each = {kind: _row_cost(kind, tk, tp, rules) for kind in rules.kinds}
    except UsageError:  # not synthesised with so many lanes
        return None
    rows = _combinations(each, most)
    total = np.asarray(sum(rows.values()))
    good = total > 0
    for kinds in _needed(rules):
        good &= np.asarray(sum(rows[kind] for kind in kinds)) > 0
    if rules.uniform is None and len(rules.schemes) > 1:
        eights = np.asarray(sum((n for kind, n in rows.items() if kind.scheme == "fix8"), np.zeros_like(total)))
        good &= (100 * eights >= rules.least_fix8 * total) | (not any(kind.scheme == "fix8" for kind in rows))
    rows = {kind: n[good] for kind, n in rows.items()}
    total = total[good]
    macs = total * tk * tp
    found = Space(
        rules=rules,
        rows=rows,
        tk=np.full_like(total, tk),
        tp=np.full_like(total, tp),
        weight_ports=part.weight_ports,
        patch_writers=np.minimum(np.select([macs <= 3072, macs <= 6144], [1, 2], 4), tp),
        image_pixels=np.where(macs <= 4096, 1, 2),
        am_depth=np.zeros((len(total), len(RINGS)), np.int64),
        cost=Resources(0, 0, 0, 0),
    )
    found = _that_fit(found, each, most)
    if len(found) > MOST_ALIKE and not every:
        found = _one_of_alike(found)
    return _with_memories(found, most) if len(found) else None


def _combinations(each: Mapping[Kind, Resources], most: Resources) -> dict[Kind, Column]:
    """All even numbers of rows of every kind, 64 in all at most, whose arrays alone do not take more than there is."""
    found, total = np.zeros((0, 1), np.int64), np.zeros(1, np.int64)
    taken = {name: np.zeros(1) for name in ("lut", "ff", "dsp")}
    for cost in each.values():
        parts = []
        for count in range(0, MOST_ROWS + 1, 2):
            fits = total + count <= MOST_ROWS
            for name, values in taken.items():
                fits &= values + count * getattr(cost, name) <= getattr(most, name)
            parts.append((np.flatnonzero(fits), count))
        chosen = np.concatenate([places for places, _ in parts])
        counts = np.repeat([count for _, count in parts], [len(places) for places, _ in parts])
        found = np.vstack([found[:, chosen], counts])
        total = total[chosen] + counts
        taken = {name: values[chosen] + counts * getattr(cost, name) for name, values in taken.items()}
    return dict(zip(each, found, strict=True))


def _needed(rules: Rules) -> list[list[Kind]]:
    """Of each of these some rows must be there."""
    return [[kind for kind in rules.kinds if kind.scheme == scheme] for scheme in rules.schemes]


def _row_cost(kind: Kind, tk: int, tp: int, rules: Rules) -> Resources:
    """What a row of an array costs."""
    two = arrays(
        Geometry((Array(kind.scheme, kind.resource, 2, kind.products),), tk, tp, rules.act_bits, rules.acc_bits)
    )
    return Resources(two.lut / 2, two.ff / 2, two.dsp / 2, 0)


def _sizes(found: Space) -> Sizes:
    """Of designs with the shortest ring and the smallest activation memory."""
    return Sizes(
        tp=found.tp,
        tk=found.tk,
        rows=found.all_rows,
        acc_bits=found.rules.acc_bits,
        step_bits=found.tk * np.asarray(sum(n * scheme_named(s).bits for s, n in found.schemes().items())),
        am_depth=np.full_like(found.tk, DEPTHS[0]),
        ring_depth=RINGS[0],
        table_depth=TABLES[0],
        weight_ports=found.weight_ports,
        image_pixels=found.image_pixels,
    )


def _that_fit(found: Space, each: Mapping[Kind, Resources], most: Resources) -> Space:
    """Those that fit with the smallest memories, and what they cost."""
    own = {name: sum(n * getattr(each[kind], name) for kind, n in found.rows.items()) for name in ("lut", "ff", "dsp")}
    cost = around(_sizes(found)) + Resources(own["lut"], own["ff"], own["dsp"], 0)
    fits = (cost.lut <= most.lut) & (cost.ff <= most.ff) & (cost.dsp <= most.dsp) & (cost.bram36 <= most.bram36)
    return replace(found, cost=cost).take(np.flatnonzero(fits))


def _one_of_alike(found: Space) -> Space:
    """Of designs with the same rows of each scheme, with DSPs or without, the one with the fewest LUTs."""
    with_dsps = sum(n for kind, n in found.rows.items() if kind.resource is Resource.DSP)
    key = np.asarray(np.not_equal(with_dsps, 0), np.int64)
    for count in found.schemes().values():
        key = (MOST_ROWS + 1) * key + count
    order = np.lexsort((found.cost.lut, key))
    return found.take(np.sort(order[np.flatnonzero(np.diff(key[order], prepend=-1))]))


def _with_memories(found: Space, most: Resources) -> Space:
    """The activation memory that each ring leaves room for."""
    sizes, depths = _sizes(found), np.zeros_like(found.am_depth)
    for place, (ring, table) in enumerate(zip(RINGS, TABLES, strict=True)):
        for depth in DEPTHS:
            memories = replace(sizes, ring_depth=ring, table_depth=table, am_depth=np.full_like(found.tk, depth))
            needs = block_rams(memories)
            depths[needs <= most.bram36, place] = depth
    depths[:, :-1][depths[:, :-1] == depths[:, 1:]] = 0
    return replace(found, am_depth=depths)


def nearest(config: EngineConfig, part: Part) -> EngineConfig | None:
    """The design that fits with the fewest other rows of the same kinds, of several the nearest in proportion.

    Lanes and positions stay where any rows fit; else they are the next fewer positions, then lanes, with which some do.
    None if nothing fits.
    """
    g = config.geometry
    wanted: dict[Kind, int] = {}
    for array in g.arrays:
        kind = Kind(array.scheme, array.resource, array.products)
        wanted[kind] = wanted.get(kind, 0) + array.rows
    rules = Rules(tuple(wanted), g.act_bits, least_fix8=0)
    tks, tps = ([size, *(s for s in reversed(sizes) if s < size)] for size, sizes in ((g.tk, TKS), (g.tp, TPS)))
    shapes = (_with_shape(part, rules, tk, tp, every=True) for tk in tks for tp in tps)
    found = next((designs for designs in shapes if designs is not None), None)
    if found is None:
        return None
    apart = np.asarray(sum(abs(found.rows[kind] - n) for kind, n in wanted.items()))
    skew = np.ptp([found.rows[kind] / n for kind, n in wanted.items()], axis=0)
    place = int(np.lexsort((-found.all_rows, skew, apart))[0])
    rings = np.flatnonzero(found.am_depth[place])
    return found.config(place, int(min(rings, key=lambda ring: abs(RINGS[ring] - config.ring_depth))))
