"""The HLS engine equals the numpy engine on every byte, and refuses what is not legal with the right code and place."""

import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from backends import Frame, numpy_sums, random_frame
from backends import HlsSplitArray as PackedArray
from engine_programs import assembled, random_codes, random_program, tile_beats
from engine_reference import Reference, Refused, Result, Slot
from networks import NIGHTLY
from test_hls import AXI, STREAM

from accel.engine.config import EngineConfig
from accel.engine.descriptor import Average, Conv, Image, Load, Max, Mode, Region, Store, Waits, checksum, header
from accel.engine.hls_engine import HlsEngine, config_source
from accel.engine.result import DONE, ERROR
from accel.hls import SOURCES, headers
from ilmpq.errors import InvariantError
from ilmpq.geometry import Geometry


def config(arrays, tk, tp, act_bits=4, acc_bits=32, **sizes):
    """Small memories, so that rings and tables are full at times."""
    small = {"am_depth": 384, "ring_depth": 64, "table_depth": 64, "weight_ports": 1}
    return EngineConfig(Geometry.parse(arrays, tk, tp, act_bits, acc_bits), **(small | sizes)).verify()


SMALL = config("pot4@lut:4, fix4@dsp:2, fix8@dsp:2", tk=8, tp=4, table_depth=16)
CONFIGURATIONS = {
    "small": SMALL,
    "XC7Z020": config("pot4@lut:22, fix4@dsp:8, fix8@dsp:2", tk=16, tp=4, acc_bits=24, weight_ports=3),
    "PoT3, 6 positions": config("pot3@lut:26, fix4@dsp:4, fix8@dsp:2", tk=16, tp=6, weight_ports=2),
    "5 bits": config("pot3@lut:4, fix4@dsp:4", tk=12, tp=4, act_bits=5),
    "6 bits, ternary": config(
        "fix4@dsp:4, fix3@lut:1, fix2@lut:1", tk=8, tp=4, act_bits=6, acc_bits=16, weight_ports=4
    ),
    "7 bits": config("pot4@lut:2, fix4@dsp:2, fix8@lut:2", tk=8, tp=4, act_bits=7),
    "8 bits, pairs of positions": config("fix8@dsp:3, fix4@dsp:3", tk=4, tp=4, act_bits=8),
    "8 positions, Fixed4": config("fix4@lut:2, fix4@dsp:6", tk=32, tp=8, weight_ports=2),
}
EXAMPLE = EngineConfig(Geometry.parse("pot4@lut:22, fix4@dsp:8, fix8@dsp:2", tk=16, tp=4, acc_bits=24))
PROGRAMS = 1000 if NIGHTLY else 40


def reference(program, settings):
    """A numpy engine with the program's memories."""
    regions = {
        Region.SCRATCH: bytearray(program.scratch_size),
        Region.INPUT: bytearray(program.input),
        Region.OUTPUT: bytearray(program.output_size),
    }
    return Reference(settings, regions, program.weight_parts)


def given(program):
    return program.words, program.weight_parts, program.scratch_size, program.input, program.output_size


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
    words = tile_beats(engine.config, 0, 1, [], frame.codes)[1:].reshape(steps, -1)
    act = frame.act.reshape(frame.passes, g.tp, steps, g.tk).transpose(0, 2, 1, 3).reshape(-1, g.tp, g.tk)
    return engine.sums(np.tile(words, (frame.passes, 1)), act.astype(np.uint8), second=steps)


# What is refused. A convolution that runs, and what each other operation needs to run after it.
RESULT = Result(bias=3, multiplier=5, row=0, valid=1, residual=0, lane=0)
SLOT = Slot(RESULT, replace(RESULT, row=1, lane=1), group=1, residual_group=0, even_lane=0, odd_lane=1)
SHAPE = {
    "mode": Mode.BYTE,
    "source_pitch": 4,
    "source_stride": 4,
    "height": 4,
    "width": 4,
    "kernel_y": 2,
    "kernel_x": 2,
    "dilation_y": 1,
    "dilation_x": 1,
    "stride_y": 1,
    "stride_x": 1,
    "rows": 3,
    "columns": 3,
    "target_base": 50,
    "target_stride": 4,
    "target_pitch": 4,
    "high": 255,
    "tiles": 1,
    "pad_code": 3,
}


def weights(settings=SMALL, tiles=1, slots=(SLOT,), groups=1, steps=4):
    """Row tiles of random weights: beats × ports."""
    rng = np.random.default_rng(1)
    each = [tile_beats(settings, 0, groups, list(slots), random_codes(settings, steps, rng)) for _ in range(tiles)]
    return np.concatenate(each)


def conv(beats=None, **changes):
    beats = weights() if beats is None else beats
    total = checksum([int(w) for w in beats.reshape(-1).view("<u4")])
    return Conv(**(SHAPE | {"weight_beats": len(beats), "weight_checksum": total} | changes))


PATCH_WORDS = -(-27 // 8)
PATCHES = {"image": 1, "patch_words": PATCH_WORDS, "rows": 4, "columns": 4, "position_outer": 1}
IMAGE = Image(
    region=Region.INPUT,
    height=4,
    width=4,
    rows=4,
    columns=4,
    kernel_y=3,
    kernel_x=3,
    stride_y=1,
    stride_x=1,
    channels=3,
    patch_words=PATCH_WORDS,
)
MAX = Max(**SHAPE)
AVERAGE = Average(**SHAPE, multiplier=1)
LOAD = Load(region=Region.INPUT, words_per_run=2, runs=2, am_stride=2, stride=64)
STORE = Store(region=Region.OUTPUT, words_per_run=2, runs=2, am_stride=2, stride=64)


def outcome(operations, beats=None, words=None, settings=SMALL, cut=0):
    """(code, descriptor) of both engines, which agree."""
    beats = weights(settings) if beats is None else beats
    parts = [beats[: len(beats) - cut, i].tobytes() for i in range(settings.weight_ports)]
    words = assembled(settings, operations) if words is None else words
    found = HlsEngine(settings).run(words, parts, 256, bytes(256), 256)
    machine = Reference(
        settings, {Region.SCRATCH: bytearray(256), Region.INPUT: bytearray(256), Region.OUTPUT: bytearray(256)}, parts
    )
    try:
        machine.run(words)
        expected = (0, 0)
    except Refused as refused:
        expected = (refused.code, refused.index)
    assert (found.error, found.descriptor) == expected
    assert found.status & 7 == (ERROR if found.error else DONE)
    return expected


def test_what_the_refused_ones_are_made_of_runs():
    first_layer = conv(weights(steps=PATCH_WORDS), **PATCHES)
    assert outcome([LOAD, STORE, conv(), MAX, AVERAGE]) == (0, 0)
    assert outcome([LOAD, IMAGE, first_layer], weights(steps=PATCH_WORDS)) == (0, 0)


@pytest.mark.parametrize(
    "operation",
    [
        conv(mode=4),
        conv(positions_less_one=4),
        conv(rows=0),
        conv(columns=0),
        conv(tiles=0),
        conv(height=0),
        conv(width=0),
        conv(kernel_y=0),
        conv(kernel_x=0),
        conv(kernel_y=3),
        conv(dilation_y=0),
        conv(dilation_x=0),
        conv(stride_y=0),
        conv(stride_x=0),
        conv(shift=63),
        conv(logits=1, positions_less_one=1),
        conv(logits=1, target_pair=1),
        conv(source_ring=8, source_row=8),
        conv(target_ring=8, target_row=8),
        conv(residual=1, residual_stride_x=1),
        conv(residual=1, residual_stride_y=1),
        conv(residual=1, residual_stride_x=1, residual_stride_y=1, residual_ring=4, residual_row=4),
        conv(source_base=SMALL.am_depth - 3),
        conv(target_base=SMALL.am_depth - 6),
        conv(**PATCHES),  # there are no windows
        conv(**PATCHES | {"mode": Mode.PAIR}),
        conv(**PATCHES | {"patch_words": 0}),
        conv(**PATCHES | {"position_outer": 0, "tiles": 2}),
        replace(MAX, mode=Mode.NARROWED),
        replace(MAX, logits=1),
        replace(MAX, image=1),
        replace(MAX, residual=1),
        replace(MAX, positions_less_one=2),
        replace(MAX, tiles=0),
        replace(MAX, tiles=200),
        replace(AVERAGE, positions_less_one=1),
        replace(AVERAGE, mode=Mode.TWO_PASS),
        replace(AVERAGE, target_pair=1),
        replace(AVERAGE, target_group=100),
        replace(LOAD, region=3),
        replace(LOAD, offset=4),
        replace(LOAD, stride=12),
        replace(LOAD, runs=0),
        replace(LOAD, words_per_run=0),
        replace(LOAD, am_base=SMALL.am_depth - 3),
        replace(STORE, region=3),
        replace(STORE, am_base=SMALL.am_depth),
        replace(IMAGE, region=3),
        replace(IMAGE, offset=4),
        replace(IMAGE, height=0),
        replace(IMAGE, width=0),
        replace(IMAGE, rows=0),
        replace(IMAGE, columns=0),
        replace(IMAGE, kernel_x=0),
        replace(IMAGE, kernel_x=15),
        replace(IMAGE, kernel_y=2),
        replace(IMAGE, channels=2),
        replace(IMAGE, stride_y=0),
        replace(IMAGE, stride_x=0),
        replace(IMAGE, patch_words=PATCH_WORDS - 1),
        IMAGE,  # nothing takes the windows
    ],
)
def test_illegal_fields_and_addresses_are_error_4(operation):
    assert outcome([LOAD, operation]) == (4, 2)


def test_what_only_4_bit_activations_have_is_refused_with_others():
    settings = CONFIGURATIONS["5 bits"]
    for changes in ({"mode": Mode.PAIR}, {"target_pair": 1, "positions_less_one": 1}):
        assert outcome([conv(weights(settings), **changes)], weights(settings), settings=settings) == (4, 1)


def test_windows_of_another_size_are_refused():
    steps = PATCH_WORDS - 1
    beats = weights(steps=steps)
    assert outcome([IMAGE, conv(beats, **PATCHES | {"patch_words": steps})], beats) == (4, 2)


def test_a_word_that_is_no_descriptor_is_refused():
    for word in (0x5A000001, 0xA5000000, 0xA5000007):
        found = [STORE.words(Waits()), [word] + [0] * 31]
        words = header(SMALL.geometry_id, found) + [w for each in found for w in each]
        assert outcome([], words=words) == (4, 2)


@pytest.mark.parametrize("waits", [Waits(load=2), Waits(store=1), Waits(compute=1), Waits(compute=0x7FFF)])
def test_a_wait_for_what_comes_later_is_refused(waits):
    found = [LOAD.words(Waits()), MAX.words(waits)]
    words = header(SMALL.geometry_id, found) + [w for each in found for w in each]
    assert outcome([], words=words) == (4, 2)


def test_a_program_for_another_engine_is_refused():
    words = assembled(SMALL, [LOAD])
    for place, code in ((0, 1), (1, 1), (2, 2), (4, 3), (32, 3), (63, 3)):
        changed = words.copy()
        changed[place] ^= 1 << 7
        assert outcome([], words=changed) == (code, 0)
    assert outcome([], words=words[:-2]) == (6, 0)


def test_one_wrong_bit_in_the_weight_image_is_error_5():
    beats = weights()
    op = conv(beats)
    for at in range(len(beats)):
        changed = beats.copy()
        changed[at, 0] ^= 1 << (11 * at % 64)
        assert outcome([LOAD, op], changed) == (5, 2)


def test_row_tiles_must_end_with_the_beats():
    beats = weights(tiles=2)
    assert outcome([conv(beats, tiles=2)], beats) == (0, 0)
    assert outcome([conv(beats, tiles=1)], beats) == (5, 1)
    assert outcome([conv(beats, tiles=3)], beats) == (5, 1)
    assert outcome([conv(beats[:-1], tiles=2)], beats) == (5, 1)
    assert outcome([conv(beats, tiles=2)], beats, cut=1) == (6, 1)


def test_what_fits_neither_ring_nor_table_is_refused():
    long = weights(groups=17, steps=68)
    assert outcome([conv(long, source_stride=0, rows=1, columns=1)], long) == (0, 0)  # one position: steps pass through
    assert outcome([conv(long, source_stride=0, rows=1, columns=2)], long) == (4, 1)
    assert outcome([conv(long, source_stride=0, rows=1, columns=2, positions_less_one=1)], long) == (0, 0)
    assert outcome([conv(long, source_stride=0, rows=1, columns=1, mode=Mode.TWO_PASS)], long) == (4, 1)
    assert outcome([conv(long, source_stride=0, rows=1, columns=1, position_outer=1)], long) == (4, 1)
    for count, code in ((16, 0), (17, 4), (0, 4)):
        beats = weights(slots=[SLOT] * count)
        assert outcome([conv(beats)], beats)[0] == code
    for tiles, code in ((4, 0), (5, 4)):
        beats = weights(tiles=tiles, slots=[SLOT] * 4)
        assert outcome([conv(beats, tiles=tiles, position_outer=1)], beats)[0] == code
    beats = weights(tiles=5, slots=[SLOT] * 4)
    assert outcome([conv(beats, tiles=5)], beats) == (0, 0)


def test_slots_that_name_no_row_or_lane_are_refused():
    for half in (replace(RESULT, row=8), replace(RESULT, lane=8)):
        beats = weights(slots=[replace(SLOT, even=half)])
        assert outcome([conv(beats)], beats) == (4, 1)


def test_memory_that_does_not_answer_is_reported():
    size = 256
    assert outcome([replace(LOAD, offset=size)]) == (6, 1)
    assert outcome([LOAD, replace(STORE, offset=size - 64)]) == (7, 2)
    beats = weights(steps=PATCH_WORDS)
    first_layer = conv(beats, **PATCHES)
    assert outcome([LOAD, replace(IMAGE, offset=size - 16), first_layer], beats) == (6, 2)


def test_random_changes_of_one_field_are_treated_alike():
    """Each is refused by both with the same code, or leaves the same memories."""
    engine, rng = HlsEngine(SMALL), np.random.default_rng(3)
    refused = 0
    for _ in range(PROGRAMS * 5):
        program = random_program(SMALL, rng, count=3)
        index = int(rng.integers(1, len(program.operations)))
        words = [program.words[32 * i : 32 * i + 32].tolist() for i in range(1, len(program.operations) + 1)]
        word = int(rng.choice([w for w in range(29) if w not in (9, 26)]))  # not the sizes, which make it slow
        words[index][word] ^= 1 << int(rng.choice([0, 1, 4, 15, 16, 17, 20, 24, 30, 31]))
        program.words = np.array(header(SMALL.geometry_id, words) + [w for each in words for w in each], np.uint32)
        kernel = words[index][8] & 0xFF, words[index][8] >> 8 & 0xFF
        if max(kernel) > 20:
            continue
        machine = reference(program, SMALL)
        found = engine.run(*given(program))
        try:
            machine.run(program.words)
        except Refused as error:
            refused += 1
            assert (found.error, found.descriptor) == (error.code, error.index)
            continue
        assert found.status == DONE
        assert found.output == machine.regions[Region.OUTPUT]
        assert (found.misplaced > 0) == (machine.misplaced > 0)
    assert refused > PROGRAMS // 2


def test_positions_that_share_a_bank_are_noticed():
    beats = weights()
    op = conv(beats, source_pitch=4, target_pitch=4, positions_less_one=3)  # 0 1 2 4: pixels 0 and 4 share a bank
    found = HlsEngine(SMALL).run(assembled(SMALL, [op]), [beats[:, 0].tobytes()], 0, b"", 0)
    assert found.status == DONE
    with pytest.raises(InvariantError, match="positions of a tile must lie in different banks"):
        found.require()


def test_an_error_names_its_descriptor():
    found = HlsEngine(SMALL).run(assembled(SMALL, [LOAD]), [b""], 0, b"", 0)
    with pytest.raises(InvariantError, match="engine descriptor 1 must run: error 6, read response"):
        found.require()


def test_parts_of_the_weight_image_are_counted():
    with pytest.raises(ValueError, match="weight parts must be 1, not 2"):
        HlsEngine(SMALL).run(assembled(SMALL, []), [b"", b""], 0, b"", 0)


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
