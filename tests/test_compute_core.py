"""The compute core, in the RTL engine, equals the numpy engine on every byte and every refusal, whatever the memory's timing."""

from dataclasses import fields, replace

import numpy as np
import pytest
from engine_configs import CONFIGURATIONS, SMALL
from engine_programs import assembled, random_codes, random_program, tile_beats
from engine_reference import READ, WRITE, Reference, Refused, Result, Slot
from engine_refusals import CASES, Case, conv, given, random_changes, reference, weights
from networks import NIGHTLY
from test_engine_memory import image_of

from accel.engine.descriptor import Conv, Load, Mode, Region, Store, Waits, checksum, header
from accel.engine.result import DONE, ERROR
from accel.engine.rtl_engine import RtlEngine, Timing
from ilmpq.design import EngineConfig
from ilmpq.windows import Windows

PROGRAMS = 200 if NIGHTLY else 12
CHANGES = 10_000 if NIGHTLY else 200
KINDS = {"convolutions": "C", "pools": "MA", "images": "I", "everything": "CMAIS"}
DAILY = ("8 bits, pairs of positions", "16 positions", "fewer products per DSP", "4 ports")
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
    return Timing(latency, rate, stall, words_first=stall, seed=int(rng.integers(1, 2**31)))


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


@pytest.mark.parametrize("name", ["small", "16 positions"])
@pytest.mark.parametrize(
    ("kernel", "size", "stride"), [((3, 3, 3), (24, 33), 1), ((5, 5, 3), (37, 70), 2), ((3, 3, 1), (41, 40), 2)]
)
def test_windows_come_as_fast_as_the_model_says(
    name: str, kernel: tuple[int, int, int], size: tuple[int, int], stride: int
) -> None:
    """Within 2 %, once the first pixels have come and until the last results are written; and the results are right."""
    engine = engine_of(CONFIGURATIONS[name])
    config, rng, latency = engine.config, np.random.default_rng(1), 10
    image = image_of(config, kernel, size, stride, kernel[0] // 2)
    tp, steps = config.geometry.tp, image.patch_words
    halves = [Result(bias=0, multiplier=3, row=i, valid=1, residual=0, lane=i) for i in range(2)]
    codes = random_codes(config, steps, rng)
    codes[:, kernel[0] * kernel[1] * kernel[2] :] = 0
    beats = tile_beats(config, 0, 1, [Slot(*halves, 0, 0, 0, 0)], codes)
    shape = {"rows": image.rows, "columns": image.columns, "positions_less_one": tp - 1, "patch_words": steps}
    target = {"target_pitch": image.columns, "target_stride": config.am_depth // 4, "low": 0, "high": 15, "shift": 6}
    op = Conv(**shape, **target, mode=Mode.BYTE, image=1, position_outer=1, tiles=1, **_weights_of(beats))
    depth = config.am_depth
    store = Store(region=Region.OUTPUT, words_per_run=depth, runs=1)
    load = Load(region=Region.OUTPUT, words_per_run=depth, runs=1)
    operations = [load, image, op, store]
    parts = [beats[:, i].tobytes() for i in range(config.weight_ports)]
    given_image, size_out = rng.bytes(-(-size[1] // 2) * 8 * size[0]), depth * config.word_bytes
    words = assembled(config, operations)
    regions = {Region.SCRATCH: bytearray(), Region.INPUT: bytearray(given_image), Region.OUTPUT: bytearray(size_out)}
    machine = Reference(config, regions, parts)
    machine.run(words)
    assert machine.misplaced == 0
    found = engine.run(words, parts, 0, given_image, size_out, Timing(latency)).require()
    assert found.output == regions[Region.OUTPUT]
    (loaded, *_), (computed, *_) = found.completed[:2]
    unrolled = Windows(**{field.name: getattr(image, field.name) for field in fields(Windows)})
    pace = unrolled.pace(config, tp)
    expected = pace.first[0] + image.rows * image.columns * pace.cycles
    assert computed - loaded - latency - 37 == pytest.approx(expected, rel=0.02)


def _weights_of(beats: np.ndarray) -> dict[str, int]:
    words = [int(w) for w in beats.reshape(-1).view("<u4")]
    return {"weight_beat": 0, "weight_beats": len(beats), "weight_checksum": checksum(words)}


def test_steps_of_one_position_tile_pass_through_a_ring_that_is_too_small() -> None:
    beats = weights(groups=75, steps=300)
    one = conv(beats, source_stride=0, rows=1, columns=1)
    assert engine_of(SMALL).run(*Case((0, 0), (one,), beats).given()).require().counters["STEPS"] == 300
