"""Ratios: reading them, and dealing rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilmpq.errors import UsageError
from ilmpq.ratio import Ratio


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 5000))
def test_counts_add_up_and_are_exact_to_one_row(a, b, rows):
    a, b = min(a, 100 - b), min(b, 100)
    ratio = Ratio.parse(f"{a}:{b}:{100 - a - b}")
    counts = dict(ratio.counts(rows))
    assert sum(counts.values()) == rows
    for scheme, share in ratio.shares:
        assert abs(counts.get(scheme, 0) - float(share) * rows / 100) < 1


@pytest.mark.parametrize(
    ("text", "rows", "expected"),
    [
        ("60:35:5", 16, [10, 5, 1]),
        ("60:35:5", 10, [6, 4, 0]),  # 3.5 and 0.5 tie: the earlier scheme takes the row
        ("60:35:5", 64, [39, 22, 3]),
        ("60:35:5", 1, [1, 0, 0]),
        ("68.75:25:6.25", 32, [22, 8, 2]),
        ("0:100:0", 7, [7]),
    ],
)
def test_rows_are_dealt_by_largest_remainder(text, rows, expected):
    assert [n for _, n in Ratio.parse(text).counts(rows)] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("60:35", "three numbers"),
        ("60:35:6", "add up to 100 percent.*101"),
        ("-5:100:5", "must be like"),
        ("a:b:c", "must be like"),
        ("60:x:5", "must be like"),
        ("pot3:50,pot3:50", "once"),
        ("pot9:100", "scheme must be one of"),
        ("", "three numbers"),
        ("pot3", "must be like"),
        ("1e400:0:0", "must be like"),
        ("inf:0:0", "must be like"),
        ("1/0:0:0", "must be like"),
    ],
)
def test_a_wrong_ratio_says_what_is_wrong(text, message):
    with pytest.raises(UsageError, match=message):
        Ratio.parse(text)


def test_space_around_a_ratio_is_no_part_of_it():
    assert str(Ratio.parse(" fix8:100 ")) == "fix8:100"
    assert str(Ratio.parse(" 60: 35:5 ")) == "60:35:5"


@pytest.mark.parametrize("text", ["60:35:5", "68.75:25:6.25", "pot3:70,fix4:25,fix8:5", "fix4:100"])
def test_a_ratio_is_written_as_it_was_read(text):
    assert str(Ratio.parse(text)) == text
