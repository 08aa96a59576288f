"""Canonical form computes what the raw graph computes, and each rewrite does what its name says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilmpq.canonical import canonical
from ilmpq.errors import ModelError
from ilmpq.forward import forward
from ilmpq.graph import Graph, Node, Op, OutputStatistics, Parameters, Window

BN, RELU = Op.BATCH_NORM, Op.RELU


@dataclass
class Sketch:
    """A raw graph in few words: each method adds a node behind `at` (the newest if not given) and returns its name."""

    shape: tuple[int, int, int] = (4, 8, 8)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    nodes: list[Node] = field(default_factory=lambda: [Node("input", Op.INPUT)])
    parameters: dict[str, Parameters] = field(default_factory=dict)
    statistics: dict[str, OutputStatistics] = field(default_factory=dict)

    def graph(self) -> Graph:
        return Graph("sketch", self.shape, tuple(self.nodes), self.parameters, self.statistics)

    def size(self, name: str) -> tuple[int, ...]:
        return self.graph().shapes[name]

    def put(self, name: str, op: Op, *at: str, **fields: object) -> str:
        self.nodes.append(Node(name, op, at or (self.nodes[-1].name,), **fields))  # type: ignore[arg-type]
        return name

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape, dtype=np.float32)

    def conv(
        self, name: str, rows: int, kernel: int = 3, at: str | None = None, stride: int = 1, groups: int = 1
    ) -> str:
        at = at or self.nodes[-1].name
        width = self.size(at)[0] // groups
        weight = self.normal(rows, width, kernel, kernel) / np.float32(np.sqrt(width) * kernel)
        self.parameters[name] = Parameters(weight, self.normal(rows))
        window = Window((kernel, kernel), (stride, stride), (kernel // 2,) * 4)
        return self.put(name, Op.CONV, at, window=window, groups=groups)

    def linear(self, name: str, rows: int, at: str | None = None) -> str:
        at = at or self.nodes[-1].name
        (width,) = self.size(at)
        self.parameters[name] = Parameters(self.normal(rows, width) / np.float32(np.sqrt(width)), self.normal(rows))
        return self.put(name, Op.LINEAR, at)

    def batch_norm(self, name: str, at: str | None = None) -> str:
        at = at or self.nodes[-1].name
        rows = self.size(at)[0]
        self.parameters[name] = Parameters(self.normal(rows), self.normal(rows))
        self.statistics[name] = OutputStatistics(self.normal(rows), np.abs(self.normal(rows)))
        return self.put(name, BN, at)

    def head(self, at: str | None = None) -> Graph:
        """Close the network with a global pool and a linear layer."""
        self.put("pool", Op.ADAPTIVE_POOL, at or self.nodes[-1].name, window=Window((1, 1)))
        self.put("flat", Op.FLATTEN)
        self.linear("fc", 3)
        return self.graph()


def check(raw: Graph) -> Graph:
    """Canonicalise and compare outputs; the canonical graph must be its own canonical form."""
    done = canonical(raw)
    x = torch.randn(2, *raw.input_shape, generator=torch.Generator().manual_seed(1))
    a, b = forward(raw, x), forward(done, x)
    # Folding changes the order of float32 roundings, so results agree to some 1e-6 of the largest tensor value on the
    # way; random networks amplify that a little.
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * max(1.0, float(a.abs().max())))
    again = canonical(done)
    assert again.nodes == done.nodes
    for name, values in done.parameters.items():
        np.testing.assert_array_equal(again.parameters[name].weight, values.weight)
        np.testing.assert_array_equal(again.parameters[name].bias, values.bias)
    assert set(done.statistics) <= {n.name for n in done.weighted}
    return done


def names(graph: Graph) -> list[str]:
    return [n.name for n in graph.nodes]


# --- the property ----------------------------------------------------------------------------------------------------


@st.composite
def sketches(draw: st.DrawFn) -> Graph:
    """A random raw network: every op of the language, branches, several readers, shared and doubled operands."""
    s = Sketch(rng=np.random.default_rng(draw(st.integers(0, 99))))
    images = ["input"]
    for i in range(draw(st.integers(1, 9))):
        at = draw(st.sampled_from(images[-4:]))
        shape = s.size(at)
        same = [n for n in images if s.size(n) == shape]
        kind = draw(
            st.sampled_from(
                ("conv", "conv", "bn", "bn", "relu", "relu6", "add", "add", "concat", "max", "avg", "sub", "id", "ada")
            )
        )
        name = f"n{i}"
        match kind:
            case "conv":
                stride = 2 if shape[1] > 3 and draw(st.booleans()) else 1
                groups = draw(st.sampled_from([g for g in (1, 2, shape[0]) if shape[0] % g == 0]))
                s.conv(name, shape[0], draw(st.sampled_from((1, 3))), at, stride, groups)
            case "bn":
                s.batch_norm(name, at)
            case "relu" | "relu6":
                s.put(name, RELU, at, relu_max=1.5 if kind == "relu6" else None)
            case "add":
                s.put(name, Op.ADD, at, draw(st.sampled_from(same)))
            case "concat":
                s.put(name, Op.CONCAT, at, draw(st.sampled_from(same)))
            case "max" | "avg":
                op = Op.MAX_POOL if kind == "max" else Op.AVG_POOL
                count_pad = draw(st.booleans()) or op is Op.MAX_POOL
                s.put(name, op, at, window=Window((3, 3), (2, 2), (1, 1, 1, 1)), count_pad=count_pad)
            case "sub":
                s.put(name, Op.SUBSAMPLE, at, window=Window((1, 1), (2, 2)), channels_before=1, channels_after=1)
            case "id":
                s.put(name, Op.IDENTITY, at)
            case "ada":
                sizes = [v for v in (1, 2, 4, 8) if shape[1] % v == 0]
                size = draw(st.sampled_from(sizes))
                s.put(name, Op.ADAPTIVE_POOL, at, window=Window((size, size)))
        images.append(name)
    if draw(st.booleans()):
        return s.head(images[-1])
    size = draw(st.integers(1, 5))
    s.put("pool", Op.ADAPTIVE_POOL, images[-1], window=Window((size, size)))
    s.put("flat", Op.FLATTEN)
    if draw(st.booleans()):
        s.put("dropout", Op.IDENTITY)
    for tail in draw(st.lists(st.sampled_from(("linear", "bn", "relu", "branch")), max_size=4)):
        match tail:
            case "linear":
                s.linear(f"v{len(s.nodes)}", 5)
            case "bn" if s.nodes[-1].op is Op.LINEAR:
                s.batch_norm(f"v{len(s.nodes)}")
            case "relu" if s.nodes[-1].op in (Op.LINEAR, BN, Op.ADD):
                s.put(f"v{len(s.nodes)}", RELU)
            case "branch" if s.nodes[-1].op in (Op.LINEAR, RELU) and s.size(s.nodes[-1].name) == (5,):
                at = s.nodes[-1].name
                linear = s.linear(f"v{len(s.nodes)}", 5, at)
                s.put(f"v{len(s.nodes)}", Op.ADD, linear, at)
    s.linear("last", 3)
    return s.graph()


@settings(max_examples=150, deadline=None)
@given(sketches())
def test_canonical_form_computes_the_same(raw: Graph) -> None:
    check(raw)


# --- one test per rewrite --------------------------------------------------------------------------------------------


def test_batch_norm_folds_and_leaves_its_statistics_with_the_layer() -> None:
    s = Sketch()
    s.conv("conv1", 6)
    s.batch_norm("bn1")
    s.put("relu1", RELU)
    raw = s.head()
    done = check(raw)
    assert names(done) == ["input", "conv1", "pool", "flat", "fc"]
    assert done["conv1"].relu
    np.testing.assert_array_equal(done.statistics["conv1"].mean, raw.statistics["bn1"].mean)


def test_second_batch_norm_replaces_the_statistics() -> None:
    s = Sketch()
    s.conv("conv1", 6)
    s.batch_norm("a")
    s.batch_norm("b")
    raw = s.head()
    np.testing.assert_array_equal(check(raw).statistics["conv1"].mean, raw.statistics["b"].mean)


def test_batch_norm_without_a_layer_becomes_a_depthwise_convolution() -> None:
    s = Sketch()
    s.put("mp", Op.MAX_POOL, window=Window((2, 2), (2, 2)))
    s.batch_norm("norm")
    s.put("relu", RELU)
    done = check(s.head())
    assert done["norm"].op is Op.CONV
    assert done["norm"].groups == 4
    assert done["norm"].relu


def test_shared_convolution_keeps_its_output_unclipped() -> None:
    s = Sketch()
    s.conv("conv1", 4)
    s.put("relu", RELU)
    s.put("sum", Op.ADD, "conv1", "relu")
    done = check(s.head())
    assert not done["conv1"].relu
    assert done["relu"].groups == 4
    assert done["sum"].inputs == ("relu", "conv1")


def test_addition_goes_to_the_deeper_layer_whatever_the_order() -> None:
    for order in (("deep", "short"), ("short", "deep")):
        s = Sketch()
        s.conv("first", 4)
        s.conv("deep", 4)
        s.conv("short", 4, at="input")  # comes after `deep` in the list, but is less deep
        s.put("sum", Op.ADD, *order)
        s.put("relu", RELU)
        done = check(s.head())
        assert done["deep"].skip == "short"
        assert done["deep"].relu
        assert names(done).index("short") < names(done).index("deep")


def test_addition_without_a_layer_becomes_an_identity_convolution() -> None:
    s = Sketch()
    s.put("a", RELU)
    s.put("m", Op.MAX_POOL, "a", window=Window((3, 3), (1, 1), (1, 1, 1, 1)))
    s.put("sum", Op.ADD, "a", "m")
    done = check(s.head())
    assert done["sum"].inputs == ("m", "a")
    assert (done.parameters["sum"].weight == 1).all()


def test_chain_of_additions_and_doubling() -> None:
    s = Sketch()
    for i in range(3):
        s.conv(f"c{i}", 4, at="input")
    s.put("s1", Op.ADD, "c0", "c1")
    s.put("s2", Op.ADD, "s1", "c2")
    s.put("twice", Op.ADD, "s2", "s2")
    done = check(s.head())
    assert [n.name for n in done.weighted] == ["c0", "c1", "c2", "twice", "fc"]
    assert [done[f"c{i}"].skip for i in range(3)] == [None, "c0", "c1"]


def test_doubled_convolution_doubles_its_weights() -> None:
    s = Sketch()
    s.conv("c", 4)
    s.put("twice", Op.ADD, "c", "c")
    raw = s.head()
    np.testing.assert_array_equal(check(raw).parameters["c"].weight, 2 * raw.parameters["c"].weight)


def test_relu_moves_before_pools_flattening_and_concatenation() -> None:
    s = Sketch()
    s.conv("a", 4)
    s.conv("b", 4, at="input")
    s.put("cat", Op.CONCAT, "a", "b")
    s.put("mp", Op.MAX_POOL, window=Window((2, 2), (2, 2)))
    s.put("flat", Op.FLATTEN)
    s.put("relu", RELU, relu_max=6.0)
    s.linear("fc", 3)
    done = check(s.graph())
    assert names(done) == ["input", "a", "b", "cat", "mp", "flat", "fc"]
    assert done["a"].relu
    assert done["b"].relu_max == 6.0


def test_repeated_relu_keeps_the_lower_top() -> None:
    s = Sketch()
    s.conv("c", 4)
    s.put("r1", RELU, relu_max=6.0)
    s.put("r2", RELU)
    s.put("r3", RELU, relu_max=1.0)
    assert check(s.head())["c"].relu_max == 1.0


@pytest.mark.parametrize(("size", "op"), [(8, None), (4, Op.AVG_POOL), (1, Op.AVG_POOL), (3, None), (10, None)])
def test_adaptive_pool_is_dropped_divided_or_folded(size: int, op: Op | None) -> None:
    s = Sketch()
    s.conv("c", 4)
    s.put("pool", Op.ADAPTIVE_POOL, window=Window((size, size)))
    s.put("flat", Op.FLATTEN)
    s.put("dropout", Op.IDENTITY)
    s.linear("fc", 3)
    done = check(s.graph())
    assert done.by_name.get("pool", Node("", Op.IDENTITY)).op is (op or Op.IDENTITY)


def test_adaptive_pool_that_cannot_be_folded_is_named() -> None:
    s = Sketch()
    s.put("regions", Op.ADAPTIVE_POOL, window=Window((3, 3)))
    s.conv("c", 4)
    with pytest.raises(ModelError, match=r"regions output size 3×3 must divide its input size 8×8.*--input-shape"):
        canonical(s.head())


def test_batch_norm_of_a_vector_folds_backward_or_forward() -> None:
    s = Sketch()
    s.put("flat", Op.FLATTEN)
    s.linear("l1", 5)
    s.batch_norm("b1")
    s.put("r1", RELU)
    s.batch_norm("b2")
    s.linear("l2", 3)
    done = check(s.graph())
    assert names(done) == ["input", "flat", "l1", "l2"]
    assert list(done.statistics) == ["l1"]


def test_vector_that_needs_a_layer_of_its_own_is_refused_by_name() -> None:
    s = Sketch()
    s.put("flat", Op.FLATTEN)
    s.linear("l1", 5)
    s.put("r", RELU)
    s.put("sum", Op.ADD, "l1", "r")
    s.linear("l2", 3)
    with pytest.raises(ModelError, match=r"\((add|relu) of a vector\) must follow a linear layer"):
        canonical(s.graph())


def test_dead_nodes_and_missing_biases() -> None:
    s = Sketch()
    s.conv("dead", 4)
    s.conv("live", 4, at="input")
    raw = s.head()
    values = raw.parameters["live"]
    bare = replace(raw, parameters={**raw.parameters, "live": Parameters(values.weight, np.zeros(0, np.float32))})
    done = canonical(bare)
    assert "dead" not in done.by_name
    assert "dead" not in done.parameters
    np.testing.assert_array_equal(done.parameters["live"].bias, np.zeros(4, np.float32))


def test_folding_that_overflows_is_a_model_error() -> None:
    s = Sketch()
    s.conv("conv1", 4)
    s.batch_norm("bn1")
    raw = s.head()
    huge = Parameters(np.full(4, 3e38, np.float32), np.zeros(4, np.float32))
    with pytest.raises(ModelError, match=r"conv1 (weight|bias) must be finite"):
        canonical(replace(raw, parameters={**raw.parameters, "bn1": huge}))
