"""Geometries as text and as JSON, the numbers that hardware knows them by, and what is no geometry."""

import pytest

from accel.engine.points import XC7Z020_POT4, XC7Z045_POT4
from ilmpq.errors import UsageError
from ilmpq.geometry import KINDS, Array, Geometry, Resource, kind_name

EVERY_KIND = ", ".join(f"{kind_name(*kind)}:2" for kind in KINDS)


def test_every_kind_is_read_back_from_text_and_from_json():
    geometry = Geometry.parse(EVERY_KIND, 16, 2)
    assert ", ".join(map(str, geometry.arrays)) == EVERY_KIND
    assert [array.kind for array in geometry.arrays] == list(range(len(KINDS)))
    assert Geometry.from_dict(geometry.to_dict()) == geometry


def test_a_limit_to_the_products_is_in_json_only_where_there_is_one():
    geometry = Geometry.parse("fix4@dsp:2, fix4@dsp2:2", 16, 2)
    assert geometry.to_dict()["arrays"] == [
        {"scheme": "fix4", "resource": "dsp", "rows": 2},
        {"scheme": "fix4", "resource": "dsp", "rows": 2, "products": 2},
    ]


def test_engines_keep_their_numbers():
    assert XC7Z020_POT4.config.geometry_id == 933363971
    assert XC7Z045_POT4.config.geometry_id == 3529520074


@pytest.mark.parametrize(
    ("array", "tp", "act_bits", "packing"),
    [
        ("pot4@lut:2", 2, 4, (1, 1)),
        ("fix4@dsp:2", 2, 6, (2, 2)),
        ("fix4@dsp:2", 2, 7, (2, 1)),
        ("fix4@dsp:1", 2, 4, (1, 2)),
        ("fix4@dsp:2", 1, 4, (2, 1)),
        ("fix4@dsp2:2", 2, 4, (2, 1)),
        ("fix4@dsp2:1", 2, 4, (1, 2)),
        ("fix4@dsp2:2", 2, 8, (2, 1)),
        ("fix4@dsp1:1", 1, 4, (1, 1)),
        ("fix8@dsp:2", 2, 4, (1, 2)),
        ("fix8@dsp:2", 1, 4, (2, 1)),
        ("fix8@dsp1:2", 2, 8, (1, 1)),
    ],
)
def test_what_shares_a_dsp(array, tp, act_bits, packing):
    geometry = Geometry.parse(array, 16, tp, act_bits)
    assert geometry.arrays[0].packing(tp, act_bits) == packing


@pytest.mark.parametrize("text", ["fix4", "fix4@dsp", "fix4@dsp0:2", "fix4@dsp12:2", "fix4@dsp 2:2", "fix4@bram:2", ""])
def test_what_is_no_geometry_is_refused(text):
    with pytest.raises(UsageError, match="geometry must be like pot4@lut:22,fix4@dsp:8, not"):
        Geometry.parse(text, 16, 2)


@pytest.mark.parametrize("text", ["fix4@lut1:2", "fix4@dsp4:2", "fix8@dsp2:2", "pot4@dsp:2"])
def test_an_array_that_does_not_exist_is_refused(text):
    with pytest.raises(UsageError, match=f"an array must be one of .*fix4@dsp2, fix4@dsp1, fix8@dsp1, not {text[:-2]}"):
        Geometry.parse(text, 16, 2)


def test_odd_rows_at_odd_positions_are_refused_but_with_one_product():
    with pytest.raises(UsageError, match="fix4@dsp2:3 shares a DSP .* make its rows or tp even, or take fix4@dsp1"):
        Geometry.parse("fix4@dsp2:3", 16, 3)
    assert Geometry.parse("fix4@dsp1:3", 16, 3).arrays == (Array("fix4", Resource.DSP, 3, 1),)


@pytest.mark.parametrize("products", [4, -1, True, "2", None])
def test_a_wrong_limit_in_json_is_refused(products):
    data = Geometry.parse("fix4@dsp2:2", 16, 2).to_dict()
    data["arrays"][0]["products"] = products
    with pytest.raises(UsageError):
        Geometry.from_dict(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (", ".join(["pot4@lut:1"] * 17), "1 to 16 arrays, not 17: join rows of one scheme and resource"),
        ("pot4@lut:0", "pot4@lut:0 must have 1 to 1,024 rows: leave out an array that has none"),
        ("fix4@dsp:3", "shares a DSP between two rows or two positions: make its rows or tp even"),
        ("fix9@dsp:3", "scheme must be one of"),
        ("fix4", "geometry must be like pot4@lut:22,fix4@dsp:8, not 'fix4'"),
    ],
)
def test_an_illegal_geometry_is_told_what_to_do(text, message):
    with pytest.raises(UsageError) as caught:
        Geometry.parse(text, tk=8, tp=5)
    assert message in str(caught.value)


@pytest.mark.parametrize("changes", [{"tk": None}, {"more": 1}, {"arrays": [{"scheme": "pot4"}]}, {"arrays": 3}])
def test_what_is_no_geometry_is_told_what_one_holds(changes):
    data = Geometry.parse("pot4@lut:4", tk=8, tp=4).to_dict()
    with pytest.raises(UsageError, match="it must hold arrays .scheme, resource, rows., tk, tp, act_bits and acc_bits"):
        Geometry.from_dict(data | changes)
