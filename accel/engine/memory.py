"""Where tensors lie in the activation memory, from the cluster that writes them to the last that reads them.

A residual sum takes the place of its operand where nobody needs that any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .layout import Layout
from .network import Step, Transfer
from .schedule import views


@dataclass(frozen=True)
class Span:
    """The layers, first and last, during which a tensor is alive."""

    first: int
    last: int

    def meets(self, other: Span) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass
class Plan:
    """First memory word of each tensor, and how many it has."""

    bases: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


def spans(layers: Sequence[Step], groups: Sequence[range]) -> dict[str, Span]:
    """The clusters during which each tensor is alive."""
    found: dict[str, list[int]] = {}
    for time, members in enumerate(groups):
        for index in members:
            for view in views(layers[index]):
                found.setdefault(view.tensor.name, []).append(time)
    return {name: Span(min(at), max(at)) for name, at in found.items()}


def in_place(
    layers: Sequence[Step], groups: Sequence[range], alive: Mapping[str, Span], layouts: Mapping[str, Layout]
) -> dict[str, str]:
    """Residual sums, of layers that run alone, that may take their operand's place: target → operand."""
    found: dict[str, str] = {}
    for index, members in enumerate(groups):
        layer = layers[members[0]]
        if isinstance(layer, Transfer) or layer.residual is None or len(members) > 1:
            continue
        target, operand = layer.target, layer.residual
        same = (
            operand.stride == (1, 1)
            and target.tensor is not operand.tensor
            and target.tensor.groups == operand.tensor.groups
            and not target.tensor.logits
            and layouts[target.tensor.name] == layouts[operand.tensor.name]
            and list(target.places) == list(operand.places)
        )
        own, theirs = alive[target.tensor.name], alive[operand.tensor.name]
        if same and own.first == theirs.last == index and layer.source.tensor is not operand.tensor:
            found[target.tensor.name] = operand.tensor.name
    return found


def place(
    sizes: Mapping[str, int], alive: Mapping[str, Span], shared: Mapping[str, str], depth: int
) -> Plan | list[str]:
    """Bases of all tensors, or the names of those that are too many at one time, the largest first."""
    groups: dict[str, list[str]] = {}
    for name in sizes:
        groups.setdefault(_leader(name, shared), []).append(name)
    ranges = {
        head: Span(min(alive[n].first for n in names), max(alive[n].last for n in names))
        for head, names in groups.items()
    }
    plan = Plan()
    for head in sorted(groups, key=lambda h: (ranges[h].first, -sizes[h])):
        rivals = [h for h in groups if h in plan.bases and ranges[h].meets(ranges[head])]
        base = _first_fit(sizes[head], [(plan.bases[h], sizes[h]) for h in rivals], depth)
        if base is None:
            return sorted([head, *rivals], key=lambda h: -sizes[h])
        for name in groups[head]:
            plan.bases[name], plan.sizes[name] = base, sizes[head]
    return plan


def _leader(name: str, shared: Mapping[str, str]) -> str:
    while name in shared:
        name = shared[name]
    return name


def _first_fit(size: int, taken: Sequence[tuple[int, int]], depth: int) -> int | None:
    at = 0
    for base, length in sorted(taken):
        if base - at >= size:
            return at
        at = max(at, base + length)
    return at if depth - at >= size else None
