"""Rounding with error feedback: properties of the algorithm, whatever the grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilmpq.feedback import factorize, polish, round_segments, round_with_feedback
from ilmpq.schemes import FIX4, FIX8, POT3, POT4

MIXED = [(POT4, slice(0, 3)), (FIX4, slice(3, 5)), (FIX8, slice(5, 6)), (POT3, slice(6, 8))]
ROWS = 8


def problem(seed, size, groups=1, samples=200):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(groups, size, size))
    u = mixing @ rng.normal(size=(groups, size, samples))
    hessian = (u @ u.transpose(0, 2, 1) / samples).astype(np.float32)
    target = rng.normal(size=(groups, size, ROWS)).astype(np.float32)
    scale = np.empty((groups, ROWS), np.float32)
    for scheme, rows in MIXED:
        scale[:, rows] = np.abs(target[..., rows]).max(axis=1) / scheme.top
    return hessian, target, scale


def ridge_for(hessian):
    ridge = 0.01 * np.einsum("gkk->g", hessian) / hessian.shape[1]
    return np.where(ridge > 0, ridge, 1).astype(np.float32)


def rounded(target, scale, segments, factor):
    codes, reported = round_with_feedback(factor.sorted(target), scale, segments, factor)
    return factor.unsorted(codes), reported


def cost(codes, scale, target, hessian):
    d = (codes * scale[:, None] - target).astype(np.float64)
    return np.einsum("gkr,gkr->gr", d, hessian @ d)


@given(st.integers(0, 1000), st.integers(1, 230), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_feedback_uses_the_rows_codes_and_reports_their_cost(seed, size, groups):
    hessian, target, scale = problem(seed, size, groups)
    factor = factorize(hessian, ridge_for(hessian))
    codes, reported = rounded(target, scale, MIXED, factor)
    for scheme, rows in MIXED:
        assert scheme.holds(codes[..., rows].astype(np.int8)).all()
    damped = hessian + ridge_for(hessian)[:, None, None] * np.eye(size)
    np.testing.assert_allclose(reported, cost(codes, scale, target, damped), rtol=2e-3, atol=1e-3)  # float32 sums


def test_feedback_beats_nearest_levels_on_correlated_inputs():
    hessian, target, scale = problem(1, 120)
    codes, _ = rounded(target, scale, MIXED, factorize(hessian, ridge_for(hessian)))
    plain = round_segments(target / scale[:, None], MIXED)
    assert cost(codes, scale, target, hessian).sum() < 0.7 * cost(plain, scale, target, hessian).sum()


def test_rows_do_not_interact():
    hessian, target, scale = problem(2, 100)
    factor = factorize(hessian, ridge_for(hessian))
    together, _ = rounded(target, scale, MIXED, factor)
    for scheme, rows in MIXED:
        alone, _ = rounded(target[..., rows], scale[:, rows], [(scheme, slice(None))], factor)
        np.testing.assert_array_equal(alone, together[..., rows])


def test_with_independent_inputs_feedback_is_the_nearest_level():
    _, target, scale = problem(3, 50)
    hessian = np.eye(50, dtype=np.float32)[None]
    codes, _ = rounded(target, scale, MIXED, factorize(hessian, ridge_for(hessian)))
    np.testing.assert_array_equal(codes, round_segments(target * (1 / scale)[:, None], MIXED))


@given(st.integers(0, 1000), st.integers(1, 230), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_polish_never_raises_the_cost_and_stays_on_the_grids(seed, size, sweeps):
    hessian, target, scale = problem(seed, size)
    start = round_segments(target / scale[:, None], MIXED)
    codes, new_scale = polish(start, target, scale, MIXED, hessian, sweeps)
    for scheme, rows in MIXED:
        assert scheme.holds(codes[..., rows].astype(np.int8)).all()
    assert (new_scale > 0).all()
    before, after = cost(start, scale, target, hessian), cost(codes, new_scale, target, hessian)
    assert (after <= before * (1 + 1e-3) + 1e-4).all()  # float32 gradients
    codes, same_scale = polish(start, target, scale, MIXED, hessian, sweeps, fit=False)
    np.testing.assert_array_equal(same_scale, scale)
    assert (cost(codes, scale, target, hessian) <= before * (1 + 1e-3) + 1e-4).all()


def test_an_input_that_never_varies_is_survived():
    hessian, target, scale = problem(4, 30)
    hessian[:, 7] = hessian[:, :, 7] = 0
    for matrix in (hessian, np.zeros_like(hessian)):
        codes, _ = rounded(target, scale, MIXED, factorize(matrix, ridge_for(matrix)))
        polished, new_scale = polish(codes, target, scale, MIXED, matrix, 2)
        assert np.isfinite(codes).all()
        assert np.isfinite(polished).all()
        assert (new_scale > 0).all()


@pytest.mark.parametrize("groups", [1, 3])
def test_the_factor_solves(groups):
    hessian, target, _ = problem(5, 40, groups)
    factor = factorize(hessian, 10 * ridge_for(hessian))
    damped = hessian + 10 * ridge_for(hessian)[:, None, None] * np.eye(40)
    np.testing.assert_allclose(damped @ factor.solve(target), target, atol=1e-3)  # float32 solve
