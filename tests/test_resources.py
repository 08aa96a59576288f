"""The model of costs: against the recorded synthesis, and laws that hold for any engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ilmpq.design import EngineConfig
from ilmpq.device import PARTS, lane_cost
from ilmpq.errors import UsageError
from ilmpq.geometry import Geometry
from ilmpq.resources import (
    FITTED,
    PARTS_AROUND,
    Resources,
    Sizes,
    _model,
    around,
    arrays,
    block_rams,
    errors,
    resources,
    summary,
    synthesised,
    usable,
)

RECORD = json.loads((Path(__file__).parents[1] / "hw" / "syn" / "engine.json").read_text())
POINTS = {point.name: point for point in synthesised()}


def config(arrays="pot4@lut:22, fix4@dsp:8, fix8@dsp:2", tk=16, tp=4, **sizes):
    return EngineConfig(Geometry.parse(arrays, tk, tp, acc_bits=24), **({"table_depth": 512} | sizes)).verify()


def test_the_model_is_near_engines_it_has_not_seen():
    """Each engine against a model that was fitted to all others."""
    found = summary(errors())["lut"]
    assert found["points"] >= 12
    assert found["mean"] <= 0.05
    assert found["worst"] <= 0.12


def test_errors_are_of_every_engine_and_finite():
    found = errors()
    assert {(e.name, e.cost) for e in found} == {(n, c + s) for n in POINTS for c in FITTED for s in ("", " around")}
    assert np.isfinite([e.relative for e in found]).all()
    for e in found:
        assert e.relative == pytest.approx((e.model - e.real) / e.real)


@pytest.mark.parametrize("name", POINTS)
def test_errors_are_against_the_recorded_synthesis(name):
    """What is real is the sum of both parts around the arrays, and the arrays by their rows."""
    config = POINTS[name].config
    for cost in FITTED:
        parts = sum(RECORD["results"][f"{name} {part}"][cost] for part in PARTS_AROUND)
        whole = next(e for e in errors() if (e.name, e.cost) == (name, cost))
        assert whole.real == parts + getattr(arrays(config.geometry), cost)


@pytest.mark.parametrize("name", POINTS)
def test_dsps_and_block_rams_are_those_of_the_synthesis(name):
    config, results = POINTS[name].config, RECORD["results"]
    cost, recorded = resources(config), [results[f"{name} {part}"] for part in PARTS_AROUND]
    assert cost.dsp == sum(r["dsp"] for r in recorded) + arrays(config.geometry).dsp
    beats = -(
        -config.step_bits // config.beat_bits
    )  # each a memory of its own, of which half a block RAM may be left over
    assert abs(cost.bram36 - sum(r["bram36"] for r in recorded)) <= 0.5 * beats
    assert cost.bram36 == pytest.approx(sum(r["bram36"] for r in recorded), rel=0.01)


def test_no_term_is_negative():
    assert all((factors >= 0).all() and factors.any() for factors in _model().values())


@pytest.mark.parametrize(
    "larger",
    [
        {"am_depth": 6144},
        {"ring_depth": 1024},
        {"table_depth": 1024},
        {"weight_ports": 4},
        {"patch_writers": 2},
        {"image_pixels": 2},
    ],
)
def test_a_larger_engine_costs_no_less(larger):
    small, large = resources(config()), resources(config(**larger))
    assert all(getattr(large, name) >= getattr(small, name) for name in ("lut", "ff", "dsp", "bram36"))


def test_arrays_cost_their_rows_at_their_measured_cost():
    g = Geometry.parse("pot4@lut:22, fix4@dsp:8, fix8@dsp:2", 16, 4, acc_bits=24)
    assert arrays(g).dsp == 8 * 64 / 4 + 2 * 64 / 2
    assert arrays(g).lut == pytest.approx(sum(a.rows * 64 * lane_cost(a, g).lut_per_mac for a in g.arrays))


def test_many_engines_are_those_one_by_one():
    engines = [config(), config(tp=6, ring_depth=5120), config("fix8@dsp:6", tk=8, tp=16, weight_ports=4)]
    each = [Sizes.of(engine) for engine in engines]
    together = Sizes(**{name: np.array([getattr(s, name) for s in each]) for name in vars(each[0])})
    for name in ("lut", "ff", "dsp", "bram36"):
        one_by_one = [float(getattr(around(s), name)) for s in each]
        np.testing.assert_allclose(getattr(around(together), name), one_by_one, rtol=1e-12)


def test_block_rams_by_hand():
    """A memory of 5,120 words of 64 bytes in 4,096 and 1,024 words; a ring of 3 × 64 bits and the rest; a table of 512."""
    engine = config()  # 2,176 bits a step: 11 beats of 192 bits, and 64
    assert engine.step_bits == 2176
    ring = (11 * 6 + 2) / 2  # 36 bits of half a block RAM: 192 bits take 5⅓, 64 take 1⁷⁄₉
    assert block_rams(Sizes.of(engine)) == 4 + 64 * 5120 / 4096 + ring + 6 / 2


def test_what_is_over_is_said_by_how_much():
    most, cost = Resources(100, 100, 10, 5), Resources(90, 130, 10, 5.5)
    assert cost.over(most) == {"ff": 30, "bram36": 0.5}
    assert Resources(100, 100, 10, 5).over(most) == {}


def test_some_of_a_chip_stays_free():
    most = usable(PARTS["xc7z020"])
    assert (most.lut, most.ff, most.dsp, most.bram36) == pytest.approx((45_220, 90_440, 220, 130))


def test_lanes_that_were_not_synthesised_have_no_cost():
    with pytest.raises(UsageError, match="12 lanes .* not synthesised"):
        resources(replace(config(), geometry=Geometry.parse("pot4@lut:8", 12, 4)))
