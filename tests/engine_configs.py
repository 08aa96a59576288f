"""Small engines for tests: memories so small that rings and tables are full at times."""

from __future__ import annotations

from ilmpq.design import EngineConfig
from ilmpq.geometry import Geometry


def config(arrays: str, tk: int, tp: int, act_bits: int = 4, acc_bits: int = 32, **sizes: int) -> EngineConfig:
    small = {"am_depth": 384, "ring_depth": 64, "table_depth": 64, "weight_ports": 1}
    return EngineConfig(Geometry.parse(arrays, tk, tp, act_bits, acc_bits), **(small | sizes)).verify()


SMALL = config("pot4@lut:4, fix4@dsp:2, fix8@dsp:2", tk=8, tp=4, ring_depth=40, table_depth=16, weight_ports=2)
CONFIGURATIONS = {
    "small": SMALL,
    "XC7Z020": config("pot4@lut:22, fix4@dsp:8, fix8@dsp:2", tk=16, tp=4, acc_bits=24, weight_ports=3),
    "PoT3, 6 positions": config("pot3@lut:26, fix4@dsp:4, fix8@dsp:2", tk=16, tp=6, ring_depth=28, weight_ports=3),
    "few lanes, 6 positions": config("pot3@lut:2, fix4@dsp:2", tk=12, tp=6, acc_bits=20),
    "5 bits": config("pot3@lut:4, fix4@dsp:4", tk=12, tp=4, act_bits=5),
    "6 bits, ternary": config(
        "fix4@dsp:4, fix3@lut:1, fix2@lut:1", tk=8, tp=4, act_bits=6, acc_bits=16, weight_ports=4
    ),
    "7 bits": config("pot4@lut:2, fix4@dsp:2, fix8@lut:2", tk=8, tp=4, act_bits=7),
    "8 bits, pairs of positions": config("fix8@dsp:3, fix4@dsp:3", tk=4, tp=4, act_bits=8),
    "8 positions, Fixed4": config("fix4@lut:2, fix4@dsp:6", tk=32, tp=8, weight_ports=2),
    "16 positions": config("fix4@lut:2, fix8@dsp:2", tk=4, tp=16, patch_writers=3, image_pixels=2),
    "fewer products per DSP": config("fix4@dsp2:4, fix4@dsp1:3, fix8@dsp1:1, fix4@dsp:2", tk=8, tp=4, weight_ports=2),
    "4 ports": config("pot4@lut:6, fix4@dsp:8", tk=8, tp=4, ring_depth=36, weight_ports=4),
}
