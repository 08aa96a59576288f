"""The space of designs: what one design alone costs is what the columns say, and every design keeps the rules."""

from __future__ import annotations

from dataclasses import fields, replace
from math import inf

import numpy as np
import pytest

from ilmpq.design import EngineConfig
from ilmpq.device import PARTS
from ilmpq.errors import UsageError
from ilmpq.geometry import Geometry, Resource
from ilmpq.resources import Resources, resources, usable
from ilmpq.space import DEFAULT_SCHEMES, DEPTHS, LEAST_FIX8, MOST_ROWS, RINGS, Kind, Rules, nearest, space

SMALL, LARGE = PARTS["xc7z020"], PARTS["xc7z045"]
RULES = (
    Rules.parse(DEFAULT_SCHEMES, 4),
    Rules.parse("pot3@lut, fix4@dsp, fix8@dsp", 5),
    Rules.parse("fix4, fix8@dsp", 8),
    Rules.parse("fix8@dsp", 4, uniform="fix8"),
    Rules.parse("fix4@dsp1, fix8@dsp1", 4, uniform="fix4", ends="fix8"),
    Rules.parse("fix4@dsp, fix4@lut", 4, uniform="fix4"),
)


def some(of, count=25):
    """Places of variants, spread over a space."""
    design, ring = of.variants()
    chosen = np.linspace(0, len(design) - 1, min(count, len(design))).astype(int)
    return [(int(design[i]), int(ring[i])) for i in chosen]


@pytest.mark.parametrize("rules", RULES, ids=lambda r: ",".join(map(str, r.kinds)))
@pytest.mark.parametrize("part", PARTS.values(), ids=lambda p: p.name)
def test_every_variant_fits_and_costs_what_its_engine_costs(part, rules):
    """The columns and the model of one engine are two ways to one number."""
    found = space(part, rules, tps=(4, 10, 16))
    for place, ring in some(found):
        config = found.config(place, ring)
        cost = resources(config)
        assert cost.over(usable(part)) == {}
        for name in ("lut", "ff", "dsp"):
            assert getattr(cost, name) == pytest.approx(getattr(found.cost, name)[place], rel=1e-12), name
        assert config.geometry.macs_per_cycle == found.macs_per_cycle[place]
        assert config.step_words == found.step_words()[place]


@pytest.mark.parametrize("rules", RULES, ids=lambda r: ",".join(map(str, r.kinds)))
def test_no_variant_could_have_a_larger_activation_memory(rules):
    found = space(SMALL, rules, tps=(4, 8))
    for place, ring in some(found, 10):
        config = found.config(place, ring)
        for depth in (d for d in DEPTHS if d > config.am_depth):
            assert "bram36" in resources(replace(config, am_depth=depth)).over(usable(SMALL))


def test_variants_are_rings_none_of_which_is_worse_in_both_memories():
    found = space(LARGE, RULES[0], tks=(16,), tps=(8,))
    assert found.am_depth.shape == (len(found), len(RINGS))
    for depths in found.am_depth:
        kept = depths[depths > 0]
        assert len(kept) > 0
        assert (np.diff(kept) < 0).all()  # a longer ring leaves less


def test_a_mix_has_every_scheme_and_enough_of_fixed8():
    found = space(SMALL, RULES[0], tks=(8, 16), tps=(4, 6))
    rows = found.schemes()
    assert list(rows) == ["pot4", "fix4", "fix8"]
    assert all((n > 0).all() and (n % 2 == 0).all() for n in found.rows.values())
    assert (100 * rows["fix8"] >= LEAST_FIX8 * found.all_rows).all()
    assert found.all_rows.max() <= MOST_ROWS
    few = space(SMALL, Rules.parse(DEFAULT_SCHEMES, 4, least_fix8=20), tks=(16,), tps=(4,))
    assert (100 * few.schemes()["fix8"] >= 20 * few.all_rows).all()


def test_the_least_share_is_of_mixes_with_fixed8_alone():
    assert len(space(SMALL, Rules.parse("pot4@lut, fix4@dsp", 4), tks=(16,), tps=(4,)))
    packed = Rules.parse("fix4@dsp, fix8@dsp", 4, uniform="fix4", ends="fix8")
    ends = space(LARGE, packed, tks=(8,), tps=(4,))
    assert (ends.schemes()["fix8"] / ends.all_rows).min() < LEAST_FIX8 / 100  # a uniform network with other ends
    assert all((n > 0).all() for n in ends.schemes().values())


def test_a_uniform_network_may_use_either_resource():
    """Fixed4 rows on DSPs, in LUTs or both; the scheme is there in any case."""
    rows = space(SMALL, RULES[5], tks=(16,), tps=(4,)).rows
    dsp, lut = (n > 0 for n in rows.values())
    assert (dsp & lut).any()
    assert (dsp & ~lut).any()
    assert (~dsp & lut).any()
    assert (dsp | lut).all()


def test_a_scheme_alone_is_every_resource():
    assert [str(k) for k in Kind.parse("fix8")] == ["fix8@dsp", "fix8@lut"]
    assert [str(k) for k in Kind.parse(" pot3 ")] == ["pot3@lut"]
    assert [str(k) for k in Rules.parse("fix4@dsp, fix4", 4).kinds] == ["fix4@dsp", "fix4@lut"]


@pytest.mark.parametrize(
    "text", ["", "pot5", "pot4@dsp", "fix4@dsp3", "fix4@lut2", "fix5", "fix4;fix8", "fix4@dsp,", "４"]
)
def test_what_is_no_kind_of_array_is_refused(text):
    with pytest.raises(UsageError, match="must be "):
        Rules.parse(text, 4)


@pytest.mark.parametrize("bits", [3, 9])
def test_activation_bits_have_limits(bits):
    with pytest.raises(UsageError, match=f"activation bits must be from 4 to 8, not {bits}"):
        Rules.parse(DEFAULT_SCHEMES, bits)


def test_a_space_without_designs_is_refused():
    tiny = replace(SMALL, lut=10_000)
    with pytest.raises(
        UsageError, match="no design with pot4@lut, fix4@dsp, fix8@dsp and 4-bit activations fits xc7z020"
    ):
        space(tiny, RULES[0])


def test_taking_some_designs_keeps_them():
    found = space(SMALL, RULES[0], tks=(16,), tps=(4,))
    chosen = np.array([3, 1])
    taken = found.take(chosen)
    ring = int(np.flatnonzero(found.am_depth[1])[0])
    assert taken.config(1, ring) == found.config(1, ring)
    for f in fields(Resources):
        np.testing.assert_array_equal(getattr(taken.cost, f.name), getattr(found.cost, f.name)[chosen])


TOO_LARGE = [
    ("pot4@lut:40, fix4@dsp:8, fix8@dsp:2", 16, 4, {}),
    ("pot4@lut:22, fix4@dsp:8, fix8@dsp:2", 16, 4, {"am_depth": 40_000}),
    ("pot4@lut:22, fix4@dsp:8, fix8@dsp:2", 16, 4, {"ring_depth": 8192, "table_depth": 2048}),
    ("fix4@dsp:64", 16, 8, {}),
]


@pytest.mark.parametrize(("arrays", "tk", "tp", "sizes"), TOO_LARGE)
def test_the_nearest_design_fits_and_has_the_same_kinds(arrays, tk, tp, sizes):
    config = EngineConfig(Geometry.parse(arrays, tk, tp, acc_bits=24), **({"table_depth": 512} | sizes)).verify()
    assert resources(config).over(usable(SMALL))
    other = nearest(config, SMALL)
    assert other is not None
    assert resources(other).over(usable(SMALL)) == {}
    assert [a.kind for a in other.geometry.arrays] == [a.kind for a in config.geometry.arrays]
    assert (other.geometry.tk, other.geometry.tp) == (tk, tp)


def test_the_nearest_design_changes_no_rows_that_fit():
    g = Geometry.parse("pot4@lut:22, fix4@dsp:8, fix8@dsp:2", 16, 4, acc_bits=24)
    other = nearest(EngineConfig(g, am_depth=40_000, table_depth=512), SMALL)
    assert other is not None
    assert other.geometry == g


def test_rows_of_two_arrays_of_a_kind_are_added():
    two = Geometry.parse("pot4@lut:20, pot4@lut:20, fix4@dsp:8, fix8@dsp:2", 16, 4, acc_bits=24)
    one = Geometry.parse("pot4@lut:40, fix4@dsp:8, fix8@dsp:2", 16, 4, acc_bits=24)
    assert nearest(EngineConfig(two, table_depth=512), SMALL) == nearest(EngineConfig(one, table_depth=512), SMALL)


def test_where_nothing_fits_there_is_no_nearest():
    config = EngineConfig(Geometry.parse("fix8@lut:2, pot4@lut:2", 8, 4, acc_bits=24), table_depth=512)
    assert nearest(config, replace(SMALL, lut=10_000)) is None


SHAPES = [
    ("pot4@lut:28, fix4@dsp:8, fix8@dsp:2", 16, 16, 16, 6),  # the XC7Z045's best for ResNet-18
    ("fix8@lut:2, pot4@lut:2", 32, 32, 32, 4),  # more positions than the space knows
    ("pot4@lut:2", 12, 4, 8, 4),  # lanes that were not synthesised
    ("fix4@dsp1:8, pot4@lut:2", 32, 8, 16, 6),  # no number of positions fits with so many lanes
]


@pytest.mark.parametrize(("arrays", "tk", "tp", "other_tk", "other_tp"), SHAPES)
def test_where_no_rows_fit_positions_become_fewer_and_then_lanes(arrays, tk, tp, other_tk, other_tp):
    config = EngineConfig(Geometry.parse(arrays, tk, tp, acc_bits=24), table_depth=512)
    other = nearest(config, SMALL)
    assert other is not None
    assert resources(other).over(usable(SMALL)) == {}
    assert (other.geometry.tk, other.geometry.tp) == (other_tk, other_tp)
    assert [a.kind for a in other.geometry.arrays] == [a.kind for a in config.geometry.arrays]


def test_of_designs_with_as_many_other_rows_the_nearest_in_proportion_is_taken():
    """Twenty other rows for each: 26, 2, 4 are nearer to 40, 4, 8 than 24, 4, 4."""
    g = Geometry.parse("pot4@lut:40, fix4@dsp:4, fix8@dsp:8", 16, 4, acc_bits=24)
    other = nearest(EngineConfig(g, table_depth=512), SMALL)
    assert other is not None
    assert [a.rows for a in other.geometry.arrays] == [26, 2, 4]


def test_of_too_many_designs_those_with_the_same_rows_of_each_scheme_count_once(monkeypatch):
    """With DSPs or without, the one with the fewest LUTs; nothing that fits is lost."""
    rules = Rules.parse("fix4, fix8", 4)
    every = space(SMALL, rules, (16,), (4,))
    monkeypatch.setattr("ilmpq.space.MOST_ALIKE", 100)
    some = space(SMALL, rules, (16,), (4,))

    def cheapest(found):
        least = {}
        with_dsps = [any(n[i] for k, n in found.rows.items() if k.resource is Resource.DSP) for i in range(len(found))]
        for i, dsps in enumerate(with_dsps):
            key = *(int(n[i]) for n in found.schemes().values()), dsps
            least[key] = min(least.get(key, (inf,)), (float(found.cost.lut[i]), tuple(found.am_depth[i])))
        return least

    assert len(some) == len(cheapest(every)) < len(every)
    assert cheapest(some) == cheapest(every)
