"""Engines for a program when nobody has asked for a certain one."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ilmpq.geometry import Geometry
from ilmpq.program import Program
from ilmpq.schemes import BY_IDENT, Kind
from ilmpq.storage import WIDE

from .config import EngineConfig

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
