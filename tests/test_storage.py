"""Storage formats: who reads a tensor decides its width."""

import pytest
from nets import concat_net, residual_net
from networks import shaped

from ilmpq.errors import ModelError
from ilmpq.graph import Node, Op
from ilmpq.node import Window
from ilmpq.storage import TensorFormat, formats, groups, input_layers, layer_bits


def test_residual_tensors_are_wide_and_others_have_the_readers_bits():
    graph = residual_net()
    found = formats(graph, layer_bits(graph, 4))
    assert found == {
        "input": TensorFormat(8, True),
        "conv1": TensorFormat(8, False),  # conv3 adds it
        "conv2": TensorFormat(4, False),
        "conv3": TensorFormat(4, False),
        "depthwise": TensorFormat(4, False),
        "expand": TensorFormat(8, True),  # added through the shortcut; no ReLU
        "grouped": TensorFormat(4, True),
        "project": TensorFormat(8, False),  # only pooled: no array limits it
        "average": TensorFormat(4, False),  # an average of unsigned codes is unsigned
    }


def test_moves_share_their_inputs_group_and_logits_have_no_format():
    graph = concat_net()
    of = groups(graph)
    assert of["left"] == of["right"] == of["join"] == of["pool"] == "left"
    assert "average" not in formats(graph, layer_bits(graph, 4))


def test_the_image_is_read_in_eight_bits_whatever_the_others_read():
    graph = residual_net()
    assert input_layers(graph) == {"conv1"}
    bits = layer_bits(graph, 5, {"fc": 8})
    assert (bits["conv1"], bits["conv2"], bits["fc"]) == (8, 5, 8)
    assert formats(graph, bits)["average"].bits == 8


@pytest.mark.parametrize(
    ("tensor", "low", "high"),
    [(TensorFormat(4, False), 0, 15), (TensorFormat(4, True), -7, 7), (TensorFormat(8, True), -127, 127)],
)
def test_code_ranges(tensor, low, high):
    assert (tensor.low, tensor.high) == (low, high)


def moved(*nodes):
    """A network of the input and nodes without weights, or one convolution `a`."""
    return shaped("net", (3, 8, 8), (Node("input", Op.INPUT), *nodes), {"a": 4} if nodes[0].name == "a" else {})


def test_a_network_that_computes_nothing_is_refused():
    pool = Node("pool", Op.MAX_POOL, ("input",), Window((2, 2), (2, 2)))
    for nodes in ((pool,), (pool, Node("flat", Op.FLATTEN, ("pool",)))):
        expected = f"net must compute something: .* lies between its input and {nodes[-1].name}; add one"
        with pytest.raises(ModelError, match=expected):
            formats(moved(*nodes), {})


def test_an_average_of_what_is_joined_with_the_output_is_refused_by_name():
    nodes = (
        Node("a", Op.CONV, ("input",), Window((1, 1))),
        Node("mean", Op.AVG_POOL, ("a",), Window((1, 1))),
        Node("both", Op.CONCAT, ("a", "mean")),
    )
    with pytest.raises(
        ModelError, match="mean must not average a, which is a part of the output both: end the network"
    ):
        formats(moved(*nodes), {"a": 8})
    last = Node("b", Op.CONV, ("both",), Window((1, 1)))
    graph = shaped("net", (3, 8, 8), (Node("input", Op.INPUT), *nodes, last), {"a": 4, "b": 2})
    assert formats(graph, {"a": 8, "b": 4})["a"].bits == 4
