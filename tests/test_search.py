"""The search's answer is that of trying everything, on spaces that are small enough to."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from math import exp, log

import numpy as np
import pytest

from ilmpq.canonical import canonical
from ilmpq.device import PARTS
from ilmpq.errors import DoesNotFit, IlmpqError
from ilmpq.search import ALIKE, Goal, Tally, _Plans, bound, columns_of, fastest, measure, rows_of
from ilmpq.space import Rules, space
from ilmpq.workload import shapes_of
from ilmpq.zoo import build

SMALL = PARTS["xc7z020"]
HALF = replace(SMALL, name="half", lut=46_000, dsp=160, bram36=90)  # chips with few designs
THIRD = replace(SMALL, name="third", lut=33_000, dsp=100, bram36=70)
WITH_DSPS = replace(SMALL, name="dsps", dsp=400)


@cache
def shapes(network, size):
    return shapes_of(canonical(build(network, (3, size, size))))


RESNET, SQUEEZENET, LARGER, MOBILENET = (
    ("cifar_resnet8", 32),
    ("squeezenet1_1", 64),
    ("squeezenet1_1", 160),
    ("mobilenet_v2", 32),
)
MIX, MIX3 = "pot4@lut, fix4@dsp, fix8@dsp", "pot3@lut, fix4@dsp, fix8@dsp"
CASES = {
    "mixed": (HALF, Rules.parse(MIX, 4), (16,), (4, 6), [RESNET]),
    "memories too small": (THIRD, Rules.parse(MIX3, 4), (8,), (4,), [LARGER]),
    "grouped": (HALF, Rules.parse("pot4@lut, fix8@dsp", 5), (16,), (4,), [MOBILENET]),
    "uniform": (HALF, Rules.parse("fix4@dsp, fix4@lut", 4, uniform="fix4"), (8, 16), (4,), [RESNET]),
    "other ends": (
        WITH_DSPS,
        Rules.parse("fix4@dsp1, fix8@dsp1", 4, uniform="fix4", ends="fix8"),
        (8,),
        (4, 6),
        [RESNET],
    ),
    "wide activations": (HALF, Rules.parse(MIX, 8), (8,), (4, 6), [RESNET]),
    "batches": (THIRD, Rules.parse(MIX3, 4), (8,), (4,), [RESNET]),
    "two networks": (HALF, Rules.parse(MIX3, 4), (16,), (4, 6), [RESNET, SQUEEZENET]),
}


def goal_of(case):
    part, rules, tks, tps, networks = CASES[case]
    images = 3 if case == "batches" else 1
    return Goal({name: shapes(name, size) for name, size in networks}, part, rules, images), space(
        part, rules, tks, tps
    )


def everything(goal, designs):
    """Every variant that runs the networks."""
    found = []
    for place, ring in zip(*designs.variants(), strict=True):
        try:
            found.append(measure(goal, designs.config(int(place), int(ring))))
        except IlmpqError:
            continue
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_fastest_is_the_best_of_all(case):
    goal, designs = goal_of(case)
    tally = Tally()
    found = fastest(goal, designs, tally)
    every = everything(goal, designs)
    assert len(every) > 20
    best = min(e.order for e in every)
    assert found.order == best
    assert found.config in [e.config for e in every if e.order == best]
    assert found.cycles <= exp(ALIKE) * min(e.cycles for e in every)
    assert tally.computed < len(every)


@pytest.mark.parametrize("case", CASES)
def test_no_variant_is_faster_than_its_bounds(case):
    """Neither the bound of all designs, nor the nearer one of designs that share a plan."""
    goal, designs = goal_of(case)
    place, ring = designs.variants()
    chosen = np.random.default_rng(0).permutation(len(place))[:40]
    plans = _Plans(goal, designs, Tally())
    for one in chosen:
        config = designs.config(int(place[one]), int(ring[one]))
        try:
            cycles = measure(goal, config).cycles
        except IlmpqError:
            continue
        own = place[one : one + 1], ring[one : one + 1]
        coarse, near = bound(goal, designs, *own)[0], plans.bound(config, columns_of(goal, designs, *own))[0]
        assert coarse <= cycles
        assert 0.8 * cycles < near <= cycles


def test_every_design_that_was_the_best_is_told_and_each_is_better():
    goal, designs = goal_of("mixed")
    told = []
    found = fastest(goal, designs, better=told.append)
    assert told[-1] is found
    assert all(b.order < a.order for a, b in pairwise(told))


def test_of_designs_alike_the_smaller_one_wins():
    """A design that is faster by less than a thousandth and larger does not come first."""
    goal, designs = goal_of("mixed")
    found = fastest(goal, designs)
    alike = [e for e in everything(goal, designs) if e.order[0] == found.order[0]]
    assert found.cost.lut == min(e.cost.lut for e in alike)


def test_several_networks_count_by_their_geometric_mean():
    goal, designs = goal_of("two networks")
    found = fastest(goal, designs)
    cycles = [f.cycles for f in found.frames.values()]
    assert list(found.frames) == ["cifar_resnet8", "squeezenet1_1"]
    assert found.cycles == pytest.approx(exp(sum(map(log, cycles)) / 2))
    for name, each in goal.networks.items():
        alone = fastest(replace(goal, networks={name: each}), designs)
        assert alone.order[0] <= log(found.frames[name].cycles) / ALIKE


def test_rows_follow_the_rules():
    goal, designs = goal_of("other ends")
    config = designs.config(*(int(x[0]) for x in designs.variants()))
    rows = rows_of(goal.rules, goal.networks["cifar_resnet8"], config)
    assert {s for name in ("conv1", "linear") for s in rows[name]} == {"fix8"}
    assert {s for name, each in rows.items() if name not in ("conv1", "linear") for s in each} == {"fix4"}
    mixed, others = goal_of("mixed")
    config = others.config(*(int(x[-1]) for x in others.variants()))
    share = {s.name: n / config.geometry.rows for s, n in config.geometry.schemes().items()}
    for name, each in rows_of(mixed.rules, mixed.networks["cifar_resnet8"], config).items():
        total = mixed.networks["cifar_resnet8"].rows[name]
        assert sum(each.values()) == total
        assert all(abs(n - share[s] * total) < 1 for s, n in each.items())


def test_no_memory_is_tried_that_is_smaller_than_one_that_was_too_small():
    goal, designs = goal_of("memories too small")
    tally = Tally()
    fastest(goal, designs, tally)
    tried = {key[2] for lanes in goal.networks["squeezenet1_1"]._lanes.values() for key in lanes._operations}
    assert len(tally.refusals) <= len(tried)
    assert len(tried) < len(set(designs.am_depth.ravel().tolist()))


def test_what_no_design_runs_is_told_with_the_reason():
    goal, _ = goal_of("memories too small")
    goal = replace(goal, networks={"net": shapes("squeezenet1_1", 224)}, part=replace(THIRD, bram36=50))
    with pytest.raises(
        DoesNotFit, match="net must run on some design of third, but none .* words of the activation memory"
    ):
        fastest(goal, space(goal.part, goal.rules, (8,), (4,)))


def test_the_search_answers_in_seconds():
    tally = Tally()
    found = fastest(
        Goal({"resnet18": shapes("resnet18", 224)}, SMALL, Rules.parse("pot4@lut, fix4@dsp, fix8@dsp", 4)), tally=tally
    )
    assert tally.designs > 500
    assert tally.computed < 50
    assert found.config.geometry.macs_per_cycle >= 1700
