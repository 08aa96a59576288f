"""A whole compiled network on the RTL engine: what goes wrong is reported, the bus is left at rest, the next run is exact."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from engine_configs import SMALL

from accel.engine.compile import compile_program
from accel.engine.descriptor import WORDS, Average, Conv, Load, Max, Store, checksum
from accel.engine.descriptor import Image as Unrolled
from accel.engine.image import EngineImage
from accel.engine.result import DONE, ERROR
from accel.engine.rtl_engine import ABORT, Port, Register, RtlEngine, Timing
from ilmpq.graph import Graph, Node, Op
from ilmpq.integer import Executor
from ilmpq.lower import lower
from ilmpq.node import Window
from ilmpq.placeholder import placeholder
from ilmpq.program import Program
from ilmpq.schemes import BY_NAME

SIZE = 4, 104
CALM = Timing(latency=10)
ROUGH = Timing(latency=45, bytes_per_cycle=6.0, stall=0.4, words_first=0.5, seed=5)
MOST_CYCLES = 60_000  # of a whole run
MOST_AFTER_ABORT = 2_000  # until the last response came
GEOMETRY, CHECKSUM, ILLEGAL, WEIGHTS, READ, WRITE, ABORTED = range(2, 9)


def network() -> Program:
    """A residual sum and every other kind of layer; wide, so that a tensor must be kept outside of SMALL."""
    narrow = Window((1, 3), (1, 1), (0, 1, 0, 1))
    wide = Window((3, 3), (1, 1), (1, 1, 1, 1))
    nodes = (
        Node("input", Op.INPUT),
        Node("first", Op.CONV, ("input",), wide, relu=True),
        Node("pool", Op.MAX_POOL, ("first",), wide),
        Node("a1", Op.CONV, ("pool",), narrow, relu=True),
        Node("a2", Op.CONV, ("a1", "first"), narrow, relu=True),
        Node("mean", Op.AVG_POOL, ("a2",), Window(SIZE)),
        Node("flatten", Op.FLATTEN, ("mean",)),
        Node("fc", Op.LINEAR, ("flatten",)),
    )
    graph = Graph("wide", (3, *SIZE), nodes)
    object.__setattr__(graph, "_rows", {"first": 16, "a1": 16, "a2": 16, "fc": 4})
    ratio = {BY_NAME[name].ident: share for name, share in (("pot4", 60.0), ("fix4", 35.0), ("fix8", 5.0))}
    return lower(placeholder(Graph.from_json(graph.to_json()), np.random.default_rng(0), 4, ratio))


@dataclass
class Network:
    """It compiled, one image, and the output region that it must give."""

    program: Program
    image: EngineImage
    engine: RtlEngine
    given: bytes
    output: bytes = b""

    def descriptors(self, *kinds: type) -> list[int]:
        """Their indices, from 1 on."""
        known = {kind.KIND for kind in kinds}
        return [i for i, word in enumerate(self.image.words[WORDS::WORDS], 1) if not kinds or word & 15 in known]

    def start(self, timing: Timing, words: list[int] | None = None, parts: list[bytes] | None = None) -> None:
        image = self.image
        own = [part.tobytes() for part in image.weights]
        self.engine.start(
            words or list(image.words), parts or own, image.scratch_bytes, self.given, image.output_bytes, timing
        )

    def refused(
        self, timing: Timing, words: list[int] | None = None, parts: list[bytes] | None = None
    ) -> tuple[int, int]:
        """Code and descriptor of the error that a run must end with; then all is as if it had not been."""
        self.start(timing, words, parts)
        assert self.engine.cycles(MOST_CYCLES) < MOST_CYCLES
        return self.stopped()

    def stopped(self) -> tuple[int, int]:
        status = self.engine.read(Register.STATUS)
        assert status & 7 == ERROR
        assert self.engine.bus_idle
        assert not self.engine.violation
        for port in range(Port.WEIGHTS + SMALL.weight_ports):
            self.engine.fail(port, -1)
        self.start(CALM)
        assert self.engine.cycles(MOST_CYCLES) < MOST_CYCLES
        found = self.engine.result()
        assert found.status == DONE
        assert found.output == self.output
        return status >> 8 & 0xFF, status >> 16


@pytest.fixture(scope="module")
def small() -> Network:
    """Its output, with a calm and with a rough memory, equals the reference's."""
    program = network()
    image = compile_program(program, SMALL)
    codes = np.random.default_rng(1).integers(-127, 128, (3, *SIZE))
    made = Network(program, image, RtlEngine(SMALL), image.encode_input(codes).tobytes())
    assert all(made.descriptors(kind) for kind in (Load, Store, Conv, Max, Average, Unrolled))
    expected = Executor(program)(torch.from_numpy(codes[None].astype(np.int8)))[0].numpy()
    for timing in (CALM, ROUGH):
        made.start(timing)
        assert made.engine.cycles(MOST_CYCLES) < MOST_CYCLES
        made.output = made.engine.result().require().output
        found = image.decode_output(np.frombuffer(made.output, np.uint8))
        np.testing.assert_array_equal(found.reshape(-1), expected.reshape(-1))
    return made


def with_checksum(words: list[int]) -> list[int]:
    words[4] = checksum(words[WORDS:])
    return words


@pytest.mark.parametrize("burst", [0, 1, 4, 15, 30, 50])
def test_an_error_response_to_a_read_names_who_reads(small: Network, burst: int) -> None:
    small.engine.fail(Port.READ, burst)
    code, descriptor = small.refused(ROUGH)
    assert code == READ
    if burst == 0:
        assert descriptor == 0
    elif burst > len(small.descriptors()) + 1:
        assert descriptor in small.descriptors(Load, Unrolled)
    else:
        assert descriptor in small.descriptors()


@pytest.mark.parametrize("burst", [0, 3, 17, 28])
def test_an_error_response_to_a_write_names_the_store(small: Network, burst: int) -> None:
    small.engine.fail(Port.WRITE, burst)
    code, descriptor = small.refused(ROUGH)
    assert code == WRITE
    assert descriptor in small.descriptors(Store)
    assert burst or descriptor == small.descriptors(Store)[0]


@pytest.mark.parametrize("burst", [0, 1, 5, 11])
@pytest.mark.parametrize("port", [Port.WEIGHTS + p for p in range(SMALL.weight_ports)])
def test_an_error_response_to_weights_names_the_convolution(small: Network, port: int, burst: int) -> None:
    small.engine.fail(port, burst)
    code, descriptor = small.refused(ROUGH)
    assert code == READ
    assert descriptor in small.descriptors(Conv)
    assert burst or descriptor == small.descriptors(Conv)[0]


def test_an_abort_at_any_time_leaves_it_ready(small: Network) -> None:
    """Many of them with transfers under way, at every port."""
    small.start(ROUGH)
    length = small.engine.cycles(MOST_CYCLES)
    busy = 0
    for cycle in range(1, length, length // 40):
        small.start(replace(ROUGH, seed=cycle))
        if small.engine.cycles(cycle) < cycle:
            continue
        busy += not small.engine.bus_idle
        small.engine.write(Register.CONTROL, ABORT)
        assert small.engine.cycles(MOST_AFTER_ABORT) < MOST_AFTER_ABORT
        assert small.stopped() == (ABORTED, 0)
    assert busy > 10


def test_a_wrong_checksum_of_the_descriptors_is_error_3(small: Network) -> None:
    """Whatever was done before it was known; the bits that are changed mean nothing."""
    changed = list(small.image.words)
    changed[4] ^= 1
    assert small.refused(ROUGH, changed) == (CHECKSUM, 0)
    for index in small.descriptors()[::3]:
        changed = list(small.image.words)
        changed[WORDS * index] ^= 1 << 5
        assert small.refused(CALM, changed) == (CHECKSUM, 0)


def test_a_changed_bit_of_the_weights_stops_the_first_convolution_that_reads_it(small: Network) -> None:
    """By the checksum, or earlier by what became illegal."""
    rng = np.random.default_rng(2)
    words = np.array(small.image.words).reshape(-1, WORDS)
    for _ in range(12):
        parts = [part.copy() for part in small.image.weights]
        part, beat = int(rng.integers(len(parts))), int(rng.integers(len(parts[0])))
        parts[part][beat] ^= np.uint64(1 << int(rng.integers(64)))
        reads = [i for i in small.descriptors(Conv) if 0 <= beat - words[i, 29] < words[i, 30]]
        code, descriptor = small.refused(ROUGH, parts=[p.tobytes() for p in parts])
        assert code in (ILLEGAL, WEIGHTS)
        assert descriptor == reads[0]


def test_an_image_for_another_engine_is_error_2(small: Network) -> None:
    other = compile_program(small.program, replace(SMALL, table_depth=2 * SMALL.table_depth))
    parts = [part.tobytes() for part in other.weights]
    assert small.refused(ROUGH, list(other.words), parts) == (GEOMETRY, 0)


def test_an_illegal_field_of_any_descriptor_is_error_4_there(small: Network) -> None:
    for index in small.descriptors():
        changed = list(small.image.words)
        kind = changed[WORDS * index] & 15
        if kind in (Load.KIND, Store.KIND):  # no such region
            changed[WORDS * index] |= 3 << 8
        else:  # no rows of outputs or windows
            changed[WORDS * index + (5 if kind == Unrolled.KIND else 9)] &= ~0xFFFF
        assert small.refused(CALM if index % 2 else ROUGH, with_checksum(changed)) == (ILLEGAL, index)
