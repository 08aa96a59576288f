"""Synthetic calibration images: valid pixels, the same for the same seed, and nearer to the batch norms than noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilmpq import synthesize as module
from ilmpq.data import digits_split
from ilmpq.demo import PREPROCESS, digits_graph
from ilmpq.forward import forward
from ilmpq.graph import Graph, OutputStatistics
from ilmpq.synthesize import has_statistics, noise_images, pink_noise, shapes_on_noise, statistics_loss, synthesize


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.set_num_threads(1)
    return digits_graph()


def loss(graph: Graph, images: np.ndarray) -> float:
    with torch.no_grad():
        return float(statistics_loss(graph, torch.from_numpy(images)))


def test_descent_comes_close_to_the_batch_norms(graph: Graph) -> None:
    before = noise_images(128, (1, 8, 8), np.random.default_rng(0))  # black is 0 and white is 1 for this network
    after = synthesize(graph, PREPROCESS, 128, np.random.default_rng(0))
    assert loss(graph, after) < 0.1 * loss(graph, before)


def test_real_images_have_the_statistics_that_are_aimed_at(graph: Graph) -> None:
    """Otherwise the loss would measure at the wrong place, such as behind the residual addition."""
    assert loss(graph, PREPROCESS.normalise(digits_split()[0])) < 0.1


def test_every_class_is_among_the_images(graph: Graph) -> None:
    images = synthesize(graph, PREPROCESS, 128, np.random.default_rng(0))
    with torch.no_grad():
        predicted = forward(graph, torch.from_numpy(images)).argmax(1).numpy()
    assert len(np.unique(predicted)) >= 9  # one of ten may be missing by chance


@pytest.mark.parametrize("count", [1, 5, 70])
def test_images_are_valid_pixels_in_the_networks_shape(graph: Graph, count: int) -> None:
    images = synthesize(graph, PREPROCESS, count, np.random.default_rng(1))
    low, high = PREPROCESS.pixel_range()
    assert (images.shape, images.dtype) == ((count, 1, 8, 8), np.float32)
    assert (images >= low).all()
    assert (images <= high).all()


def test_the_seed_decides_every_byte(graph: Graph) -> None:
    first, same, other = (synthesize(graph, PREPROCESS, 8, np.random.default_rng(s)).tobytes() for s in (1, 1, 2))
    assert first == same
    assert first != other


def test_progress_rises_to_one(graph: Graph) -> None:
    told: list[float] = []
    synthesize(graph, PREPROCESS, 70, np.random.default_rng(0), told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_network_without_batch_norms_gets_the_shapes(graph: Graph) -> None:
    bare = replace(graph, statistics={})
    assert not has_statistics(bare)
    images = synthesize(bare, PREPROCESS, 4, np.random.default_rng(3))
    np.testing.assert_array_equal(images, shapes_on_noise(4, (1, 8, 8), np.random.default_rng(3)))


def test_a_network_that_overflows_leaves_finite_images(graph: Graph) -> None:
    first = graph.weighted[0].name
    wild = {first: OutputStatistics(np.full(16, 3e38, np.float32), np.zeros(16, np.float32))}
    assert np.isfinite(synthesize(replace(graph, statistics=wild), PREPROCESS, 4, np.random.default_rng(0))).all()


def test_cost_bounds_the_steps(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    fewest, most = module.STEPS
    assert module._steps(graph, 1) == most
    assert module._steps(graph, 10**9) == fewest
    monkeypatch.setattr(module, "BATCH_VALUES", 1.0)
    assert module._batch_size(graph) == 4


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 17), st.integers(1, 17), st.integers(0, 99))
def test_shapes_on_noise_are_pixels_of_any_size(channels: int, height: int, width: int, seed: int) -> None:
    images = shapes_on_noise(2, (channels, height, width), np.random.default_rng(seed))
    assert images.shape == (2, channels, height, width)
    assert ((images >= 0) & (images <= 1)).all()


def test_pink_noise_falls_with_frequency() -> None:
    noise = np.stack([pink_noise((1, 32, 32), np.random.default_rng(s)) for s in range(20)])
    amplitude = np.abs(np.fft.rfft(noise, axis=-1)).mean((0, 1, 2))
    assert amplitude[1] > 2 * amplitude[4] > 4 * amplitude[16]
