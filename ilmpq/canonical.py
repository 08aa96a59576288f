"""From the graph as a loader found it to canonical form: a list of exact rewrites, run until none applies.

Names of convolution and linear layers stay as they are in the checkpoint. Arithmetic is in float64 and stored in
float32. The last passes insert layers, so they come only where the others find nothing more to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .errors import ModelError
from .fold import Doubles, behind_pool, float32, scale_columns, scale_rows
from .graph import FloatArray, Graph, Node, Op, OutputStatistics, Parameters, Window
from .rewrite import Draft

Pass = Callable[[Draft], bool]
_MOVERS = frozenset({Op.MAX_POOL, Op.FLATTEN, Op.SUBSAMPLE})
_KEEP_SIGN = frozenset({Op.MAX_POOL, Op.AVG_POOL, Op.ADAPTIVE_POOL, Op.FLATTEN, Op.SUBSAMPLE, Op.CONCAT, Op.IDENTITY})


def canonical(graph: Graph) -> Graph:
    """The same network in canonical form (see graph.py), verified."""
    graph.verify(canonical=False)
    draft = Draft(graph)
    while any(rewrite(draft) for rewrite in PASSES):
        draft.drop_unread()
    return draft.freeze(graph).verify(canonical=True)


# --- exact rewrites that only remove ---------------------------------------------------------------------------------


def drop_identities(draft: Draft) -> bool:
    """Remove nodes that change nothing."""
    found = [n for n in draft if n.op is Op.IDENTITY]
    for node in found:
        draft.bypass(node.name, draft.nodes[node.name].inputs[0])
    return bool(found)


def fill_missing_biases(draft: Draft) -> bool:
    """Give a layer without bias one of zeros."""
    found = [n for n in draft if n.weighted and draft.parameters[n.name].bias.size == 0]
    for node in found:
        weight = draft.parameters[node.name].weight
        draft.put(node, Parameters(weight, np.zeros(weight.shape[0], np.float32)))
    return bool(found)


def fold_batch_norms(draft: Draft) -> bool:
    """A batch norm becomes part of the layer before it, whose output nobody else reads."""
    changed = False
    for node in draft:
        if node.op is not Op.BATCH_NORM:
            continue
        layer = draft.nodes[node.inputs[0]]
        if not layer.weighted or layer.relu or layer.skip or not draft.read_once(layer.name):
            continue
        scale, shift = _scale_and_shift(draft, node)
        before = draft.parameters[layer.name]
        bias = before.bias * scale + shift
        weight = scale_rows(before.weight, scale)
        statistics = draft.statistics.get(node.name)
        if statistics is None and layer.name in draft.statistics:
            old = draft.statistics[layer.name]
            statistics = OutputStatistics(float32(scale * old.mean + shift), float32(np.abs(scale) * old.std))
        draft.put(layer, Parameters(weight, float32(bias)))
        draft.bypass(node.name, layer.name)
        if statistics is not None:
            draft.statistics[layer.name] = statistics
        changed = True
    return changed


def fold_batch_norms_forward(draft: Draft) -> bool:
    """A batch norm of a vector that no layer before takes up becomes part of the linear layers that read it."""
    changed = False
    for node in draft:
        readers = draft.readers(node.name)
        vector = node.op is Op.BATCH_NORM and len(draft.shapes[node.name]) == 1
        if not vector or not readers or any(r.op is not Op.LINEAR or r.skip == node.name for r in readers):
            continue
        scale, shift = _scale_and_shift(draft, node)
        for reader in readers:
            old = draft.parameters[reader.name]
            bias = old.bias + old.weight.astype(np.float64) @ shift
            draft.put(reader, Parameters(scale_columns(old.weight, scale), float32(bias)))
        draft.bypass(node.name, node.inputs[0])
        changed = True
    return changed


def drop_idle_relus(draft: Draft) -> bool:
    """Remove a ReLU whose input is already within its range."""
    changed = False
    for node in draft:
        if node.op is Op.RELU:
            top = _top_if_not_negative(draft, node.inputs[0])
            if top is not None and (node.relu_max is None or top <= node.relu_max):
                draft.bypass(node.name, node.inputs[0])
                changed = True
    return changed


def merge_relus(draft: Draft) -> bool:
    """A ReLU becomes the clip of the layer or average pool before it, whose output nobody else reads."""
    changed = False
    for node in draft:
        if node.op is not Op.RELU:
            continue
        source = draft.nodes[node.inputs[0]]
        if (source.weighted or source.op is Op.AVG_POOL) and draft.read_once(source.name):
            tops = [t for t in (source.relu_max if source.relu else None, node.relu_max) if t is not None]
            draft.put(replace(source, relu=True, relu_max=min(tops, default=None)))
            draft.bypass(node.name, source.name)
            changed = True
    return changed


def fuse_additions(draft: Draft) -> bool:
    """An addition becomes the residual input of the deeper of its operands that can take it."""
    changed = False
    for node in draft:
        if node.op is not Op.ADD or len(set(node.inputs)) != 2:
            continue
        fusable = [i for i in node.inputs if _takes_residual(draft, i)]
        if fusable:
            layer = draft.nodes[max(fusable, key=draft.depths().__getitem__)]
            other = next(i for i in node.inputs if i != layer.name)
            draft.put(replace(layer, inputs=(layer.inputs[0], other)))
            draft.bypass(node.name, layer.name)
            changed = True
    return changed


def resolve_adaptive_pools(draft: Draft) -> bool:
    """An average over a fixed number of regions becomes nothing, an average pool, or part of the linear layer behind."""
    changed = False
    for node in draft:
        if node.op is not Op.ADAPTIVE_POOL:
            continue
        assert node.window is not None
        source, size = draft.shapes[node.inputs[0]][1:], node.window.kernel
        if source == size:
            draft.put(replace(node, op=Op.IDENTITY, window=None))
        elif source[0] % size[0] == 0 and source[1] % size[1] == 0:
            region = (source[0] // size[0], source[1] // size[1])
            draft.put(replace(node, op=Op.AVG_POOL, window=Window(region, region)))
        else:
            _fold_pool_into_linear(draft, node)
        changed = True
    return changed


# --- exact rewrites that move a ReLU towards the layer that can take it -----------------------------------------------


def move_relus_up(draft: Draft) -> bool:
    """A ReLU behind a max pool, a flattening or a subsampling goes before it."""
    for node in draft:
        if node.op is not Op.RELU:
            continue
        mover = draft.nodes[node.inputs[0]]
        if mover.op not in _MOVERS or (mover.window is not None and max(mover.window.pad) >= min(mover.window.kernel)):
            continue
        source = mover.inputs[0]
        if draft.read_once(mover.name) and (mover.op is Op.FLATTEN or draft.read_once(source)):
            draft.bypass(node.name, mover.name)
            draft.put(replace(node, inputs=(source,)), shape=draft.shapes[source])
            draft.put(replace(draft.nodes[mover.name], inputs=(node.name,)))
            return True
        if mover.op is Op.FLATTEN:  # others read the flattened vector unclipped: the ReLU gets a flattening of its own
            name = draft.unused(f"{node.name}.image")
            draft.put(replace(node, name=name, inputs=(source,)), shape=draft.shapes[source])
            draft.put(replace(mover, name=node.name, inputs=(name,)))
            return True
    return False


def move_relus_through_concats(draft: Draft) -> bool:
    """A ReLU behind a concatenation goes before it, where nobody else reads the joined tensors."""
    for node in draft:
        if node.op is not Op.RELU:
            continue
        concat = draft.nodes[node.inputs[0]]
        if concat.op is Op.CONCAT and all(map(draft.read_once, (concat.name, *concat.inputs))):
            before: dict[str, str] = {}
            for source in dict.fromkeys(concat.inputs):
                before[source] = draft.unused(f"{node.name}.{len(before)}")
                draft.put(replace(node, name=before[source], inputs=(source,)), shape=draft.shapes[source])
            draft.put(replace(concat, inputs=tuple(before[i] for i in concat.inputs)))
            draft.bypass(node.name, concat.name)
            return True
    return False


# --- where nothing else is left: insert a layer ----------------------------------------------------------------------


def batch_norms_to_layers(draft: Draft) -> bool:
    """A batch norm that no layer can take up becomes a depthwise 1×1 convolution."""
    found = next((n for n in draft if n.op is Op.BATCH_NORM), None)
    if found is not None:
        values = draft.parameters[found.name]
        _put_depthwise(draft, found, found.inputs, values.weight, values.bias)
    return found is not None


def additions_to_layers(draft: Draft) -> bool:
    """An addition that no layer can take up becomes an identity convolution with a residual; x + x becomes 2·x."""
    found = next((n for n in draft if n.op is Op.ADD), None)
    if found is None:
        return False
    assert len(found.inputs) == 2, "an addition has two operands; a loader chains longer ones"
    channels = draft.shapes[found.name][0]
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    if found.inputs[0] == found.inputs[1]:
        draft.put(replace(found, op=Op.BATCH_NORM, inputs=found.inputs[:1]), Parameters(2 * ones, zeros))
        return True
    # The shallower operand is the residual, which is read in full precision.
    operands = sorted(found.inputs, key=draft.depths().__getitem__, reverse=True)
    _put_depthwise(draft, found, tuple(operands), ones, zeros)
    return True


def relus_to_layers(draft: Draft) -> bool:
    """A ReLU of a tensor that others read unclipped becomes an identity convolution with a clip."""
    found = next((n for n in draft if n.op is Op.RELU), None)
    if found is not None:
        channels = draft.shapes[found.name][0]
        ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        _put_depthwise(draft, replace(found, relu=True), found.inputs, ones, zeros)
    return found is not None


PASSES: tuple[Pass, ...] = (
    drop_identities,
    fill_missing_biases,
    fold_batch_norms,
    fold_batch_norms_forward,
    drop_idle_relus,
    merge_relus,
    resolve_adaptive_pools,
    fuse_additions,
    move_relus_up,
    move_relus_through_concats,
    batch_norms_to_layers,
    additions_to_layers,
    relus_to_layers,
)

# --- helpers ---------------------------------------------------------------------------------------------------------


def _scale_and_shift(draft: Draft, node: Node) -> tuple[Doubles, Doubles]:
    values = draft.parameters[node.name]
    return values.weight.astype(np.float64), values.bias.astype(np.float64)


def _top_if_not_negative(draft: Draft, name: str) -> float | None:
    """The largest value a tensor can have if it cannot be negative (infinite if unknown), else None."""
    node = draft.nodes[name]
    if node.relu or node.op is Op.RELU:
        return float("inf") if node.relu_max is None else node.relu_max
    if node.op in _KEEP_SIGN:
        tops = [_top_if_not_negative(draft, i) for i in node.inputs]
        known = [t for t in tops if t is not None]
        return max(known) if len(known) == len(tops) else None
    return None


def _takes_residual(draft: Draft, name: str) -> bool:
    node = draft.nodes[name]
    return node.weighted and not node.relu and node.skip is None and draft.read_once(name)


def _put_depthwise(draft: Draft, node: Node, inputs: tuple[str, ...], scale: FloatArray, shift: FloatArray) -> None:
    """Replace `node` by a depthwise 1×1 convolution of the same name."""
    if len(draft.shapes[node.name]) != 3:
        raise ModelError(
            f"{node.name} ({node.op.value} of a vector) must follow a linear layer that nothing else reads, "
            f"not {draft.nodes[inputs[0]].name}: put it directly behind an nn.Linear, or before the flattening"
        )
    weight = np.ascontiguousarray(scale.reshape(-1, 1, 1, 1))
    layer = replace(node, op=Op.CONV, inputs=inputs, window=Window((1, 1)), groups=weight.shape[0])
    draft.put(layer, Parameters(weight, shift))


def _fold_pool_into_linear(draft: Draft, pool: Node) -> None:
    """Multiply the weight of the linear layer behind `pool` with the pool's averaging matrix."""
    assert pool.window is not None
    chain = [pool]
    while draft.read_once(chain[-1].name) and chain[-1].op is not Op.LINEAR:
        chain.append(draft.readers(chain[-1].name)[0])
    (channels, *source), size = draft.shapes[pool.inputs[0]], pool.window.kernel
    linear = chain[-1]
    if [n.op for n in chain[1:]] != [Op.FLATTEN, Op.LINEAR] or linear.skip == chain[1].name:
        raise ModelError(
            f"{pool.name} output size {size[0]}×{size[1]} must divide its input size {source[0]}×{source[1]}, unless "
            "only a flattening and a linear layer follow: give an --input-shape for which it does"
        )
    old = draft.parameters[linear.name]
    weight = behind_pool(old.weight, channels, (source[0], source[1]), size)
    draft.put(linear, Parameters(weight, old.bias))
    draft.put(chain[1], shape=(channels * source[0] * source[1],))
    draft.put(replace(pool, op=Op.IDENTITY, window=None), shape=draft.shapes[pool.inputs[0]])
