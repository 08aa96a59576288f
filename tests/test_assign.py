"""Assignment rules: counts are met, costs are least, budgets are kept."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from ilmpq.assign import RowScores, Rule, transport, under_budget
from ilmpq.errors import UsageError
from ilmpq.ratio import Ratio
from ilmpq.schemes import FIX4, FIX7, FIX8, POT4

SCHEMES = (POT4, FIX4, FIX8)


def scores(seed, rows):
    rng = np.random.default_rng(seed)
    size = rng.lognormal(size=(rows, 1))
    cost = size * np.array([1.0, 0.8, 0.01]) * rng.uniform(0.5, 1.5, size=(rows, 3))
    return RowScores(SCHEMES, cost, rng.lognormal(size=rows), rng.lognormal(size=rows))


def total(cost, choice):
    return cost[np.arange(len(cost)), choice].sum()


@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from(list(Rule)))
@settings(max_examples=60, deadline=None)
def test_every_rule_meets_the_counts_exactly(seed, rows, rule):
    counts = [n for _, n in Ratio.parse("60:35:5").counts(rows)]
    choice = rule.function(scores(seed, rows), counts, np.random.default_rng(seed))
    np.testing.assert_array_equal(np.bincount(choice, minlength=3), counts)


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_transport_is_the_least_cost_of_all_assignments(seed, rows):
    cost = scores(seed, rows).cost
    counts = [n for _, n in Ratio.parse("50:30:20").counts(rows)]
    labels = np.repeat(np.arange(3), counts)
    best = min(total(cost, np.array(p)) for p in set(permutations(labels)))
    assert total(cost, transport(cost, counts)) == pytest.approx(best)


@given(st.integers(0, 10**6), st.integers(2, 80), st.integers(0, 12))
@settings(max_examples=40, deadline=None)
def test_transport_stays_exact_beside_rows_of_huge_cost(seed, rows, power):
    cost = scores(seed, rows).cost
    cost[:2] *= 10.0**power
    counts = [n for _, n in Ratio.parse("60:35:5").counts(rows)]
    best = linear_sum_assignment(np.repeat(cost, counts, axis=1))
    choice = transport(cost, counts)
    assert total(cost[2:], choice[2:]) == pytest.approx(
        total(cost[2:], np.repeat(np.arange(3), counts)[best[1]][2:]), rel=1e-9, abs=1e-12 * cost.max()
    )


@given(st.integers(0, 10**6), st.integers(20, 80))
@settings(max_examples=20, deadline=None)
def test_clustering_lies_between_exact_and_random(seed, rows):
    s = scores(seed, rows)
    counts = [n for _, n in Ratio.parse("60:35:5").counts(rows)]
    rng = np.random.default_rng(seed)
    cost = {rule: total(s.cost, rule.function(s, counts, rng)) for rule in (Rule.EXACT, Rule.CLUSTER)}
    shuffled = np.mean([total(s.cost, Rule.RANDOM.function(s, counts, rng)) for _ in range(20)])
    assert cost[Rule.EXACT] <= cost[Rule.CLUSTER] + 1e-9
    assert cost[Rule.CLUSTER] < shuffled


def test_permuting_rows_permutes_the_assignment():
    s = scores(7, 40)
    counts = [24, 14, 2]
    order = np.random.default_rng(0).permutation(40)
    shuffled = RowScores(SCHEMES, s.cost[order], s.variance[order], s.eigenvalue[order])
    for rule in (Rule.EXACT, Rule.CLUSTER, Rule.HESSIAN, Rule.OUTPUT_ERROR, Rule.VARIANCE):
        expected = rule.function(s, counts, np.random.default_rng(1))[order]
        np.testing.assert_array_equal(rule.function(shuffled, counts, np.random.default_rng(1)), expected)


def test_the_papers_rule_gives_bits_to_eigenvalues_and_powers_of_two_to_small_variance():
    s = RowScores(SCHEMES, np.ones((4, 3)), np.array([3.0, 1.0, 2.0, 9.0]), np.array([0.1, 0.2, 5.0, 0.3]))
    np.testing.assert_array_equal(Rule.HESSIAN.function(s, [2, 1, 1], np.random.default_rng(0)), [0, 0, 2, 1])


def test_rows_that_are_all_alike_can_be_clustered():
    s = RowScores(SCHEMES, np.zeros((8, 3)), np.ones(8), np.ones(8))
    choice = Rule.CLUSTER.function(s, [5, 3, 0], np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(choice, minlength=3), [5, 3, 0])


@given(st.integers(0, 10**6), st.floats(4, 8), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_budget_is_kept_with_three_widths(seed, bits, by_layer):
    widths = (FIX4, FIX7, FIX8)
    rng = np.random.default_rng(seed)
    costs = {f"layer{i}": rng.lognormal(sigma=2, size=(5, 3)) for i in range(4)}
    sizes = {k: int(rng.integers(1, 10_000)) for k in costs}
    choices = under_budget(costs, sizes, widths, bits, by_layer)
    spent = sum(sizes[k] * np.array([s.bits for s in widths])[c].sum() for k, c in choices.items())
    assert spent <= bits * 5 * sum(sizes.values()) + 1e-6


@given(st.integers(0, 10**6), st.floats(4, 8), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_budget_is_kept_and_spent(seed, bits, by_layer):
    costs = {f"layer{i}": scores(seed + i, 30).cost for i in range(5)}
    sizes = {f"layer{i}": 9 * (i + 1) for i in range(5)}
    choices = under_budget(costs, sizes, SCHEMES, bits, by_layer)
    spent = sum(sizes[k] * np.array([s.bits for s in SCHEMES])[c].sum() for k, c in choices.items())
    whole = sum(sizes[k] * 30 for k in sizes)
    assert spent <= bits * whole + 1e-6
    assert spent >= bits * whole - 4 * max(sizes.values()) * (30 if by_layer else 1)
    if by_layer:
        assert all(len(set(c)) == 1 for c in choices.values())


def test_more_budget_costs_less_and_rows_beat_layers():
    costs = {f"layer{i}": scores(i, 30).cost for i in range(5)}
    sizes = dict.fromkeys(costs, 9)

    def loss(bits, by_layer):
        return sum(total(costs[k], c) for k, c in under_budget(costs, sizes, SCHEMES, bits, by_layer).items())

    assert loss(4.8, False) < loss(4.3, False) < loss(4.0, False)
    assert loss(4.8, False) < loss(4.8, True)


def test_an_impossible_budget_says_what_is_possible():
    with pytest.raises(UsageError, match="between 4 and 8"):
        under_budget({"a": np.ones((2, 3))}, {"a": 1}, SCHEMES, 3.5, False)
