"""Operations from shapes alone are those of the compiler; no design is faster than its bound."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from accel.engine.compile import compile_program
from accel.engine.work import works_of
from ilmpq.bound import Designs, lower_bound, rows_in_proportion
from ilmpq.canonical import canonical
from ilmpq.design import EngineConfig
from ilmpq.errors import DoesNotFit, IlmpqError
from ilmpq.geometry import Geometry
from ilmpq.lower import lower
from ilmpq.perf import frame
from ilmpq.placeholder import placeholder
from ilmpq.ratio import Ratio
from ilmpq.rowtiles import holds, tiles_needed
from ilmpq.schemes import BY_NAME
from ilmpq.work import Memory, Unit, machine_of
from ilmpq.workload import rows_in, shapes_of, works_for
from ilmpq.zoo import build


def config(arrays="pot4@lut:22, fix4@dsp:8, fix8@dsp:2", tk=16, tp=4, act_bits=4, **sizes):
    return EngineConfig(
        Geometry.parse(arrays, tk, tp, act_bits, 24), **({"table_depth": 512, "ring_depth": 1024} | sizes)
    ).verify()


def proportion(of):
    """The ratio of an engine's arrays."""
    rows = of.geometry.schemes()
    return Ratio(tuple((scheme, Fraction(100 * n, sum(rows.values()))) for scheme, n in rows.items()))


@cache
def shapes(network, size):
    return shapes_of(canonical(build(network, (3, size, size))))


def compiled(network, size, of, images=1):
    graph = canonical(build(network, (3, size, size), rng=np.random.default_rng(0)))
    ratio = {scheme.ident: float(n) for scheme, n in of.geometry.schemes().items()}
    program = lower(placeholder(graph, np.random.default_rng(1), of.geometry.act_bits, ratio))
    return works_of(compile_program(program, of, images=images), {n.name: graph.macs(n) for n in graph.weighted})


CASES = [
    ("cifar_resnet20", 32, config(), 0.01),
    ("cifar_resnet20", 32, config("pot3@lut:34, fix4@dsp:8, fix8@dsp:2", tp=6), 0.01),
    ("cifar_resnet20", 32, config(am_depth=320, tk=8), 0.02),  # in rings, some outside and back
    ("cifar_resnet20", 32, config("fix4@dsp:40, fix8@dsp:8", act_bits=5, tk=8, tp=8, weight_ports=4), 0.02),
    ("cifar_resnet20", 32, config("pot4@lut:12, fix4@dsp:4, fix8@dsp:4", act_bits=8), 0.02),
    ("squeezenet1_1", 64, config("pot4@lut:44, fix4@dsp:16, fix8@dsp:4", tp=8, am_depth=512), 0.02),
    ("mobilenet_v2", 64, config(am_depth=1024), 0.04),
]


@pytest.mark.parametrize(("network", "size", "of", "near"), CASES)
def test_operations_are_those_of_the_compiler(network, size, of, near):
    """Bands, transfers, tiles of positions and waits exactly; rows of tiles as well as chance allows."""
    real, found = (
        compiled(network, size, of),
        works_for(shapes(network, size), of, rows_in(shapes(network, size), proportion(of))),
    )
    assert [(w.layer, w.unit, w.tiles, w.bytes, w.positions) for w in real] == [
        (w.layer, w.unit, w.tiles, w.bytes, w.positions) for w in found
    ]
    own = {Unit.LOAD: 0, Unit.STORE: 1}
    for a, b in zip(real, found, strict=True):
        queues = [q for q in range(3) if q != own.get(a.unit, 2)]
        assert [a.waits[q] for q in queues] == [b.waits[q] for q in queues], a.layer
        assert (len(a.slots), a.slot_cycles, a.passes, a.together) == (
            len(b.slots),
            b.slot_cycles,
            b.passes,
            b.together,
        )
        assert b.windows == a.windows
        assert b.macs == a.macs
        if network != "mobilenet_v2":
            np.testing.assert_array_equal(a.steps, b.steps)
    for rate in (32.0, 10.0):
        cycles = [frame(works, machine_of(of), Memory(rate)).cycles for works in (real, found)]
        assert cycles[1] == pytest.approx(cycles[0], rel=near)


def test_some_layers_may_have_other_rows():
    """First and last in Fixed8, which only a sixteenth of the rows computes."""
    net, of = shapes("cifar_resnet20", 32), config()
    eight = Ratio.parse("fix8:100")
    rows = rows_in(net, proportion(of), {"conv1": eight, "linear": eight})
    works = {w.layer: w for w in works_for(net, of, rows)}
    assert rows["linear"] == {"fix8": 10}
    assert (len(works["conv1"].slots), len(works["linear"].slots), len(works["layer3.0.conv1"].slots)) == (8, 5, 2)


def test_what_does_not_fit_is_said_as_the_compiler_says_it():
    net = shapes("cifar_resnet20", 32)
    with pytest.raises(DoesNotFit, match="steps, more than the weight ring's 16"):
        works_for(net, config(ring_depth=16), rows_in(net, proportion(config())))
    with pytest.raises(DoesNotFit, match="conv1 has rows of pot3, which no array"):
        works_for(net, config("fix2@lut:8"), rows_in(net, Ratio.parse("pot3:100")))
    with pytest.raises(DoesNotFit, match="words of the activation memory"):
        works_for(net, config(am_depth=20), rows_in(net, proportion(config())))


def test_a_network_of_which_only_shapes_are_wanted_takes_no_memory():
    graph = canonical(build("cifar_resnet20"))
    assert all(not any(graph.parameters[n.name].weight.strides) for n in graph.weighted)


SCHEMES = ("pot4", "fix4", "fix8", "pot3", "fix2")
COUNTS = st.dictionaries(st.sampled_from(SCHEMES), st.integers(0, 40), min_size=1)


@given(COUNTS, COUNTS)
@settings(deadline=None)
def test_tiles_are_the_fewest_to_which_rows_can_be_dealt(rows, room):
    tiles = int(tiles_needed(rows, room))

    def fits(count):
        n, m = len(rows), len(room)
        edges = np.zeros((n + m + 2, n + m + 2), np.int32)
        for i, (scheme, number) in enumerate(rows.items()):
            edges[0, 1 + i] = number
            for j, array in enumerate(room):
                edges[1 + i, 1 + n + j] = number * holds(array, scheme)
        for j, number in enumerate(room.values()):
            edges[1 + n + j, -1] = number * count
        return maximum_flow(csr_array(edges), 0, n + m + 1).flow_value == sum(rows.values())

    if tiles <= sum(rows.values()):
        assert fits(tiles)
        assert tiles == 0 or not fits(tiles - 1)
    else:
        assert not fits(sum(rows.values()))


def test_rows_of_many_designs_are_those_of_their_ratios():
    net = shapes("mobilenet_v2", 64)
    engines = [config(), config("pot4@lut:10, fix4@dsp:2, fix8@dsp:4"), config("pot4@lut:6, fix4@dsp:6, fix8@dsp:6")]
    many = rows_in_proportion(net, Designs.of(engines).rows)
    for place, engine in enumerate(engines):
        expected = rows_in(net, proportion(engine))
        assert {n: {s: int(c[place]) for s, c in r.items()} for n, r in many.items()} == expected
    assert all(BY_NAME[s] for s in many["features.0.0"])


def random_design(rng):
    while True:
        pot = rng.choice(["pot4", "pot3"])
        rows = [(f"{pot}@lut", 14), ("fix4@dsp", 9), ("fix8@dsp", 5)]
        arrays = ", ".join(f"{kind}:{2 * n}" for kind, most in rows if (n := int(rng.integers(0, most))))
        tk, tp, act_bits, ports = (int(rng.choice(x)) for x in ((8, 16, 32), (4, 6, 8, 16), (4, 5, 8), (1, 2, 3, 4)))
        try:
            return config(arrays, tk, tp, act_bits, am_depth=int(rng.choice([1024, 4096])), weight_ports=ports)
        except IlmpqError:
            continue


@pytest.mark.parametrize(("network", "size"), [("cifar_resnet20", 32), ("mobilenet_v2", 64), ("squeezenet1_1", 64)])
@pytest.mark.parametrize("rate", [32.0, 8.0])
def test_no_design_is_faster_than_its_bound(network, size, rate):
    rng = np.random.default_rng(0)
    engines, net = [random_design(rng) for _ in range(12)], shapes(network, size)
    designs = Designs.of(engines)
    least = lower_bound(net, designs, rows_in_proportion(net, designs.rows), Memory(rate))
    fitting = 0
    for engine, bound in zip(engines, least, strict=True):
        try:
            works = works_for(net, engine, rows_in(net, proportion(engine)))
        except IlmpqError:
            continue
        assert bound <= frame(works, machine_of(engine), Memory(rate)).cycles
        fitting += 1
    assert fitting > 6


def test_the_bound_is_near_where_nothing_is_in_the_way():
    net, engines = shapes("cifar_resnet20", 32), [config(), config(tp=8), config("fix4@dsp:16, fix8@dsp:16", tk=8)]
    designs = Designs.of(engines)
    least = lower_bound(net, designs, rows_in_proportion(net, designs.rows), Memory(32))
    for engine, bound in zip(engines, least, strict=True):
        works = works_for(net, engine, rows_in(net, proportion(engine)))
        assert bound > 0.95 * frame(works, machine_of(engine), Memory(32)).cycles


def test_rows_that_can_go_nowhere_have_no_bound():
    net, designs = shapes("cifar_resnet20", 32), Designs.of([config("fix4@dsp:8"), config("fix8@dsp:8")])
    rows = {name: {"fix8": np.full(2, n)} for name, n in net.rows.items()}
    assert np.isinf(lower_bound(net, designs, rows, Memory(32))).tolist() == [True, False]
