"""Geometries: what is none says what to do."""

import pytest

from ilmpq.errors import UsageError
from ilmpq.geometry import Geometry


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (", ".join(["pot4@lut:1"] * 17), "1 to 16 arrays, not 17: join rows of one scheme and resource"),
        ("pot4@lut:0", "pot4@lut:0 must have 1 to 1,024 rows: leave out an array that has none"),
        ("pot4@dsp:2", "there is no array for pot4 on dsps: choose among pot4@lut"),
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
