"""The engine's memory side in RTL, with a stub for the compute core, against the numpy engine and plain lists.

Memory is random in time: latency, stalls at every port, write addresses that it takes only with a word; every burst is
checked against AXI4 on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from engine_programs import assembled
from engine_reference import Reference

from accel.engine.descriptor import Conv, Image, Load, Max, Operation, Region, Store, Waits, checksum, header
from accel.engine.result import BUSY, DONE, ERROR
from accel.engine.rtl_engine import ABORT, CLEAR, COUNTERS, Port, Register, StubbedEngine, Timing
from ilmpq.design import EngineConfig
from ilmpq.geometry import Geometry

SMALL = EngineConfig(
    Geometry.parse("pot4@lut:4, fix4@dsp:2", tk=8, tp=4),
    am_depth=256,
    ring_depth=32,
    table_depth=16,
    weight_ports=3,
    line_width=64,
)
TOLD_TILE, TOLD_SLOT, TOLD_STEP, TOLD_PATCH = 1, 2, 3, 4
CALM = Timing(latency=20)
ROUGH = Timing(latency=35, stall=0.4, words_first=0.5, seed=7)
MOST_CYCLES = 200_000

Rng = np.random.Generator
_engines: dict[EngineConfig, StubbedEngine] = {}


def engine_of(config: EngineConfig) -> StubbedEngine:
    """One for each configuration, used again and again: each run must leave it as good as new."""
    if config not in _engines:
        _engines[config] = StubbedEngine(config)
    return _engines[config]


@dataclass
class Work:
    """A program with all it needs."""

    operations: list[Operation]
    parts: list[bytes]
    input: bytes = b""
    scratch_size: int = 0
    output_size: int = 0

    def words(self, config: EngineConfig) -> np.ndarray:
        return assembled(config, self.operations)


def run(config: EngineConfig, work: Work, timing: Timing, readiness: float = 1.0):  # type: ignore[no-untyped-def]
    engine = engine_of(config)
    engine.reset_told(readiness)
    engine.fail(Port.READ, -1)
    return engine.run(
        work.words(config), work.parts, work.scratch_size, work.input, work.output_size, timing, MOST_CYCLES
    )


# LOAD and STORE


def copies(config: EngineConfig, rng: Rng) -> Work:
    """Fill the activation memory, move runs of it around by way of scratch, and put all of it into the output."""
    size, depth = config.word_bytes, config.am_depth
    operations: list[Operation] = [Load(region=Region.INPUT, words_per_run=depth, runs=1)]
    for _ in range(6):
        words, runs = int(rng.integers(1, 12)), int(rng.integers(1, 5))
        steps = [int(rng.integers(0, (depth - words) // runs + 1)) for _ in range(2)]
        bases = [int(rng.integers(0, depth - words - (runs - 1) * step)) for step in steps]
        stride = 8 * int(rng.integers(0, 40)) + words * size
        place = {"region": Region.SCRATCH, "offset": 8 * int(rng.integers(0, 64)), "words_per_run": words}
        for kind, step, base in zip((Store, Load), steps, bases, strict=True):
            operations.append(kind(**place, runs=runs, am_base=base, am_stride=step, stride=stride))
    operations.append(Store(region=Region.OUTPUT, words_per_run=depth, runs=1))
    image = rng.integers(0, 256, depth * size, dtype=np.uint8).tobytes()
    return Work(operations, [b""] * config.weight_ports, image, 1 << 15, depth * size)


@pytest.mark.parametrize("timing", [CALM, ROUGH], ids=["calm", "rough"])
@pytest.mark.parametrize(("tk", "tp"), [(8, 4), (12, 6), (16, 4)])
def test_copies_equal_the_numpy_engine(tk: int, tp: int, timing: Timing) -> None:
    config = replace(SMALL, geometry=Geometry.parse("pot4@lut:4, fix4@dsp:2", tk=tk, tp=tp))
    for seed in range(3):
        work = copies(config, np.random.default_rng(seed))
        regions = {
            Region.SCRATCH: bytearray(work.scratch_size),
            Region.INPUT: bytearray(work.input),
            Region.OUTPUT: bytearray(work.output_size),
        }
        Reference(config, regions).run(work.words(config))
        found = run(config, work, replace(timing, seed=seed), 0.5 if timing is ROUGH else 1.0).require()
        assert found.output == bytes(regions[Region.OUTPUT])
        assert found.scratch == bytes(regions[Region.SCRATCH])


def test_a_copy_moves_a_word_each_cycle() -> None:
    words = SMALL.am_depth * SMALL.word_bytes // 8
    load = Load(region=Region.INPUT, words_per_run=SMALL.am_depth, runs=1)
    store = Store(region=Region.OUTPUT, words_per_run=SMALL.am_depth, runs=1)
    for operation in (load, store):
        work = Work([operation], [b""] * 3, bytes(8 * words), 0, 8 * words)
        assert run(SMALL, work, CALM).require().counters["CYCLES"] < 1.03 * words + 120


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_words_come_before_their_address_where_memory_wants_them(stall: float) -> None:
    """It takes none before; an engine that waited with its words would wait for ever."""
    timing = Timing(latency=20, stall=stall, words_first=1.0)
    for seed in range(3):
        work = copies(SMALL, np.random.default_rng(seed))
        calm = run(SMALL, work, CALM).require()
        before = engine_of(SMALL).words_moved[1]
        found = run(SMALL, work, replace(timing, seed=seed)).require()
        assert (found.output, found.scratch) == (calm.output, calm.scratch)
        assert engine_of(SMALL).words_moved[1] - before == words_stored(SMALL, work)


def words_stored(config: EngineConfig, work: Work) -> int:
    stores = [op for op in work.operations if isinstance(op, Store)]
    return sum(op.words_per_run * op.runs for op in stores) * config.word_bytes // 8


def test_a_store_has_its_share_beside_weights() -> None:
    """A word a cycle for all ports: weights alone would take all of it; what is not offered costs nothing."""
    convolution, _ = convolutions(SMALL, np.random.default_rng(5), 40)
    store = Store(region=Region.OUTPUT, words_per_run=SMALL.am_depth, runs=1)
    operations: list[Operation] = [store, *convolution.operations]
    work = Work(operations, convolution.parts, b"", 0, SMALL.am_depth * SMALL.word_bytes)
    engine = engine_of(SMALL)
    engine.reset_told()
    before = sum(engine.words_moved)
    timing = Timing(latency=20, bytes_per_cycle=8)
    found = engine.run(program_of(operations), work.parts, 0, b"", work.output_size, timing, MOST_CYCLES).require()
    stored = found.completed[found.completed[:, 2] == 1][0, 0]
    assert stored < (2 + SMALL.weight_ports) * words_stored(SMALL, work) + 200
    assert found.counters["CYCLES"] < 1.02 * (sum(engine.words_moved) - before) + 200


# Weights


def of_step_words(words: int) -> Geometry:
    """Eight lanes: a row of eight bits is a word, two of four bits are one."""
    narrow = 2 if words % 2 else 4
    return Geometry.parse(f"pot4@lut:{narrow}, fix8@dsp:{words - narrow // 2}", tk=8, tp=4)


def convolutions(
    config: EngineConfig, rng: Rng, count: int, least_steps: int = 1
) -> tuple[Work, list[tuple[int, int]]]:
    """CONVs with random row tiles, and what the core must be told of them."""
    beats: list[np.ndarray] = []
    told: list[tuple[int, int]] = []
    operations: list[Operation] = []
    ports = config.weight_ports

    def item(words: int, size: int, kind: int) -> np.ndarray:
        data = rng.integers(0, 1 << 64, (size, ports), dtype=np.uint64)
        told.extend((kind, int(w)) for w in data.reshape(-1).view("<u4")[: 2 * words])
        return data

    for _ in range(count):
        start, tiles = len(beats), int(rng.integers(1, 6))
        for _ in range(tiles):
            slots, steps = int(rng.integers(1, config.table_depth + 1)), int(rng.integers(least_steps, 40))
            head = rng.integers(0, 1 << 64, (1, ports), dtype=np.uint64)
            first, groups = int(rng.integers(1 << 16)), int(rng.integers(1, 1024))
            head[0, 0] = slots | first << 16 | groups << 32 | steps << 48
            told.extend((TOLD_TILE, int(w)) for w in head.view("<u4")[0, :2])
            beats.extend(head)
            for _ in range(slots):
                beats.extend(item(3, config.slot_beats, TOLD_SLOT))
            beats.extend(item(steps * config.step_words, -(-steps * config.step_words // ports), TOLD_STEP))
        words = np.concatenate(beats[start:]).view("<u4")
        place = {
            "weight_beat": start,
            "weight_beats": len(beats) - start,
            "weight_checksum": checksum([int(w) for w in words]),
        }
        operations.append(Conv(tiles=tiles, rows=1, columns=1, **place))
    parts = np.stack(beats)
    return Work(operations, [parts[:, p].astype("<u8").tobytes() for p in range(ports)]), told


def core_was_told(config: EngineConfig) -> list[tuple[int, int]]:
    """All but the descriptors."""
    return [(int(k), int(w) & 0xFFFFFFFF) for k, w in engine_of(config).told() if k]


@pytest.mark.parametrize("timing", [CALM, ROUGH], ids=["calm", "rough"])
@pytest.mark.parametrize(
    ("words", "ports", "ring"),
    [
        (3, 1, 32),
        (3, 2, 32),
        (3, 3, 32),
        (3, 4, 24),
        (5, 2, 28),
        (5, 3, 40),
        (7, 3, 20),
        (5, 4, 64),
        (6, 4, 12),
        (7, 4, 36),
    ],
)
def test_weights_reach_the_core_in_order(words: int, ports: int, ring: int, timing: Timing) -> None:
    """Whatever part of a beat a step's words are, and however many steps the ring has."""
    config = replace(SMALL, geometry=of_step_words(words), weight_ports=ports, ring_depth=ring)
    assert config.step_words == words
    for seed, readiness in enumerate((1.0, 0.3)):
        work, told = convolutions(config, np.random.default_rng(seed), 20)
        run(config, work, replace(timing, seed=seed), readiness).require()
        assert core_was_told(config) == told


@pytest.mark.parametrize(("rows", "writes_per_beat"), [(8, 1), (18, 12 / (34 / 3))])
def test_weights_come_a_beat_each_cycle(rows: int, writes_per_beat: float) -> None:
    """Or a column of the ring, where a step's last one is not whole; as fast as memory gives them, if that is slower."""
    config = replace(SMALL, geometry=Geometry.parse(f"pot4@lut:16, fix4@dsp:{rows}", tk=16, tp=4), table_depth=128)
    work, told = convolutions(config, np.random.default_rng(0), 12, least_steps=30)
    beats = len(work.parts[0]) // 8
    for beat_cycles in (1, 2):
        timing = replace(CALM, bytes_per_cycle=24 / beat_cycles if beat_cycles > 1 else 0)
        cycles = run(config, work, timing).require().counters["CYCLES"]
        assert core_was_told(config) == told
        assert cycles < 1.05 * beats * max(writes_per_beat, beat_cycles) + 150


# Images


def taking(convolution: Operation, image: Image) -> Operation:
    """It, with the windows of an image."""
    return replace(convolution, image=1, rows=image.rows, columns=image.columns, patch_words=image.patch_words)  # type: ignore[call-arg]


def image_work(config: EngineConfig, rng: Rng, image: Image) -> Work:
    work, _ = convolutions(config, rng, 1)
    size = -(-image.width // 2) * 8 * image.height + image.offset
    convolution = taking(work.operations[0], image)
    return Work([image, convolution], work.parts, rng.integers(0, 256, size, dtype=np.uint8).tobytes())


def windows(config: EngineConfig, work: Work) -> np.ndarray:
    """Positions × bytes by the numpy engine."""
    reference = Reference(config, {Region.INPUT: bytearray(work.input)})
    reference._image(work.operations[0])
    return np.stack([window.reshape(-1) for _, window in reference.patches])


def image_of(
    config: EngineConfig, kernel: tuple[int, int, int], size: tuple[int, int], stride: int, pad: int, **more: int
) -> Image:
    """All windows of an image; kernel is height, width, channels."""
    height, width = size
    sizes = {"kernel_y": kernel[0], "kernel_x": kernel[1], "channels": kernel[2], "height": height, "width": width}
    sizes |= {
        "rows": (height + 2 * pad - kernel[0]) // stride + 1,
        "columns": (width + 2 * pad - kernel[1]) // stride + 1,
    }
    sizes |= {"stride_y": stride, "stride_x": stride, "pad_top": pad, "pad_left": pad, "pad_code": 128}
    words = -(-kernel[0] * kernel[1] * kernel[2] // config.geometry.tk)
    return Image(region=Region.INPUT, **{**sizes, "patch_words": words, **more})


IMAGES = {
    "7x7x3 stride 2": ((7, 7, 3), (30, 41), 2, 3),
    "3x3x3": ((3, 3, 3), (17, 17), 1, 1),
    "3x3x3 stride 2": ((3, 3, 3), (16, 19), 2, 1),
    "5x5x3": ((5, 5, 3), (12, 33), 1, 2),
    "3x3x1": ((3, 3, 1), (8, 8), 1, 1),
    "7x3x3 stride 5": ((7, 3, 3), (26, 23), 5, 0),
    "3x3x1 stride 4": ((3, 3, 1), (21, 64), 4, 0),
    "one pixel": ((7, 7, 3), (1, 1), 1, 3),
    "64 wide": ((3, 3, 3), (11, 64), 1, 1),
}


def told_windows(config: EngineConfig, image: Image) -> np.ndarray:
    words = np.array([w for k, w in core_was_told(config) if k == TOLD_PATCH], "<u4")
    return words.view(np.uint8).reshape(image.rows * image.columns, -1)


@pytest.mark.parametrize("timing", [CALM, ROUGH], ids=["calm", "rough"])
@pytest.mark.parametrize("pixels", [1, 2])
@pytest.mark.parametrize("name", IMAGES)
def test_windows_equal_numpy(name: str, pixels: int, timing: Timing) -> None:
    config = replace(SMALL, geometry=Geometry.parse("pot4@lut:4, fix4@dsp:2", tk=16, tp=4), image_pixels=pixels)
    for seed, readiness in enumerate((1.0, 0.4)):
        rng = np.random.default_rng(seed)
        image = image_of(config, *IMAGES[name], offset=8 * int(rng.integers(0, 32)))
        work = image_work(config, rng, image)
        run(config, work, replace(timing, seed=seed), readiness).require()
        bytes_used = image.kernel_y * image.kernel_x * image.channels
        np.testing.assert_array_equal(
            told_windows(config, image)[:, :bytes_used], windows(config, work)[:, :bytes_used]
        )


def test_windows_come_as_fast_as_their_columns() -> None:
    """7×7×3 at stride 2: two columns a position, and five more for a row's first; the first rows and refills apart."""
    config = replace(SMALL, geometry=Geometry.parse("pot4@lut:4, fix4@dsp:2", tk=16, tp=4), image_pixels=2)
    image = image_of(config, (7, 7, 3), (64, 64), 2, 3)
    work = image_work(config, np.random.default_rng(0), image)
    cycles = run(config, work, CALM).require().counters["CYCLES"]
    weights = len(work.parts[0]) // 8
    assert cycles < 2 * image.rows * image.columns + 8 * image.rows + 64 * 5 + weights + 200


# Errors and restarts


@pytest.fixture
def healthy() -> Work:
    """Copies, an image and convolutions at the same time."""
    rng = np.random.default_rng(5)
    convolution, _ = convolutions(SMALL, rng, 8)
    size, depth = SMALL.word_bytes, SMALL.am_depth
    load = Load(region=Region.INPUT, words_per_run=depth, runs=1)
    store = Store(region=Region.OUTPUT, words_per_run=depth, runs=1)
    image = image_of(SMALL, (3, 3, 3), (16, 16), 1, 1)
    first = taking(convolution.operations[0], image)
    operations = [load, image, first, *convolution.operations[1:], store]
    return Work(
        operations, convolution.parts, rng.integers(0, 256, depth * size, dtype=np.uint8).tobytes(), 0, depth * size
    )


def program_of(operations: list[Operation], waits: list[Waits] | None = None) -> np.ndarray:
    """Without any waiting, if nothing else is said."""
    found = [op.words(w) for op, w in zip(operations, waits or [Waits()] * len(operations), strict=True)]
    return np.array(header(SMALL.geometry_id, found) + [w for each in found for w in each], np.uint32)


def with_checksum(words: np.ndarray) -> np.ndarray:
    words[4] = checksum([int(w) for w in words[32:]])
    return words


def refused(work: Work, words: np.ndarray, code: int, descriptor: int, timing: Timing = ROUGH) -> None:
    """The engine stops with this error, the bus at rest; then a healthy program runs as if nothing had been."""
    engine = engine_of(SMALL)
    engine.reset_told()
    engine.start(words, work.parts, 0, work.input, work.output_size, timing)
    assert engine.cycles(MOST_CYCLES) < MOST_CYCLES
    status = engine.read(Register.STATUS)
    assert (status & 7, status >> 8 & 0xFF, status >> 16) == (ERROR, code, descriptor)
    assert engine.bus_idle
    assert not engine.violation
    for port in range(Port.WEIGHTS + SMALL.weight_ports):
        engine.fail(port, -1)
    recovered(work)


def recovered(work: Work) -> None:
    found = run(SMALL, work, ROUGH).require()
    assert found.output == work.input
    engine = engine_of(SMALL)
    assert engine.bus_idle
    engine.write(Register.CONTROL, CLEAR)
    assert engine.read(Register.STATUS) == 0


@pytest.mark.parametrize(("word", "code"), [(0, 1), (1, 1), (2, 2), (4, 3)])
def test_a_wrong_header_is_refused(healthy: Work, word: int, code: int) -> None:
    words = healthy.words(SMALL)
    words[word] ^= 4
    refused(healthy, words, code, 0)


@pytest.mark.parametrize("bit", [0, 3, 24, 31])
def test_an_illegal_type_or_mark_is_refused(healthy: Work, bit: int) -> None:
    words = healthy.words(SMALL)
    words[32 * 2] ^= (1 << bit) | (8 if bit == 0 else 0)
    refused(healthy, with_checksum(words), 4, 2)


COPY = {"region": Region.INPUT, "words_per_run": 4, "runs": 2, "am_stride": 4}
ILLEGAL = {
    "region": Load(**COPY | {"region": 3}),
    "no words": Load(**COPY | {"words_per_run": 0}),
    "no runs": Store(**COPY | {"runs": 0}),
    "offset": Load(**COPY, offset=4),
    "stride": Store(**COPY, stride=12),
    "beyond the memory": Load(**COPY, am_base=SMALL.am_depth - 7),
    "base beyond the memory": Store(**COPY | {"runs": 1}, am_base=SMALL.am_depth),
    "kernel": image_of(SMALL, (4, 3, 3), (9, 9), 1, 1),
    "channels": image_of(SMALL, (7, 7, 1), (9, 9), 1, 1),
    "wide kernel": image_of(SMALL, (7, 8, 3), (9, 9), 1, 1),
    "wider than tall": image_of(SMALL, (3, 4, 3), (9, 9), 1, 1),
    "wide image": image_of(SMALL, (3, 3, 3), (9, 65), 1, 1),
    "no rows": image_of(SMALL, (3, 3, 3), (9, 9), 1, 1, rows=0),
    "no stride": image_of(SMALL, (3, 3, 3), (9, 9), 1, 1, stride_x=0),
    "image offset": image_of(SMALL, (3, 3, 3), (9, 9), 1, 1, offset=4),
    "window": image_of(SMALL, (3, 3, 3), (9, 9), 1, 1, patch_words=5),
    "no window": image_of(SMALL, (3, 3, 3), (9, 9), 1, 1, kernel_x=0),
    "unwanted windows": image_of(SMALL, (3, 3, 3), (9, 9), 1, 1),
    "no row tiles": Conv(tiles=0, weight_beats=3),
    "core": Max(kernel_y=255, rows=3),
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_an_illegal_field_is_refused(healthy: Work, name: str) -> None:
    refused(healthy, program_of([Load(**COPY), ILLEGAL[name]]), 4, 2)


@pytest.mark.parametrize("waits", [Waits(load=2), Waits(store=1), Waits(compute=1)])
def test_a_count_of_what_comes_later_is_refused(healthy: Work, waits: Waits) -> None:
    refused(healthy, program_of([Load(**COPY), Store(**COPY), Load(**COPY)], [Waits(), waits, Waits()]), 4, 2)


@pytest.mark.parametrize("damage", ["word", "checksum", "one beat less", "one beat more", "one tile more", "no beats"])
def test_wrong_weights_are_refused(healthy: Work, damage: str) -> None:
    convolution = healthy.operations[5]
    assert isinstance(convolution, Conv)
    parts = [bytearray(p) for p in healthy.parts]
    if damage == "word":
        parts[1][8 * (convolution.weight_beat + convolution.weight_beats - 1)] ^= 1
    changed = {
        "word": {},
        "checksum": {"weight_checksum": convolution.weight_checksum ^ 1},
        "one beat less": {"weight_beats": convolution.weight_beats - 1},
        "one beat more": {"weight_beats": convolution.weight_beats + 1},
        "one tile more": {"tiles": convolution.tiles + 1},
        "no beats": {"weight_beats": 0},
    }[damage]
    operations = list(healthy.operations)
    operations[5] = replace(convolution, **changed)
    engine = engine_of(SMALL)
    engine.reset_told()
    engine.start(assembled(SMALL, operations), [bytes(p) for p in parts], 0, healthy.input, healthy.output_size, ROUGH)
    assert engine.cycles(MOST_CYCLES) < MOST_CYCLES
    status = engine.read(Register.STATUS)
    assert (status & 7, status >> 8 & 0xFF, status >> 16) == (ERROR, 5, 6)
    assert engine.bus_idle
    assert not engine.violation
    recovered(healthy)


@pytest.mark.parametrize("burst", [0, 1, 5, 40])
@pytest.mark.parametrize(("port", "code"), [(Port.READ, 6), (Port.WRITE, 7), (Port.WEIGHTS, 6), (Port.WEIGHTS + 2, 6)])
def test_an_error_response_stops_the_engine(healthy: Work, port: int, code: int, burst: int) -> None:
    engine = engine_of(SMALL)
    engine.fail(port, burst)
    engine.start(healthy.words(SMALL), healthy.parts, 0, healthy.input, healthy.output_size, ROUGH)
    assert engine.cycles(MOST_CYCLES) < MOST_CYCLES
    status = engine.read(Register.STATUS)
    assert (status & 7, status >> 8 & 0xFF) == (ERROR, code)
    if port == Port.READ:
        assert (status >> 16) == {0: 0, 1: 1}.get(burst, status >> 16)
    if port == Port.WRITE:
        assert status >> 16 == len(healthy.operations)
    assert engine.bus_idle
    assert not engine.violation
    recovered(healthy)


@pytest.mark.parametrize("cycles", [1, 30, 100, 200, 333, 500, 777, *range(1000, 5200, 300)])
def test_an_abort_at_any_time_leaves_it_ready(healthy: Work, cycles: int) -> None:
    engine = engine_of(SMALL)
    engine.reset_told(0.5)
    engine.start(healthy.words(SMALL), healthy.parts, 0, healthy.input, healthy.output_size, ROUGH)
    engine.cycles(cycles)
    engine.write(Register.CONTROL, ABORT)
    assert engine.cycles(2000) < 2000
    status = engine.read(Register.STATUS)
    assert (status & 7, status >> 8 & 0xFF, status >> 16) == (ERROR, 8, 0)
    assert engine.bus_idle
    assert not engine.violation
    written = np.frombuffer(engine.result().output, np.uint8)
    assert np.all((written == 0) | (written == np.frombuffer(healthy.input, np.uint8)))
    recovered(healthy)


# Registers


def test_registers_read_what_was_written() -> None:
    engine = engine_of(SMALL)
    assert engine.read(Register.ID) == 0x494C4D50
    assert engine.read(Register.VERSION) == 1
    assert engine.read(Register.GEOMETRY) == SMALL.geometry_id
    for number in range(4 + SMALL.weight_ports):
        engine.write(Register.PROGRAM_BASE + 4 * number, 0x12345678 + 0x01010101 * number)
    for number in range(4 + SMALL.weight_ports):
        assert engine.read(Register.PROGRAM_BASE + 4 * number) == 0x12345678 + 0x01010101 * number & ~127
    for enable in (1, 0):
        engine.write(Register.INTERRUPT, enable)
        assert engine.read(Register.INTERRUPT) == enable
    assert engine.read(Register.CONTROL) == 0


def test_counters_stand_still_when_done(healthy: Work) -> None:
    found = run(SMALL, healthy, CALM).require()
    engine = engine_of(SMALL)
    steps = sum(k == TOLD_STEP for k, _ in core_was_told(SMALL)) // (2 * SMALL.step_words)
    assert found.counters["STEPS"] == steps
    assert {c.name: engine.read(c) for c in COUNTERS} == found.counters


def test_no_descriptors_are_done_at_once(healthy: Work) -> None:
    found = run(SMALL, Work([], healthy.parts), CALM).require()
    assert found.status == DONE
    assert found.counters["CYCLES"] < 100


def test_no_interrupt_without_its_bit(healthy: Work) -> None:
    engine = engine_of(SMALL)
    engine.start(healthy.words(SMALL), healthy.parts, 0, healthy.input, healthy.output_size, CALM)
    assert engine.read(Register.STATUS) & BUSY
    engine.write(Register.INTERRUPT, 0)
    assert engine.cycles(20_000) == 20_000
    assert engine.read(Register.STATUS) == DONE
    engine.write(Register.INTERRUPT, 1)
    assert engine.cycles(1) == 0
