"""Which tensors stay in the activation memory, from the layer that writes them to the last that reads them.

A residual sum takes the place of its operand where nobody needs that any more. What does not fit is spilled to scratch,
the largest first, and is worked on in bands of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .layout import Layout
from .network import Layer, Tensor


@dataclass(frozen=True)
class Span:
    """The layers, first and last, during which a tensor is alive."""

    first: int
    last: int

    def meets(self, other: Span) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass
class Plan:
    """First memory word of each tensor that stays; the others are spilled."""

    bases: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)

    def gap(self, layer: int, depth: int) -> tuple[int, int]:
        """The largest free range of words while a layer runs."""
        taken = sorted(
            (base, base + self.sizes[name])
            for name, base in self.bases.items()
            if self.spans[name].first <= layer <= self.spans[name].last
        )
        best, at = (0, 0), 0
        for start, end in [*taken, (depth, depth)]:
            if start - at > best[1] - best[0]:
                best = (at, start)
            at = max(at, end)
        return best


def spans(layers: Sequence[Layer]) -> dict[str, Span]:
    """When each tensor is alive; the input from before the first layer, the output to after the last."""
    found: dict[str, list[int]] = {}
    for index, layer in enumerate(layers):
        touched = [layer.target.tensor, layer.source.tensor] + ([layer.residual.tensor] if layer.residual else [])
        for tensor in touched:
            found.setdefault(tensor.name, []).append(index)
    return {name: Span(min(at), max(at)) for name, at in found.items()}


def in_place(layers: Sequence[Layer], alive: Mapping[str, Span], layouts: Mapping[str, Layout]) -> dict[str, str]:
    """Residual sums that may take their operand's place: target → operand."""
    found: dict[str, str] = {}
    for index, layer in enumerate(layers):
        if layer.residual is None:
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
    tensors: Mapping[str, Tensor],
    sizes: Mapping[str, int],
    alive: Mapping[str, Span],
    shared: Mapping[str, str],
    spilled: set[str],
    depth: int,
) -> Plan | str:
    """Bases of all tensors that are not spilled, or the name of one that should be spilled too."""
    leader = {name: _leader(name, shared, spilled) for name in tensors}
    groups: dict[str, list[str]] = {}
    for name in tensors:
        if name not in spilled:
            groups.setdefault(leader[name], []).append(name)
    ranges = {
        head: Span(min(alive[n].first for n in names), max(alive[n].last for n in names))
        for head, names in groups.items()
    }
    plan = Plan(spans={n: ranges[head] for head, names in groups.items() for n in names})
    for head in sorted(groups, key=lambda h: (ranges[h].first, -sizes[h])):
        rivals = [h for h in groups if h in plan.bases and ranges[h].meets(ranges[head])]
        base = _first_fit(sizes[head], [(plan.bases[h], sizes[h]) for h in rivals], depth)
        if base is None:
            return max([head, *rivals], key=lambda h: sizes[h])
        for name in groups[head]:
            plan.bases[name], plan.sizes[name] = base, sizes[head]
    return plan


def _leader(name: str, shared: Mapping[str, str], spilled: set[str]) -> str:
    while name in shared and shared[name] not in spilled and name not in spilled:
        name = shared[name]
    return name


def _first_fit(size: int, taken: Sequence[tuple[int, int]], depth: int) -> int | None:
    at = 0
    for base, length in sorted(taken):
        if base - at >= size:
            return at
        at = max(at, base + length)
    return at if depth - at >= size else None
