"""Levels, nearest codes and their ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ilmpq.errors import UsageError
from ilmpq.schemes import BY_IDENT, FIX4, FIX8, POT3, POT4, SCHEMES, Kind, nearest, scheme_named

schemes = st.sampled_from(SCHEMES)
numbers = hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-300, 300, width=32))


def levels(scheme):
    return np.array(sorted({-v for v in scheme.levels} | set(scheme.levels)))


def test_the_schemes_have_the_codes_the_formats_fix():
    assert POT4.levels == (0, 1, 2, 4, 8, 16, 32, 64)
    assert POT3.levels == (0, 1, 2, 4)
    assert FIX4.levels == tuple(range(8))
    assert FIX8.top == 127
    assert [s.ident for s in SCHEMES] == list(range(len(SCHEMES)))
    assert {s.name: s.ident for s in (POT4, FIX4, FIX8, POT3)} == {"pot4": 0, "fix4": 1, "fix8": 2, "pot3": 3}


@given(numbers, schemes)
def test_nearest_is_a_nearest_level_and_a_tie_goes_outwards(x, scheme):
    codes = nearest(x, scheme)
    distance = np.abs(x[:, None].astype(np.float64) - levels(scheme))
    np.testing.assert_array_equal(np.abs(x - codes.astype(np.float64)), distance.min(axis=1))
    ties = np.where(distance == distance.min(axis=1, keepdims=True), np.abs(levels(scheme)), -1)
    np.testing.assert_array_equal(np.abs(codes), ties.max(axis=1))


@given(numbers, schemes)
def test_rounding_twice_is_rounding_once(x, scheme):
    codes = nearest(x, scheme)
    np.testing.assert_array_equal(nearest(codes, scheme), codes)


@given(numbers, schemes)
def test_error_of_fixed_rows_is_at_most_half_a_step_inside_the_range(x, scheme):
    inside = np.abs(x) <= scheme.top
    if scheme.kind is Kind.FIXED:
        assert (np.abs(nearest(x, scheme) - x)[inside] <= 0.5).all()


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.name)
def test_every_level_is_its_own_nearest_and_is_held(scheme):
    codes = levels(scheme)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(nearest(codes.astype(dtype), scheme), codes)
    assert scheme.holds(codes.astype(np.int8)).all()
    others = np.setdiff1d(np.arange(-128, 128), codes)
    assert not scheme.holds(others.astype(np.int8)).any()
    assert len(codes) <= 2**scheme.bits
    assert BY_IDENT[scheme.ident] is scheme


@pytest.mark.parametrize("border", [0.5, 1.5, 3.0, 6.0, 12.0, 24.0, 48.0])
def test_pot4_borders_lie_in_the_linear_middle(border):
    below = np.nextafter(np.float32(border), np.float32(0))
    low, high = nearest(np.array([below, border], np.float32), POT4)
    assert low < high
    assert (low + high) / 2 == border


def test_an_unknown_scheme_is_named_with_the_known_ones():
    with pytest.raises(UsageError, match="scheme must be one of pot4, fix4.*not 'fix9'"):
        scheme_named("fix9")
