"""Engines with a name: the chips' design points, others that were synthesised beside them, and a little one for a program."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilmpq.design import EngineConfig
from ilmpq.geometry import Geometry
from ilmpq.program import Program
from ilmpq.schemes import BY_IDENT, Kind
from ilmpq.storage import WIDE


@dataclass(frozen=True)
class Point:
    """An engine for a chip."""

    name: str
    device: str
    config: EngineConfig


# A slot is 192 bits: three block RAMs, whose depth is 512.
_XC7Z020 = EngineConfig(
    Geometry.parse("pot4@lut:22, fix4@dsp:8, fix8@dsp:2", tk=16, tp=4, act_bits=4, acc_bits=24),
    am_depth=5120,
    ring_depth=512,
    table_depth=512,
    weight_ports=3,
)
# The ring is deep so that the next layers' weights come while a layer is computed.
_XC7Z045 = EngineConfig(
    Geometry.parse("pot4@lut:22, fix4@dsp:8, fix8@dsp:2", tk=16, tp=16, act_bits=4, acc_bits=24),
    am_depth=2048,
    ring_depth=5120,
    table_depth=1024,
    weight_ports=4,
    patch_writers=4,
    image_pixels=2,
)
_SMALL = replace(_XC7Z020, am_depth=1024, ring_depth=64, table_depth=64, line_width=64)


def _point(name: str, like: EngineConfig, arrays: str, **other: int) -> Point:
    """An engine as another with other arrays; `tk`, `tp` and `act_bits` may differ, and sizes of memories."""
    g = like.geometry
    shape = {key: other.pop(key, getattr(g, key)) for key in ("tk", "tp", "act_bits")}
    device = "xc7z045" if like is _XC7Z045 else "xc7z020"
    sizes: dict[str, Any] = other
    return Point(
        f"{device}-{name}",
        device,
        replace(like, geometry=Geometry.parse(arrays, acc_bits=g.acc_bits, **shape), **sizes).verify(),
    )


XC7Z020_POT4 = _point("pot4", _XC7Z020, "pot4@lut:22, fix4@dsp:8, fix8@dsp:2")
XC7Z020_POT3 = _point("pot3", _XC7Z020, "pot3@lut:34, fix4@dsp:8, fix8@dsp:2")
XC7Z020_POT3_A5 = _point("pot3-a5", _XC7Z020, "pot3@lut:30, fix4@dsp:8, fix8@dsp:2", act_bits=5)
XC7Z045_POT4 = _point("pot4", _XC7Z045, "pot4@lut:22, fix4@dsp:8, fix8@dsp:2")
# Of the first the arrays are synthesised whole, the second is synthesised again by the tests.
SMALL = _point("small", _SMALL, "pot4@lut:2, fix4@dsp:2, fix8@dsp:2")
TESTED = _point("tested", replace(_SMALL, image_kernels=((3, 1),)), "pot4@lut:2, fix4@dsp:2, fix8@dsp:2", tk=8)
# Of other shapes, for the model of what an engine costs (`ilmpq/resources.py`).
VARIED = (
    _point("fixed8", _XC7Z020, "fix8@dsp:12", tk=8, am_depth=8192),
    _point("fair", _XC7Z020, "fix4@lut:20, fix4@dsp:12"),
    _point("rows64", _XC7Z020, "pot3@lut:52, fix4@dsp:8, fix8@dsp:4", tk=8, am_depth=8192),
    _point("lanes32", _XC7Z020, "pot3@lut:10, fix4@dsp:4, fix8@dsp:2", tk=32, am_depth=2560),
    _point("positions8", _XC7Z020, "pot3@lut:18, fix4@dsp:4, fix8@dsp:2", tk=8, tp=8, am_depth=5120, patch_writers=2),
    _point("positions6", _XC7Z020, "pot3@lut:26, fix4@dsp:4, fix8@dsp:2", tp=6, am_depth=2560, ring_depth=1024),
)
POINTS = (XC7Z020_POT4, XC7Z020_POT3, XC7Z020_POT3_A5, XC7Z045_POT4, SMALL, TESTED, *VARIED)

SMALL_ROWS = {"pot4@lut": 8, "fix4@dsp": 4, "fix8@dsp": 4}


def small(program: Program) -> EngineConfig:
    """A little engine that has every scheme of a program and reads its tensors, for simulations; 16 rows or so."""
    schemes = {BY_IDENT[int(i)] for m in program.matrices.values() for i in np.unique(m.scheme)}
    rows = dict(SMALL_ROWS)
    if {s.name for s in schemes if s.kind is Kind.POWER_OF_TWO} == {"pot3"}:
        rows = {"pot3@lut": 8, **{k: v for k, v in rows.items() if k != "pot4@lut"}}
    arrays = ", ".join(f"{kind}:{count}" for kind, count in rows.items())
    return EngineConfig(
        Geometry.parse(arrays, tk=8, tp=4, act_bits=act_bits(program)), am_depth=16_384, ring_depth=1024, weight_ports=2
    ).verify()


def act_bits(program: Program) -> int:
    """The bits that most layers read their inputs with, at least 4; layers of 8 bits take two passes."""
    narrow = Counter(m.input_bits for m in program.matrices.values() if m.input_bits < WIDE)
    return max(4, narrow.most_common(1)[0][0]) if narrow else WIDE
