"""The carrier of row-mixed tensors, the model and its file."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import residual_net

from ilmpq.container import read_container, write_container
from ilmpq.errors import InvariantError, ModelError
from ilmpq.options import Options
from ilmpq.rowquant import LayerQuant, QuantModel, RowQuant, TensorQuant
from ilmpq.scales import Scales, storable
from ilmpq.schemes import SCHEMES
from ilmpq.storage import formats, layer_bits


def random_model(seed=0):
    rng = np.random.default_rng(seed)
    graph = residual_net()
    bits = layer_bits(graph, 4)
    layers = {}
    for node in graph.weighted:
        rows, *columns = graph.weight_shape(node)
        scheme = rng.integers(len(SCHEMES), size=rows).astype(np.uint8)
        codes = np.stack([rng.choice(SCHEMES[s].levels, np.prod(columns)) for s in scheme]).astype(np.int8)
        quant = RowQuant(codes, rng.uniform(0.01, 1, rows).astype(np.float32), scheme)
        layers[node.name] = LayerQuant(quant, rng.normal(size=rows).astype(np.float32), bits[node.name])
    tensors = {k: TensorQuant(f, storable(rng.uniform(0.01, 1))) for k, f in formats(graph, bits).items()}
    return QuantModel(graph.structure(), layers, tensors, {"seed": seed})


def spoiled(model, **changes):
    layer = model.layers["conv2"]
    return replace(model, layers={**model.layers, "conv2": replace(layer, rows=replace(layer.rows, **changes))})


@given(st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_save_then_load_is_the_identity(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    model = random_model(seed).verify()
    model.save(path)
    again = QuantModel.load(path)
    assert again.graph.to_json() == model.graph.to_json()
    assert dict(again.tensors) == dict(model.tensors)
    assert again.metadata == model.metadata
    for name, layer in model.layers.items():
        for a, b in zip(
            (layer.rows.codes, layer.rows.scale, layer.rows.scheme, layer.bias),
            (
                again.layers[name].rows.codes,
                again.layers[name].rows.scale,
                again.layers[name].rows.scheme,
                again.layers[name].bias,
            ),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    again.save(path.with_name("again"))
    assert path.read_bytes() == path.with_name("again").read_bytes()


def test_a_code_outside_its_scheme_is_named():
    model = random_model()
    codes, scheme = model.layers["conv2"].rows.codes.copy(), model.layers["conv2"].rows.scheme.copy()
    scheme[:] = 2
    scheme[3], codes[3] = 0, 0
    codes[3, 5] = 3
    with pytest.raises(InvariantError, match=r"conv2 row 3: POT4 code must be 0 or ±2\^k with k ≤ 6, not 3"):
        spoiled(model, codes=codes, scheme=scheme).verify()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": np.zeros(8, np.float32)}, "conv2 row 0: scale must be positive, not 0"),
        ({"scale": np.full(8, np.nan, np.float32)}, "scale must be positive"),
        ({"scheme": np.full(8, 77, np.uint8)}, "scheme must be one of"),
        ({"codes": np.zeros((8, 3), np.int8)}, "codes must have shape"),
        ({"codes": np.zeros((8, 72), np.int16)}, "codes must be int8, not int16"),
        ({"scale": np.ones(3, np.float32)}, "scale must have 8 rows"),
    ],
)
def test_broken_rules_are_named(change, message):
    with pytest.raises(InvariantError, match=message):
        spoiled(random_model(), **change).verify()


@pytest.mark.parametrize("scale", [0.0, float("inf"), 0.1])
def test_a_tensors_scale_is_positive_and_of_sixteen_bits(scale):
    model = random_model()
    tensors = {**model.tensors, "input": replace(model.tensors["input"], scale=scale)}
    with pytest.raises(InvariantError, match="tensor input scale must be positive and of at most 16 significant bits"):
        replace(model, tensors=tensors).verify()


def test_a_bias_beyond_the_accumulator_is_named():
    model = random_model()
    layer = replace(model.layers["fc"], bias=np.full(5, 1e12, np.float32))
    with pytest.raises(InvariantError, match="fc row .: bias must be below"):
        replace(model, layers={**model.layers, "fc": layer}).verify()


def test_sizes_count_every_bit():
    graph = residual_net()
    model = random_model()
    weights = sum(int(np.prod(graph.weight_shape(n))) for n in graph.weighted)
    rows = sum(graph.weight_shape(n)[0] for n in graph.weighted)
    assert model.float_bytes() == 4 * (weights + rows)
    assert 2 <= model.average_weight_bits() <= 8


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_cut_or_changed_file_is_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    random_model().save(folder / "m")
    good = (folder / "m").read_bytes()
    if data.draw(st.booleans()):
        bad = good[: data.draw(st.integers(0, len(good) - 1))]
    else:
        at, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 7))
        bad = good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]
    (folder / "m").write_bytes(bad)
    with pytest.raises(ModelError):
        QuantModel.load(folder / "m")


def test_newer_and_foreign_files_say_so(tmp_path):
    write_container(tmp_path / "new", "quantized model", 99, {}, {})
    with pytest.raises(ModelError, match="version 99.*upgrade"):
        QuantModel.load(tmp_path / "new")
    write_container(tmp_path / "other", "images", 1, {}, {})
    with pytest.raises(ModelError, match="must hold a quantized model, not images"):
        QuantModel.load(tmp_path / "other")
    assert read_container(tmp_path / "other", "images", 1)[1] == {}


def test_options_survive_their_file():
    options = Options(input_shape=(3, 8, 8), mean=(0.5, 0.5, 0.5), act_bits="4,fc=8", scales=Scales.POWER_OF_TWO)
    assert Options.from_dict(options.to_dict()) == options
