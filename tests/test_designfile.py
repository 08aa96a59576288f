"""`geometry.json`: what is written is read back, what is no such file is refused, what does not fit is told."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from functools import cache

import pytest

from ilmpq.canonical import canonical
from ilmpq.design import EngineConfig
from ilmpq.designfile import LARGEST_FILE, WORDS, check_fits, describe, load_design, save_design
from ilmpq.device import PARTS
from ilmpq.errors import DoesNotFit, UsageError
from ilmpq.geometry import Geometry
from ilmpq.resources import resources, usable
from ilmpq.search import Goal, fastest
from ilmpq.space import Rules
from ilmpq.workload import shapes_of
from ilmpq.zoo import build

SMALL = PARTS["xc7z020"]
SCHEMES = "pot3@lut,fix4@dsp,fix8@dsp"


@cache
def written():
    """A design that was searched for, and what the file says of it."""
    rules = Rules.parse(SCHEMES, 4)
    found = fastest(Goal({"net": shapes_of(canonical(build("cifar_resnet8")))}, SMALL, rules))
    return found, describe(found, SMALL, SCHEMES, rules)


def test_a_design_is_read_back(tmp_path):
    found, described = written()
    save_design(tmp_path / "geometry.json", described)
    assert load_design(tmp_path / "geometry.json") == found.config
    assert json.loads((tmp_path / "geometry.json").read_text()) == described


def test_what_the_file_says_follows_from_the_design():
    found, told = written()
    frame, cost = found.frames["net"], resources(found.config)
    assert told["networks"]["net"]["frames_per_s"] == pytest.approx(100e6 / frame.cycles, abs=0.01)
    assert told["networks"]["net"]["cycles"] == round(frame.cycles)
    assert told["resources"] == {
        "lut": round(cost.lut),
        "ff": round(cost.ff),
        "dsp": cost.dsp,
        "bram36": round(cost.bram36, 1),
    }
    rows = found.config.geometry.schemes()
    shares = {s.name: 100 * n / found.config.geometry.rows for s, n in rows.items()}
    told_shares = dict(part.split(":") for part in told["ratio"].split(","))
    assert {k: float(v) for k, v in told_shares.items()} == pytest.approx(shares)
    assert (told["device"], told["schemes"], told["act_bits"], told["clock_mhz"]) == ("xc7z020", SCHEMES, 4, 100.0)
    assert (told["resources_from"], told["cycles_from"]) == ("model", "model")


def good():
    return EngineConfig(Geometry.parse("fix4@dsp:8", 16, 4), table_depth=512).to_dict()


def with_geometry(**changed):
    return {"config": good() | changed}


ARRAY = {"scheme": "fix4", "resource": "dsp", "rows": 8}
HOSTILE = {
    "nothing": "",
    "no JSON": "{",
    "not UTF-8": b"\xff\xfe{}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "nesting": "[" * 100_000,
    "nesting inside": '{"config": {"arrays": ' + "[" * 100_000,
    "a list": [],
    "a number": 3,
    "nothing in it": {},
    "config is null": {"config": None},
    "config is a list": {"config": [1]},
    "config is empty": {"config": {}},
    "an unknown field": with_geometry(evil=1),
    "no tk": {"config": {k: v for k, v in good().items() if k != "tk"}},
    "tk is text": with_geometry(tk="16"),
    "tk is true": with_geometry(tk=True),
    "tk is a fraction": with_geometry(tk=16.0),
    "tk is negative": with_geometry(tk=-16),
    "tk is 0": with_geometry(tk=0),
    "tk is huge": with_geometry(tk=10**30),
    "tp is odd": with_geometry(tp=5),
    "act_bits": with_geometry(act_bits=3),
    "acc_bits": with_geometry(acc_bits=64),
    "no arrays": with_geometry(arrays=[]),
    "arrays is text": with_geometry(arrays="fix4@dsp:8"),
    "many arrays": with_geometry(arrays=[ARRAY] * 17),
    "an unknown scheme": with_geometry(arrays=[ARRAY | {"scheme": "fix44"}]),
    "an unknown resource": with_geometry(arrays=[ARRAY | {"resource": "gpu"}]),
    "no such array": with_geometry(arrays=[ARRAY | {"scheme": "pot4"}]),
    "rows negative": with_geometry(arrays=[ARRAY | {"rows": -8}]),
    "rows 0": with_geometry(arrays=[ARRAY | {"rows": 0}]),
    "rows odd": with_geometry(arrays=[ARRAY | {"rows": 7}]),
    "rows huge": with_geometry(arrays=[ARRAY | {"rows": 2**62}]),
    "rows not finite": '{"config": {"arrays": [{"scheme": "fix4", "resource": "dsp", "rows": 1e999}]}}',
    "products": with_geometry(arrays=[ARRAY | {"products": 3}]),
    "am_depth huge": with_geometry(am_depth=2**40),
    "am_depth NaN": json.dumps({"config": good()}).replace("5120", "NaN"),
    "ring_depth": with_geometry(ring_depth=3),
    "table_depth": with_geometry(table_depth=500),
    "weight_ports": with_geometry(weight_ports=0),
    "image_kernels text": with_geometry(image_kernels="7x3"),
    "image_kernels long": with_geometry(image_kernels=[[7, 3]] * 1000),
    "image_kernels of three": with_geometry(image_kernels=[[7, 3, 3]]),
    "patch_writers": with_geometry(patch_writers=9),
    "no image pixels": with_geometry(image_pixels=0),
    "a number of 5,000 digits": '{"config": ' + "9" * 5_000 + "}",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_design_is_refused(case, tmp_path):
    """Whatever the file holds, the message names it and is short."""
    content, path = HOSTILE[case], tmp_path / "geometry.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UsageError, match=r"geometry\.json must ") as refusal:
        load_design(path)
    assert len(str(refusal.value)) < 600


def test_the_good_one_is_not_refused(tmp_path):
    path = tmp_path / "geometry.json"
    path.write_text(json.dumps({"config": good(), "whatever": [1, 2]}))
    assert load_design(path).to_dict() == good()


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, what in (("absent", "nothing"), (".", "a folder"), ("pipe", "a device or a pipe")):
        with pytest.raises(UsageError, match=f"must be a geometry.json, not {what}"):
            load_design(tmp_path / name)
    (tmp_path / "large").write_bytes(b" " * (LARGEST_FILE + 1))
    with pytest.raises(UsageError, match="at most 1,048,576 bytes, not 1,048,577"):
        load_design(tmp_path / "large")


TOO_LARGE = {
    "lut": ("pot4@lut:40, fix4@dsp:4, fix8@dsp:2", {}),
    "dsp": ("fix4@dsp:16, fix8@dsp:4", {}),
    "bram36": ("pot4@lut:22, fix4@dsp:8, fix8@dsp:2", {"am_depth": 9000}),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_does_not_fit_is_told_with_the_nearest_that_does(name):
    text, sizes = TOO_LARGE[name]
    config = EngineConfig(Geometry.parse(text, 16, 4, acc_bits=24), **({"table_depth": 512} | sizes)).verify()
    with pytest.raises(DoesNotFit) as refusal:
        check_fits(config, SMALL)
    message = str(refusal.value)
    assert refusal.value.exit_code == 5
    over = resources(config).over(usable(SMALL))
    assert name in over
    for each, by in over.items():
        assert f"{getattr(resources(config), each):,.0f} {WORDS[each]}, {by:,.0f} more than may be used" in message
    found = re.search(
        r"the nearest that fits is (.*) with tk (\d+), tp (\d+), (\d+)-bit accumulators, an activation memory of (\d+) "
        r"words and a ring of (\d+) steps",
        message,
    )
    assert found is not None
    tk, tp, acc_bits, am_depth, ring = (int(found[i]) for i in range(2, 7))
    other = Geometry.parse(found[1], tk, tp, acc_bits=acc_bits)
    check_fits(EngineConfig(other, am_depth=am_depth, ring_depth=ring, table_depth=512), SMALL)


def test_what_fits_is_not_refused():
    check_fits(written()[0].config, SMALL)


def test_where_no_number_of_rows_fits_the_nearest_has_fewer_positions():
    config = EngineConfig(Geometry.parse("pot4@lut:28, fix4@dsp:8, fix8@dsp:2", 16, 16, acc_bits=24), table_depth=512)
    words = r"; no rows fit with tk 16, tp 16; the nearest that fits is pot4@lut:\d+, fix4.*, fix8.* with tk 16, tp 6, "
    with pytest.raises(DoesNotFit, match=words):
        check_fits(config, SMALL)


def test_where_nothing_fits_other_arrays_are_advised():
    config = EngineConfig(Geometry.parse("fix8@lut:2, pot4@lut:2", 16, 4, acc_bits=24), table_depth=512)
    with pytest.raises(DoesNotFit, match="no rows, lanes and positions of these arrays fit: choose other arrays or"):
        check_fits(config, replace(SMALL, lut=10_000))
