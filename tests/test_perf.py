"""The cycle model: what binds a layer, in numbers that were counted by hand, and laws that hold for any work."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilmpq.perf import frame
from ilmpq.work import Machine, Memory, Pace, Unit, Work

MACHINE = Machine(
    macs_per_cycle=2048, ports=3, step_beats=12, slot_beats=1, ring=512, table=128, word_bytes=64, latency=13
)
FAST = Memory(1000, latency=20)


def conv(tiles=100, positions=4, steps=(36, 36), slots=(16, 16), **other):
    return Work(
        "conv", Unit.CONV, tiles=tiles, positions=positions, steps=np.array(steps), slots=np.array(slots), **other
    )


def of(*works, machine=MACHINE, memory=FAST):
    return frame(works, machine, memory)


def extra(work, ideal):
    """Cycles of an operation that comes second, beyond those of its tiles; its weights come while the first computes."""
    found = of(conv(tiles=1000), replace(work, waits=(0, 0, 1)))
    return found.ends[1] - found.ends[0] - ideal


def test_steps_bind():
    assert 50 < extra(conv(), 100 * 72) < 90


def test_results_bind():
    assert 50 < extra(conv(slots=(40, 40)), 100 * 80) < 140
    assert 50 < extra(conv(slots=(20, 20), slot_cycles=2), 100 * 80) < 140


def test_positions_bind():
    assert 30 < extra(conv(steps=(1, 1), slots=(2, 2)), 100 * 8) < 90


def test_weights_bind():
    """One tile of positions, 40 row tiles of 144 steps: all beats must come, of which 512 steps are there already."""
    work = conv(tiles=1, steps=(144,) * 40, slots=(16,) * 40)
    beats = 40 * (144 * 12 + 16 + 1)
    assert beats - 520 * 12 < extra(work, 0) < beats
    slower = of(work, memory=Memory(6, latency=20)).cycles
    assert 3.9 * beats < slower < 4.1 * beats
    assert of(work).layers[0].weights > 0.8 * of(work).cycles


def test_a_deep_ring_brings_the_next_layers_weights():
    works = conv(tiles=1000), conv(tiles=2, steps=(144,) * 10, slots=(8,) * 10, waits=(0, 0, 1))
    shallow, deep = (of(*works, machine=replace(MACHINE, ring=ring)) for ring in (512, 2048))
    assert shallow.layers[0].weights > 9_000
    assert deep.cycles < shallow.cycles - 8_000


def test_slots_bind_the_loader():
    """Without room in the table the next row tile's weights wait, however large the ring."""
    works = conv(tiles=1000), conv(tiles=2, steps=(144,) * 10, slots=(16,) * 10, waits=(0, 0, 1))
    small, large = (of(*works, machine=replace(MACHINE, ring=2048, table=table)) for table in (64, 256))
    assert large.cycles < small.cycles - 5_000


def test_windows_of_an_image_bind():
    image = Work("conv", Unit.IMAGE)
    work = conv(steps=(10, 10), slots=(8, 8), passes=2, together=True, windows=Pace(7.0), bytes=1000)
    assert of(image, work).cycles == pytest.approx(100 * 28, rel=0.15)
    assert of(image, replace(work, windows=Pace(2.0))).cycles == pytest.approx(100 * 20, rel=0.2)


def test_pools_take_their_taps_or_the_results_time():
    pool = Work("pool", Unit.POOL, tiles=100, positions=4, steps=np.array([9, 9]), slots=np.array([8, 8]))
    assert 30 < extra(pool, 100 * 18) < 90
    assert 30 < extra(replace(pool, steps=np.array([4, 4])), 100 * 16) < 90


def test_a_store_holds_up_what_waits_for_it():
    store = Work("store", Unit.STORE, (0, 0, 1), bytes=80_000)
    free, held = (of(conv(), store, conv(waits=(0, stores, 1))) for stores in (0, 1))
    assert held.ends[2] - free.ends[2] == pytest.approx(80_000 / 8 + 30, rel=0.05)
    assert held.layers[0].features == pytest.approx(80_000 / 8 + 30, rel=0.05)


def test_a_store_moves_between_the_results_being_written():
    """While every cycle of the memory's port is taken nothing else can use it."""
    store = Work("store", Unit.STORE, (0, 0, 1), bytes=8_000)
    busy = conv(tiles=200, slots=(36, 36), slot_cycles=1, waits=(0, 0, 1))
    beside, idle = (of(conv(), store, replace(busy, slots=np.array(slots))) for slots in ((36, 36), (4, 4)))
    assert beside.ends[1] > idle.ends[1] + 10_000


def test_busy_is_useful_products_over_possible_ones():
    """Half of the lanes; a pool's time counts only where layers without products do."""
    pool = Work(
        "pool", Unit.POOL, tiles=500, positions=4, steps=np.array([9, 9]), slots=np.array([8, 8]), waits=(0, 0, 1)
    )
    found = of(conv(tiles=1000, macs=1000 * 72 * 1024), pool)
    assert found.busy(convolutions_only=True) == pytest.approx(0.5, rel=0.01)
    assert found.busy() == pytest.approx(0.5 * 72 / 81, rel=0.01)


def test_nothing_is_loaded_before_its_descriptor_is_there():
    load = Work("load", Unit.LOAD, bytes=8)
    assert of(load, memory=Memory(1000, latency=100)).ends[0] > 300


works = st.lists(
    st.builds(
        conv,
        tiles=st.integers(1, 50),
        positions=st.integers(1, 8),
        steps=st.tuples(st.integers(1, 300), st.integers(1, 300)),
        slots=st.tuples(st.integers(1, 32), st.integers(1, 32)),
        slot_cycles=st.sampled_from([1, 2]),
        macs=st.integers(0, 2048),
    ),
    min_size=1,
    max_size=5,
)


@given(works, st.floats(2, 100))
@settings(deadline=None)
def test_laws(found, rate):
    """Nothing is faster than its steps, results or bytes; more memory is never slower; a layer's parts are its whole."""
    memory = Memory(rate)
    result = of(*found, memory=memory)
    assert result.cycles >= sum(w.tiles * w.steps.sum() for w in found)
    assert result.cycles >= sum(w.tiles * w.slots.sum() * w.slot_cycles for w in found)
    beats = sum(12 * w.weight_steps.sum() + w.slots.sum() + 2 for w in found)
    assert result.cycles >= beats * max(1, 24 / rate)
    assert of(*found, memory=Memory(2 * rate)).cycles <= result.cycles
    assert np.all(np.diff(result.ends) > 0)
    parts = [
        f.name for f in fields(result.layers[0]) if f.name in ("compute", "weights", "features", "requantize", "start")
    ]
    for layer in result.layers:
        assert sum(getattr(layer, part) for part in parts) == pytest.approx(layer.cycles)
        assert min(getattr(layer, part) for part in parts) >= -1e-6
    assert result.busy() == pytest.approx(sum(w.macs for w in found) / result.cycles / 2048)


def test_weight_bytes_are_those_of_headers_slots_and_steps():
    assert of(conv()).layers[0].weight_bytes == 2 * (1 + 16 + 36 * 12) * 24
