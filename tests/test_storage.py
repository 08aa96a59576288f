"""Storage formats: who reads a tensor decides its width."""

import pytest
from nets import concat_net, residual_net

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
