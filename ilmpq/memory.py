"""Where tensors lie in the activation memory, from the cluster that writes them to the last that reads them.

A residual sum takes the place of its operand where nobody needs that any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from .network import Step, Tensor, Transfer


class Numbering(Protocol):
    """How a tensor's pixels are numbered; equal ones number them alike."""

    @property
    def pitch(self) -> int:
        """Numbers from one row to the next."""

    def per_word(self, banks: int) -> int:
        """Pixels in a memory word."""

    def words(self, banks: int) -> int:
        """Memory words of a group."""


def group_words(tensor: Tensor, numbering: Numbering, banks: int) -> int:
    """Memory words of one group: a logit takes four bytes."""
    return -(-4 * tensor.height * numbering.pitch // banks) if tensor.logits else numbering.words(banks)


@dataclass(frozen=True)
class Span:
    """The clusters, first and last, during which a tensor is alive."""

    first: int
    last: int


@dataclass
class Plan:
    """First memory word of each tensor, and how many it has."""

    bases: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


def spans(touched: Mapping[str, tuple[int, int]], groups: Sequence[range]) -> dict[str, Span]:
    """The clusters during which each tensor is alive. `touched`: the first and the last step that touch it."""
    time = [number for number, members in enumerate(groups) for _ in members]
    return {name: Span(time[first], time[last]) for name, (first, last) in touched.items()}


def replaceable(steps: Sequence[Step], numberings: Mapping[str, Numbering]) -> list[tuple[int, str, str]]:
    """Residual sums that may lie where their operand does, if nothing else needs that: step, target, operand."""
    found = []
    for index, step in enumerate(steps):
        if isinstance(step, Transfer) or step.residual is None:
            continue
        target, operand = step.target.tensor, step.residual.tensor
        if (
            step.residual.stride == (1, 1)
            and target is not operand
            and step.source.tensor is not operand
            and target.groups == operand.groups
            and not target.logits
            and numberings[target.name] == numberings[operand.name]
            and np.array_equal(step.target.places, step.residual.places)
        ):
            found.append((index, target.name, operand.name))
    return found


def in_place(
    candidates: Sequence[tuple[int, str, str]], groups: Sequence[range], alive: Mapping[str, Span]
) -> dict[str, str]:
    """Of the residual sums that may, those that take their operand's place: target → operand, of steps that run alone."""
    alone = {members[0]: time for time, members in enumerate(groups) if len(members) == 1}
    return {
        target: operand
        for index, target, operand in candidates
        if index in alone and alive[target].first == alive[operand].last == alone[index]
    }


def place(
    sizes: Mapping[str, int],
    alive: Mapping[str, Span],
    shared: Mapping[str, str],
    depth: int,
    lasting: Collection[str] = (),
) -> Plan | list[str]:
    """Bases of all tensors, or the names of those that are too many at one time, the largest first.

    In the order in which they are written, but for the `lasting`, which are placed before all others.
    """
    groups: dict[str, list[str]] = {}
    for name in sizes:
        groups.setdefault(_leader(name, shared), []).append(name)
    first = {head: min([alive[n].first for n in names]) for head, names in groups.items()}
    last = {head: max([alive[n].last for n in names]) for head, names in groups.items()}
    plan = Plan()
    for head in sorted(groups, key=lambda h: (h not in lasting, first[h], -sizes[h])):
        rivals = [h for h in plan.bases if h in groups and last[h] >= first[head] and first[h] <= last[head]]
        base = _first_fit(sizes[head], sorted([(plan.bases[h], sizes[h]) for h in rivals]), depth)
        if base is None:
            # Of equal size, in the order of the network.
            number = {h: i for i, h in enumerate(groups)}
            return sorted([head, *sorted(rivals, key=number.__getitem__)], key=lambda h: -sizes[h])
        for name in groups[head]:
            plan.bases[name], plan.sizes[name] = base, sizes[head]
    return plan


def _leader(name: str, shared: Mapping[str, str]) -> str:
    while name in shared:
        name = shared[name]
    return name


def _first_fit(size: int, taken: Sequence[tuple[int, int]], depth: int) -> int | None:
    """The lowest place for so many words between those that are taken, in order."""
    at = 0
    for base, length in taken:
        if base - at >= size:
            return at
        at = max(at, base + length)
    return at if depth - at >= size else None
