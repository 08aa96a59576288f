"""The RTL engine equals the numpy engine on every byte, whatever the memory's timing."""

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import engine_programs
import numpy as np
import pytest
from engine_programs import Program
from networks import NIGHTLY
from test_hls_engine import CONFIGURATIONS, given, reference

from accel.engine.config import EngineConfig
from accel.engine.descriptor import Conv, Image, Mode, Region
from accel.engine.rtl_engine import RtlEngine, Timing

PROGRAMS = 200 if NIGHTLY else 12
KINDS = {"convolutions": "C", "pools": "MA", "images": "I", "everything": "CMAIS"}


def random_program(config: EngineConfig, rng: np.random.Generator, count: int = 6, kinds: str = "CMAIS") -> Program:
    """As in `engine_programs`, with weights of 0 where a window has no bytes: there the image unit gives anything. Windows are not narrowed, and
    the least code of a narrowed tensor is 0 or 1."""

    class Builder(engine_programs._Builder):
        def _finish_conv(self, op: Conv, groups: int, steps: int) -> None:
            image = next((o for o in reversed(self.operations) if isinstance(o, Image)), None)
            used = image.kernel_y * image.kernel_x * image.channels if op.image and image else steps * self.geometry.tk

            if op.image and op.mode == Mode.NARROWED:
                op = replace(op, mode=Mode.BYTE)
            first = len(self.operations)

            def codes(*arguments: Any) -> np.ndarray:
                found = random_codes(*arguments)
                found[:, used:] = 0
                return found

            random_codes = engine_programs.random_codes
            with patch.object(engine_programs, "random_codes", codes):
                super()._finish_conv(op, groups, steps)
            self.operations[first:] = [replace(o, narrow_low=o.narrow_low & 1) for o in self.operations[first:]]

    return Builder(config, rng).program(count, kinds)


def random_timing(rng: np.random.Generator) -> Timing:
    latency, rate, stall = int(rng.integers(1, 60)), float(rng.choice([0.0, 2.0, 8.0])), float(rng.choice([0.0, 0.3]))
    return Timing(latency, rate, stall, seed=int(rng.integers(1, 2**31)))


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_random_programs_leave_the_same_memories(name: str, kinds: str) -> None:
    engine = RtlEngine(CONFIGURATIONS[name])
    rng = np.random.default_rng(len(name) + len(kinds))
    for _ in range(PROGRAMS):
        program = random_program(engine.config, rng, kinds=KINDS[kinds])
        machine = reference(program, engine.config)
        machine.run(program.words)
        found = engine.run(*given(program), random_timing(rng)).require()
        assert found.output == machine.regions[Region.OUTPUT]
        assert found.scratch == machine.regions[Region.SCRATCH]
        assert found.counters["STEPS"] == machine.steps
