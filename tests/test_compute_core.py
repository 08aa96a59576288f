"""The compute core, in the RTL engine, equals the numpy engine on every byte and every refusal, whatever the memory's timing."""

from dataclasses import replace

import numpy as np
import pytest
from engine_configs import CONFIGURATIONS, SMALL
from engine_programs import random_program
from engine_reference import READ, WRITE, Refused
from engine_refusals import CASES, Case, conv, given, random_changes, reference, weights
from networks import NIGHTLY

from accel.engine.config import EngineConfig
from accel.engine.descriptor import Load, Region, Store, Waits, header
from accel.engine.result import DONE, ERROR
from accel.engine.rtl_engine import RtlEngine, Timing

PROGRAMS = 200 if NIGHTLY else 12
CHANGES = 10_000 if NIGHTLY else 200
KINDS = {"convolutions": "C", "pools": "MA", "images": "I", "everything": "CMAIS"}
DAILY = ("few lanes, 6 positions", "8 bits, pairs of positions", "16 positions", "4 ports")
OTHERS = [name for name in CONFIGURATIONS if name in DAILY or (NIGHTLY and name != "small")]
CASES_OF_PROGRAMS = [("small", kinds) for kinds in KINDS] + [(name, "everything") for name in OTHERS]
MOST_CYCLES = 20_000  # of what is refused

_engines: dict[EngineConfig, RtlEngine] = {}


def engine_of(config: EngineConfig) -> RtlEngine:
    """One for each configuration, used again and again: each run must leave it as good as new."""
    if config not in _engines:
        _engines[config] = RtlEngine(config, memory_size=1 << 18)
    return _engines[config]


def random_timing(rng: np.random.Generator) -> Timing:
    latency, rate, stall = int(rng.integers(1, 60)), float(rng.choice([0.0, 2.0, 8.0])), float(rng.choice([0.0, 0.3]))
    return Timing(latency, rate, stall, seed=int(rng.integers(1, 2**31)))


@pytest.mark.parametrize(("name", "kinds"), CASES_OF_PROGRAMS)
def test_random_programs_leave_the_same_memories(name: str, kinds: str) -> None:
    engine = engine_of(CONFIGURATIONS[name])
    rng = np.random.default_rng(len(name) + len(kinds))
    for _ in range(PROGRAMS):
        program = random_program(engine.config, rng, kinds=KINDS[kinds])
        machine = reference(program, engine.config)
        machine.run(program.words)
        found = engine.run(*given(program), random_timing(rng)).require()
        assert found.output == machine.regions[Region.OUTPUT]
        assert found.scratch == machine.regions[Region.SCRATCH]
        assert found.counters["STEPS"] == machine.steps


def test_long_programs_go_around_a_ring_of_two_memories() -> None:
    """Its depth is no power of two and more than a block RAM's; each program brings 900 steps or more."""
    engine, rng = engine_of(replace(SMALL, ring_depth=516)), np.random.default_rng(4)
    for _ in range(PROGRAMS // 3):
        program = random_program(engine.config, rng, count=100, kinds="C")
        machine = reference(program, engine.config)
        machine.run(program.words)
        found = engine.run(*given(program), random_timing(rng)).require()
        assert found.output == machine.regions[Region.OUTPUT]


def test_copies_at_the_same_time_change_nothing() -> None:
    """Convolutions while their sources are stored and loaded again with what they hold."""
    engine, rng = engine_of(SMALL), np.random.default_rng(1)
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


@pytest.mark.parametrize("calm", [True, False])
def test_what_is_legal_runs_and_what_is_not_is_refused(calm: bool) -> None:
    """As by numpy and HLS; whatever was refused, the next program runs."""
    rng = np.random.default_rng(0)
    legal = CASES[0]
    for case in CASES:
        engine = engine_of(case.config)
        found = engine.run(*case.given(), Timing(latency=3) if calm else random_timing(rng), MOST_CYCLES)
        code, descriptor = case.status
        assert found.error in (code, *case.also), case.operations
        assert found.descriptor == descriptor, case.operations
        assert found.status & 7 == (ERROR if code else DONE)
        assert engine.bus_idle
        if code and case.config == SMALL:
            engine.run(*legal.given(), most_cycles=MOST_CYCLES).require()


def test_random_changes_of_one_field_are_treated_alike() -> None:
    """Refused with the same code and descriptor as by the numpy engine, or the same memories.

    Where docs/engine.md promises nothing, there is an end: positions that share a bank, operations that read what they write,
    memory that does not answer (regions lie side by side here, and images are read whole).
    """
    engine, rng = engine_of(SMALL), np.random.default_rng(3)
    refused = equal = 0
    for change in random_changes(SMALL, rng, CHANGES):
        program, machine = change.program, reference(change.program, SMALL)
        expected = 0, 0
        try:
            machine.run(program.words)
        except Refused as error:
            expected = error.code, error.index
        found = engine.run(*given(program), Timing(latency=3))
        assert engine.bus_idle
        if machine.misplaced or READ in (expected[0], found.error) or WRITE in (expected[0], found.error):
            continue
        assert change.allows(expected, (found.error, found.descriptor)), change
        refused += found.error > 0
        if not found.error and change.leaves_the_same and not machine.overtaken:
            assert found.output == machine.regions[Region.OUTPUT], change
            equal += 1
    assert refused > CHANGES // 8
    assert equal > CHANGES // 3


def test_steps_of_one_position_tile_pass_through_a_ring_that_is_too_small() -> None:
    beats = weights(groups=75, steps=300)
    one = conv(beats, source_stride=0, rows=1, columns=1)
    assert engine_of(SMALL).run(*Case((0, 0), (one,), beats).given()).require().counters["STEPS"] == 300
