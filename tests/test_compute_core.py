"""The compute core, in the RTL engine, equals the numpy engine on every byte, whatever the memory's timing."""

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import engine_programs
import numpy as np
import pytest
from engine_programs import Program
from networks import NIGHTLY
from test_hls_engine import (
    AVERAGE,
    CONFIGURATIONS,
    LOAD,
    MAX,
    PATCHES,
    RESULT,
    SLOT,
    SMALL,
    conv,
    given,
    reference,
    weights,
)

from accel.engine.config import EngineConfig
from accel.engine.descriptor import Conv, Image, Load, Mode, Operation, Region, Store, Waits, checksum, header
from accel.engine.result import ERROR
from accel.engine.rtl_engine import RtlEngine, Timing

PROGRAMS = 200 if NIGHTLY else 12
KINDS = {"convolutions": "C", "pools": "MA", "images": "I", "everything": "CMAIS"}

EVERY_NIGHT = CONFIGURATIONS if NIGHTLY else ("PoT3, 6 positions", "8 bits, pairs of positions")
CASES = [("small", kinds) for kinds in KINDS] + [(name, "everything") for name in EVERY_NIGHT if name != "small"]


def random_program(config: EngineConfig, rng: np.random.Generator, count: int = 6, kinds: str = "CMAIS") -> Program:
    """As in `engine_programs`, but: weights are 0 where a window has no bytes, as there the image unit gives anything;
    windows are not narrowed; the least code of a narrowed tensor is 0 or 1."""

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
            self.operations[first:] = [
                replace(o, narrow_low=o.narrow_low & 1) if isinstance(o, Conv) else o for o in self.operations[first:]
            ]

    return Builder(config, rng).program(count, kinds)


def random_timing(rng: np.random.Generator) -> Timing:
    latency, rate, stall = int(rng.integers(1, 60)), float(rng.choice([0.0, 2.0, 8.0])), float(rng.choice([0.0, 0.3]))
    return Timing(latency, rate, stall, seed=int(rng.integers(1, 2**31)))


@pytest.mark.parametrize(("name", "kinds"), CASES)
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


def test_copies_at_the_same_time_change_nothing() -> None:
    """Convolutions while their sources are stored and loaded again with what they hold."""
    engine, rng = RtlEngine(SMALL), np.random.default_rng(1)
    for _ in range(PROGRAMS):
        program = random_program(SMALL, rng, kinds="C")
        whole, *convs, last = program.operations
        third = {"am_base": 0, "words_per_run": SMALL.am_depth // 3, "runs": 1}
        copies = [Load(region=Region.INPUT, **third), Store(region=Region.SCRATCH, **third)] * len(convs)
        found = [whole.words(Waits())]
        for number, each in enumerate(convs):
            found += [copy.words(Waits(load=1)) for copy in copies[2 * number : 2 * number + 2]]
            found.append(each.words(Waits(load=1, compute=number)))
        found.append(last.words(Waits(load=1 + len(convs), compute=len(convs))))
        machine = reference(program, SMALL)
        machine.run(program.words)
        program.words = np.array(header(SMALL.geometry_id, found) + [w for each in found for w in each], np.uint32)
        ran = engine.run(*given(program), random_timing(rng)).require()
        assert ran.output == machine.regions[Region.OUTPUT]
        size = SMALL.am_depth // 3 * SMALL.word_bytes
        assert ran.scratch[:size] == program.input[:size]


LONG = weights(groups=17, steps=68)  # more than the ring
ODD_SLOTS = (replace(SLOT, even=replace(RESULT, row=8)), replace(SLOT, odd=replace(RESULT, lane=8)))
REFUSED = [
    conv(mode=4),
    conv(positions_less_one=4),
    conv(rows=0),
    conv(width=0),
    conv(kernel_x=0),
    conv(kernel_y=3),
    conv(dilation_y=0),
    conv(stride_x=0),
    conv(shift=63),
    conv(logits=1, positions_less_one=1),
    conv(logits=1, target_pair=1),
    conv(source_ring=8, source_row=8),
    conv(target_ring=8, target_row=8),
    conv(residual=1, residual_stride_x=1),
    conv(residual=1, residual_stride_x=1, residual_stride_y=1, residual_ring=4, residual_row=4),
    conv(source_base=SMALL.am_depth - 3),
    conv(target_base=SMALL.am_depth - 6),
    conv(**PATCHES | {"mode": Mode.PAIR}),
    conv(**PATCHES | {"position_outer": 0, "tiles": 2}),
    *(conv(weights(slots=[slot])) for slot in ODD_SLOTS),
    conv(LONG, source_stride=0, rows=1, columns=2),
    conv(LONG, source_stride=0, rows=1, columns=1, mode=Mode.TWO_PASS),
    conv(LONG, source_stride=0, rows=1, columns=1, position_outer=1),
    replace(MAX, mode=Mode.NARROWED),
    replace(MAX, logits=1),
    replace(MAX, residual=1),
    replace(MAX, positions_less_one=2),
    replace(MAX, tiles=200),
    replace(AVERAGE, positions_less_one=1),
    replace(AVERAGE, target_pair=1),
    replace(AVERAGE, target_group=100),
]


def beats_of(op: Operation) -> np.ndarray:
    """The weight image that a refused convolution was made with."""
    found = [LONG, weights(), *(weights(slots=[s]) for s in ODD_SLOTS)]
    total = getattr(op, "weight_checksum", 0)
    return next((b for b in found if checksum([int(w) for w in b.reshape(-1).view("<u4")]) == total), found[1])


def test_what_is_illegal_is_error_4_and_the_engine_starts_again() -> None:
    engine = RtlEngine(SMALL)
    for op in REFUSED:
        for each, error in ((op, 4), (conv(), 0)):
            beats = beats_of(each)
            program = engine_programs.assembled(SMALL, [LOAD, each])
            found = engine.run(program, [beats[:, 0].tobytes()], 256, bytes(256), 256, most_cycles=20_000)
            assert (found.error, bool(found.status & ERROR)) == (error, bool(error)), each


def test_steps_of_one_position_tile_pass_through_a_ring_that_is_too_small() -> None:
    beats = weights(groups=75, steps=300)
    program = engine_programs.assembled(SMALL, [LOAD, conv(beats, source_stride=0, rows=1, columns=1)])
    found = RtlEngine(SMALL).run(program, [beats[:, 0].tobytes()], 256, bytes(256), 256).require()
    assert found.counters["STEPS"] == 300
