"""Second-order statistics against float64, where float32 sums would fail."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilmpq.moments import Moments


def collect(u, t, groups, full=True, parts=3):
    """Moments of columns (images × groups × K × positions) in several batches."""
    moments = Moments(groups, u.shape[2], t.shape[2], full)
    for a, b in zip(np.array_split(u, parts), np.array_split(t, parts), strict=True):
        columns, targets = torch.from_numpy(a), torch.from_numpy(b)
        moments.add_means(columns, targets)
        moments.add(columns, targets)
    return moments.result()


@given(st.integers(0, 1000), st.integers(1, 2), st.sampled_from([0.0, 5.0, 255.0]), st.sampled_from([0.4, 1.0]))
@settings(max_examples=20, deadline=None)
def test_moments_are_the_covariances_also_far_from_zero(seed, groups, mean, deviation):
    rng = np.random.default_rng(seed)
    u = (mean + deviation * rng.normal(size=(9, groups, 300, 20))).astype(np.float32)
    t = (mean + rng.normal(size=(9, groups, 4, 20))).astype(np.float32)
    found = collect(u, t, groups)
    for g in range(groups):
        columns = u[:, g].transpose(1, 0, 2).reshape(300, -1).astype(np.float64)
        targets = t[:, g].transpose(1, 0, 2).reshape(4, -1).astype(np.float64)
        both = np.cov(np.concatenate([columns, targets]), bias=True)
        np.testing.assert_allclose(found.hessian[g], both[:300, :300], atol=2e-5)  # float32 sums
        np.testing.assert_allclose(found.cross[g], both[:300, 300:], atol=1e-4)
        np.testing.assert_allclose(found.energy[g], both.diagonal()[:300], atol=2e-5)
        np.testing.assert_allclose(found.input_mean[g], columns.mean(axis=1), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found.target_mean[g], targets.mean(axis=1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("full", [True, False])
def test_a_saturated_input_that_flickers_is_not_lost_and_a_constant_one_is_zero(full):
    rng = np.random.default_rng(0)
    u = np.full((8, 1, 3, 100), 255, np.float32)
    u[:, 0, 1] -= rng.random((8, 100)) < 0.003
    found = collect(u, rng.normal(size=(8, 1, 2, 100)).astype(np.float32), 1, full)
    assert found.energy[0, 0] == found.energy[0, 2] == 0
    assert found.energy[0, 1] == pytest.approx(u[:, 0, 1].var(), rel=1e-3)
    if full:
        assert np.linalg.eigvalsh(found.hessian[0]).min() >= -1e-9
