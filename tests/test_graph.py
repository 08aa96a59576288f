"""The rules of a graph: what a node may have, and that every window of a pool holds a pixel."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import residual_net

from ilmpq.errors import InvariantError, ModelError
from ilmpq.graph import Graph, Node, Op, Window

small = st.integers(1, 5)
pads = st.tuples(*[st.integers(0, 7)] * 4)


@given(st.builds(Window, *[st.tuples(small, small)] * 2, pads, st.tuples(small, small)), small, small)
def test_a_window_always_meets_the_image_if_no_output_position_sees_padding_alone(window, height, width):
    rows, columns = window.output_size(height, width)
    if min(rows, columns) < 1:
        return
    image = np.zeros((height + window.pad[0] + window.pad[2], width + window.pad[1] + window.pad[3]), bool)
    image[window.pad[0] :, window.pad[1] :][:height, :width] = True
    meets = [
        image[
            np.ix_(
                i * window.stride[0] + window.dilation[0] * np.arange(window.kernel[0]),
                j * window.stride[1] + window.dilation[1] * np.arange(window.kernel[1]),
            )
        ].any()
        for i, j in np.ndindex(rows, columns)
    ]
    assert window.always_meets(height, width) == all(meets)


@pytest.mark.parametrize("op", [Op.MAX_POOL, Op.AVG_POOL])
@pytest.mark.parametrize("window", [Window((2, 2), (1, 1), (0, 2, 0, 0)), Window((2, 2), (2, 2), (0, 0, 2, 0))])
def test_a_pool_with_a_window_of_padding_alone_is_named(op, window):
    nodes = (Node("input", Op.INPUT), Node("pool", op, ("input",), window))
    with pytest.raises(ModelError, match="pool must pad so that each of its windows holds a pixel"):
        Graph("padded", (1, 4, 4), nodes).verify()
    Graph("padded", (1, 4, 4), (nodes[0], replace(nodes[1], window=replace(window, pad=(1, 1, 1, 1))))).verify()


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Node("n", Op.FLATTEN, ()), "n .flatten. must not have 0 inputs"),
        (Node("n", Op.MAX_POOL, ("input", "input"), Window((1, 1))), "must not have 2 inputs"),
        (Node("n", Op.MAX_POOL, ("input",)), "must have a window"),
        (Node("n", Op.MAX_POOL, ("input",), Window((1, 1)), count_pad=False), "must not have count_pad"),
        (Node("n", Op.FLATTEN, ("input",), Window((1, 1))), "must not have window"),
        (Node("n", Op.SUBSAMPLE, ("input",), Window((1, 1), (2, 2), (1, 0, 0, 0))), "a window of one pixel"),
        (Node("n", Op.AVG_POOL, ("input",), Window((2, 2), dilation=(2, 1))), "must not be dilated"),
        (Node("", Op.FLATTEN, ("input",)), "node name must be printable and not empty"),
        (Node("a\x1b", Op.FLATTEN, ("input",)), "node name must be printable and not empty"),
        (Node("n", Op.AVG_POOL, ("input",), Window((2, 2)), relu_max=6.0), "must clip from 0"),
    ],
)
def test_a_node_has_the_inputs_and_fields_of_its_operation(node, message):
    with pytest.raises(InvariantError, match=message):
        Graph("one", (1, 4, 4), (Node("input", Op.INPUT), node)).verify()


def test_the_structure_survives_its_json():
    structure = residual_net().structure()
    assert structure.nodes == residual_net().nodes
    assert Graph.from_json(structure.to_json()).to_json() == structure.to_json()
