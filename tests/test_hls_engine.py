"""The HLS engine equals the numpy engine on every byte, and refuses what is not legal with the right code and place."""

import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from backends import Frame, numpy_sums, random_frame
from backends import HlsSplitArray as PackedArray
from engine_configs import CONFIGURATIONS, SMALL
from engine_programs import assembled, random_program, tile_beats
from engine_reference import READ, WRITE, Reference, Refused
from engine_refusals import (
    CASES,
    FIRST_LAYER,
    IMAGE,
    LOAD,
    STORE,
    WINDOWS,
    Case,
    conv,
    given,
    random_changes,
    reference,
    weights,
)
from networks import NIGHTLY
from test_hls import AXI, STREAM

from accel.engine.descriptor import Region
from accel.engine.hls_engine import HlsEngine, config_source
from accel.engine.result import DONE, ERROR
from accel.hls import SOURCES, headers
from ilmpq.design import EngineConfig
from ilmpq.errors import InvariantError
from ilmpq.geometry import Geometry

EXAMPLE = EngineConfig(Geometry.parse("pot4@lut:22, fix4@dsp:8, fix8@dsp:2", tk=16, tp=4, acc_bits=24))
PROGRAMS = 1000 if NIGHTLY else 40


def check(engine, program):
    """Both run it to the same memories."""
    machine = reference(program, engine.config)
    machine.run(program.words)
    found = engine.run(*given(program)).require()
    assert machine.misplaced == 0
    assert found.output == machine.regions[Region.OUTPUT] == machine.memory.tobytes()
    assert found.scratch == machine.regions[Region.SCRATCH]
    assert found.steps == machine.steps


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_random_programs_leave_the_same_memories(name):
    engine = HlsEngine(CONFIGURATIONS[name])
    rng = np.random.default_rng(len(name))
    for _ in range(PROGRAMS):
        check(engine, random_program(engine.config, rng))


def test_every_descriptor_leaves_the_same_activation_memory():
    engine, rng = HlsEngine(SMALL), np.random.default_rng(5)
    for _ in range(10):
        program = random_program(SMALL, rng)
        machine, run = reference(program, SMALL), engine.start(*given(program))
        for index in range(1, len(program.operations) + 1):
            machine.execute([int(w) for w in program.words[32 * index : 32 * index + 32]])
            assert run.until(index) == (index < len(program.operations))
            assert run.descriptors_done == index
            np.testing.assert_array_equal(run.memory, machine.memory)
        assert run.result().output == machine.regions[Region.OUTPUT]


@pytest.mark.parametrize("name", ["small", "5 bits"])
def test_the_arrays_themselves_give_what_plain_integers_give(name):
    """The whole engine on packed words, as it is synthesised."""
    engine = HlsEngine(CONFIGURATIONS[name], packed=True)
    rng = np.random.default_rng(7)
    for _ in range(5):
        check(engine, random_program(engine.config, rng, kinds="CI"))


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("extreme", [False, True])
def test_plain_integers_give_the_sums_of_the_packed_arrays(name, passes, extreme):
    settings = CONFIGURATIONS[name]
    g, rng = settings.geometry, np.random.default_rng(passes)
    plain, packed = HlsEngine(settings), PackedArray(g)
    mask = 2**g.acc_bits - 1
    for steps in (1, 7, 40):
        frame = random_frame(g, steps, rng, passes, extreme)
        expected = numpy_sums(g, frame)
        np.testing.assert_array_equal(packed.run([frame])[0], expected)
        np.testing.assert_array_equal(plain_sums(plain, frame) & mask, expected & mask)


def plain_sums(engine, frame: Frame):
    """A frame's sums by the engine's own arrays, out of steps of the weight image."""
    g = engine.config.geometry
    steps = frame.codes.shape[1] // g.tk
    size = engine.config.step_words
    words = tile_beats(engine.config, 0, 1, [], frame.codes)[1:].reshape(-1)[: steps * size].reshape(steps, size)
    act = frame.act.reshape(frame.passes, g.tp, steps, g.tk).transpose(0, 2, 1, 3).reshape(-1, g.tp, g.tk)
    return engine.sums(np.tile(words, (frame.passes, 1)), act.astype(np.uint8), second=steps)


# What is refused


def check_status(case):
    """Code and descriptor of both engines are the case's; without an error both leave the same memories."""
    program, parts, scratch_size, given_input, output_size = case.given()
    found = HlsEngine(case.config).run(program, parts, scratch_size, given_input, output_size)
    regions = {
        Region.SCRATCH: bytearray(scratch_size),
        Region.INPUT: bytearray(given_input),
        Region.OUTPUT: bytearray(output_size),
    }
    machine = Reference(case.config, regions, parts)
    expected = (0, 0)
    try:
        machine.run(program)
        assert found.output == regions[Region.OUTPUT]
    except Refused as refused:
        expected = (refused.code, refused.index)
    assert (found.error, found.descriptor) == expected == case.status, case.operations
    assert found.status & 7 == (ERROR if found.error else DONE)


def test_what_is_legal_runs_and_what_is_not_is_refused():
    for case in CASES:
        check_status(case)


def test_memory_that_does_not_answer_is_reported():
    check_status(Case((READ, 1), (replace(LOAD, offset=256),)))
    check_status(Case((WRITE, 2), (LOAD, replace(STORE, offset=192))))
    check_status(Case((READ, 2), (LOAD, replace(IMAGE, offset=240), FIRST_LAYER), WINDOWS))
    check_status(Case((READ, 1), (conv(weights(tiles=2), tiles=2),), weights(tiles=2)[:-1]))
    check_status(Case((READ, 0), words=assembled(SMALL, [LOAD])[:-2]))


def test_random_changes_of_one_field_are_treated_alike():
    """Each is refused by both with the same code, or leaves the same memories."""
    engine = HlsEngine(SMALL)
    refused = 0
    for change in random_changes(SMALL, np.random.default_rng(3), PROGRAMS * 10):
        machine = reference(change.program, SMALL)
        found = engine.run(*given(change.program))
        try:
            machine.run(change.program.words)
        except Refused as error:
            refused += 1
            assert change.allows((error.code, error.index), (found.error, found.descriptor))
            continue
        assert found.status == DONE
        assert found.output == machine.regions[Region.OUTPUT]
        assert (found.misplaced > 0) == (machine.misplaced > 0)
    assert refused > PROGRAMS


def test_positions_that_share_a_bank_are_noticed():
    op = conv(positions_less_one=3)  # 0 1 2 4: pixels 0 and 4 share a bank
    found = HlsEngine(SMALL).run(*Case((0, 0), (op,)).given())
    assert found.status == DONE
    with pytest.raises(InvariantError, match="positions of a tile must lie in different banks"):
        found.require()


def test_an_error_names_its_descriptor():
    found = HlsEngine(SMALL).run(assembled(SMALL, [LOAD]), [b"", b""], 0, b"", 0)
    with pytest.raises(InvariantError, match="engine descriptor 1 must run: error 6, read response"):
        found.require()


def test_parts_of_the_weight_image_are_counted():
    with pytest.raises(ValueError, match="weight parts must be 2, not 1"):
        HlsEngine(SMALL).run(assembled(SMALL, []), [b""], 0, b"", 0)


# What Vitis HLS gets


def test_the_top_function_has_the_example_configuration():
    assert config_source(EXAMPLE) in (SOURCES / "engine_config.hpp").read_text()


@pytest.mark.parametrize("packed", [[], ["-DILMPQ_PACKED"]])
def test_sources_compile_without_warnings(packed, tmp_path):
    flags = ["-std=c++14", "-O1", "-Wall", "-Wextra", "-pedantic", *packed]
    done = compiled(*flags, "-isystem", str(headers()), "-c", "-o", str(tmp_path / "top.o"))
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "warning:" in line and str(SOURCES) in line] == []


def test_pragmas_reach_vitis(tmp_path):
    (tmp_path / "hls_stream.h").write_text(STREAM)
    (tmp_path / "ap_axi_sdata.h").write_text(AXI)
    flags = ["-std=c++14", "-Wno-unknown-pragmas", "-D__SYNTHESIS__", "-DILMPQ_VITIS"]
    flags += [f"-isystem{tmp_path}", f"-isystem{headers()}"]
    text = " ".join(compiled(*flags, "-E").stdout.split())
    assert "#pragma HLS interface s_axilite port=program_base offset=0x18" in text
    assert "#pragma HLS interface m_axi port=weights2 offset=off bundle=weights2" in text
    assert "class StepUnit" in text
    assert "struct PlainLane" not in text
    assert "ILMPQ_" not in re.sub(r'"[^"]*"', "", text)


def compiled(*arguments):
    command = ["g++", *arguments, str(SOURCES / "engine_top.cpp")]
    return subprocess.run(command, capture_output=True, text=True, check=False)
