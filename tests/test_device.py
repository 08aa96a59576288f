"""The measured costs that ship with the package are complete and within the project's bounds."""

import pytest

from ilmpq.device import MODULES, PARTS, lane_cost, measured
from ilmpq.errors import UsageError
from ilmpq.geometry import Geometry, Resource

# Scheme, resource, activation bits: most LUTs per MAC of 32 lanes with 32-bit accumulators, MACs per DSP.
BOUNDS = [
    ("pot4", Resource.LUT, 4, 25.0, None),
    ("pot4", Resource.LUT, 8, 34.0, None),
    ("pot3", Resource.LUT, 4, 15.0, None),
    ("pot3", Resource.LUT, 8, 23.0, None),
    ("fix4", Resource.DSP, 4, 2.5, 4),
    ("fix4", Resource.DSP, 5, 3.5, 4),
    ("fix8", Resource.DSP, 4, 1.0, 2),
    ("fix8", Resource.DSP, 8, 5.4, 2),
]
# The same where DSPs take fewer products than fit.
LIMITED = [("fix4@dsp2:2", 2), ("fix4@dsp1:2", 1), ("fix8@dsp1:2", 1)]


@pytest.mark.parametrize(("scheme", "resource", "act_bits", "luts", "per_dsp"), BOUNDS)
def test_lanes_are_as_cheap_as_they_must_be(scheme, resource, act_bits, luts, per_dsp):
    geometry = Geometry.parse(f"{scheme}@{resource.value}:2", 32, 2, act_bits)
    cost = lane_cost(geometry.arrays[0], geometry)
    assert cost.lut_per_mac <= luts
    assert cost.dsp == (cost.macs / per_dsp if per_dsp else 0)


@pytest.mark.parametrize("tk", [8, 16, 32, 64])
@pytest.mark.parametrize("act_bits", [4, 5, 8])
def test_every_array_was_measured(tk, act_bits):
    for scheme, resource in MODULES:
        geometry = Geometry.parse(f"{scheme}@{resource.value}:2", tk, 2, act_bits)
        assert lane_cost(geometry.arrays[0], geometry).macs >= tk


@pytest.mark.parametrize("tk", [8, 16, 32])
@pytest.mark.parametrize("act_bits", [4, 5, 6, 7, 8])
@pytest.mark.parametrize(("array", "per_dsp"), LIMITED)
def test_every_limited_packing_was_measured(array, per_dsp, act_bits, tk):
    geometry = Geometry.parse(array, tk, 4, act_bits)
    cost = lane_cost(geometry.arrays[0], geometry)
    assert cost.macs == per_dsp * cost.dsp
    assert cost.lut_per_mac <= 4.0


def test_every_dsp_holds_the_products_it_was_synthesised_for():
    for result in measured().values():
        assert result["macs"] == result["dsp"] * result["products"] if "dsp" in result["array"] else result["dsp"] == 0


def test_no_path_is_longer_than_three_luts_and_a_chain():
    assert len(measured()) >= 96
    for result in measured().values():
        assert result["depth_luts"] <= 3
        assert result["depth_chains"] <= 1


def test_a_cost_that_was_not_measured_is_refused():
    geometry = Geometry.parse("pot4@lut:2", 24, 2)
    with pytest.raises(UsageError, match="pot4@lut:2 with 24 lanes and 4-bit activations was not synthesised"):
        lane_cost(geometry.arrays[0], geometry)


@pytest.mark.parametrize(
    ("array", "tp", "per_dsp"),
    [
        ("fix4@dsp:2", 2, 4),
        ("fix4@dsp:1", 2, 2),
        ("fix4@dsp:4", 1, 2),
        ("fix8@dsp:1", 4, 2),
        ("fix8@dsp:2", 3, 2),
        ("fix4@dsp2:2", 2, 2),
        ("fix4@dsp2:1", 4, 2),
        ("fix4@dsp1:1", 3, 1),
        ("fix8@dsp1:1", 3, 1),
        ("fix8@dsp1:2", 4, 1),
    ],
)
def test_a_cost_is_that_of_the_packing(array, tp, per_dsp):
    geometry = Geometry.parse(array, 16, tp)
    assert lane_cost(geometry.arrays[0], geometry).macs_per_dsp == per_dsp


def test_a_narrow_accumulator_costs_less():
    narrow, wide = (Geometry.parse("pot4@lut:2", 16, 2, 4, bits) for bits in (24, 32))
    assert lane_cost(narrow.arrays[0], narrow).lut < lane_cost(wide.arrays[0], wide).lut


def test_every_part_holds_what_its_data_sheet_says():
    assert (PARTS["xc7z020"].lut, PARTS["xc7z020"].dsp, PARTS["xc7z020"].bram36) == (53_200, 220, 140)
    assert (PARTS["xc7z045"].lut, PARTS["xc7z045"].dsp, PARTS["xc7z045"].bram36) == (218_600, 900, 545)
