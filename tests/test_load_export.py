"""torch modules and .pt2 archives: the raw graph computes what the module computes, and no file can do harm."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from example_nets import MAKERS, images, make
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ilmpq.errors import ModelError, UsageError
from ilmpq.forward import forward
from ilmpq.graph import Graph, Op
from ilmpq.load_export import load_module, load_pt2

# Both sides add the same float32 products, but a folded batch norm and torch's kernels round in another order.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def assert_same(graph: Graph, module: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(forward(graph, x), module(x), **TOLERANCE)


def save(module: nn.Module, shape: tuple[int, ...], path: Path, **options: Any) -> Path:
    exported = torch.export.export(module, (torch.zeros(2, *shape),), **options)
    torch.export.save(exported, path)
    return path


@pytest.mark.parametrize("name", MAKERS)
def test_module_and_archive_compute_what_the_module_computes(name: str, tmp_path: Path) -> None:
    module, shape = make(name)
    x = images(shape)
    graph = load_module(module, shape)
    assert_same(graph, module, x)

    exported = torch.export.export(module, (torch.zeros(2, *shape),))
    torch.export.save(exported, tmp_path / "net.pt2")
    archived = load_pt2(tmp_path / "net.pt2")
    assert archived.to_json().replace('"net"', f'"{graph.name}"') == graph.to_json()
    for key, values in graph.parameters.items():
        np.testing.assert_array_equal(archived.parameters[key].weight, values.weight)
        np.testing.assert_array_equal(archived.parameters[key].bias, values.bias)

    torch.export.save(exported.run_decompositions(), tmp_path / "core.pt2")
    assert_same(load_pt2(tmp_path / "core.pt2"), module, x)


def test_names_are_module_paths() -> None:
    module, shape = make("residual")
    names = [n.name for n in load_module(module, shape).nodes]
    assert names[:4] == ["input", "0", "1", "2"]
    assert names[4:] == [
        *("3.conv1", "3.bn1", "3.relu", "3.conv2", "3.bn2", "3.add", "3.relu_1"),
        *("4.downsample.0", "4.downsample.1", "4.conv1", "4.bn1", "4.relu", "4.conv2", "4.bn2", "4.add", "4.relu_1"),
        *("5", "6", "7"),
    ]


def test_batch_norm_statistics_are_kept() -> None:
    module, shape = make("residual")
    graph = load_module(module, shape)
    norm = module[1]
    np.testing.assert_array_equal(graph.statistics["1"].mean, norm.bias.detach().numpy())
    np.testing.assert_array_equal(graph.statistics["1"].std, norm.weight.detach().abs().numpy())
    assert graph["1"].op is Op.BATCH_NORM


def test_training_modes_are_restored() -> None:
    module, shape = make("vgg")
    module.train()
    module[1].eval()
    load_module(module, shape)
    assert [module.training, module[1].training, module[11].training] == [True, False, True]


def test_half_and_double_modules_are_read_as_float32() -> None:
    module, shape = make("option_a")
    graph = load_module(module.double(), shape)
    assert next(module.parameters()).dtype == torch.float64
    assert graph.parameters["conv1"].weight.dtype == np.float32


def test_free_batch_and_free_size(tmp_path: Path) -> None:
    module, shape = make("option_a")
    batch = torch.export.Dim("batch", min=1)
    path = save(module, shape, tmp_path / "net.pt2", dynamic_shapes=({0: batch},))
    assert_same(load_pt2(path), module, images(shape))

    small = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    auto = torch.export.Dim.AUTO
    path = save(small, (3, 8, 8), tmp_path / "free.pt2", dynamic_shapes=({2: auto, 3: auto},))
    with pytest.raises(ModelError, match=r"free\.pt2 leaves the size of its input open; say it with --input-shape"):
        load_pt2(path)
    assert_same(load_pt2(path, (3, 9, 10)), small, images((3, 9, 10)))
    with pytest.raises(ModelError, match=r"was exported for an input of 3×\?×\?, not 1×9×10"):
        load_pt2(path, (1, 9, 10))


def test_shared_weights_and_tied_storage(tmp_path: Path) -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    other = nn.Conv2d(3, 3, 3, padding=1)
    other.weight = nn.Parameter(conv.weight.detach().transpose(2, 3))  # the same memory, other strides
    net = nn.Sequential(conv, nn.ReLU(), conv, other, nn.Flatten(), nn.Linear(75, 2)).eval()
    path = save(net, (3, 5, 5), tmp_path / "net.pt2")
    graph = load_pt2(path)
    assert_same(graph, net, images((3, 5, 5)))
    assert [n.name for n in graph.weighted] == ["2", "2_1", "3", "5"]  # torch keeps the last path


class Lambda(nn.Module):
    """A convolution, a function, and a linear layer over what it returns."""

    def __init__(self, function: Callable[[Tensor], Tensor], features: int = 4 * 8 * 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.function = function
        self.fc = nn.Linear(features, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.function(self.conv(x)).flatten(1))


ACCEPTED: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "mean with keepdim": (lambda x: x.mean((-1, -2), keepdim=True), 4),
    "mean over flattened pixels": (lambda x: x.flatten(2).mean(2), 4),
    "squeeze": (lambda x: F.avg_pool2d(x, 8).squeeze(3).squeeze(2), 4),
    "unsqueeze back": (lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1)[:, :, None, None], 4),
    "view with a free batch": (lambda x: x.view(-1, 4 * 8 * 8), 256),
    "plain strides": (lambda x: x[:, :, ::2, ::3], 4 * 4 * 3),
    "strides twice": (lambda x: x[..., ::2][..., ::2], 4 * 8 * 2),
    "channel padding": (lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)), 7 * 64),
    "zero padding before a max pool of a ReLU": (lambda x: F.max_pool2d(F.pad(F.relu(x), (1, 1, 1, 1)), 3, 2), 4 * 16),
    "zero padding before an average pool": (lambda x: F.avg_pool2d(F.pad(x, (1, 0, 0, 1)), 3, 2), 4 * 16),
    "ceil mode beyond the image": (lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True), 4 * 16),
    "ceil mode, padding not counted": (lambda x: F.avg_pool2d(x, 3, 2, 1, True, False), 4 * 25),
    "ceil mode that drops a window": (lambda x: F.max_pool2d(x, 2, 3, 1, ceil_mode=True), 4 * 9),
    "dilated max pool": (lambda x: F.max_pool2d(x, 3, 1, 1, 2), 4 * 36),
    "adaptive max pool": (lambda x: F.adaptive_max_pool2d(x, 2), 4 * 4),
    "casts": (lambda x: x.double().float().contiguous().clone(), 256),
    "scale and shift": (lambda x: (2 - x) * 0.5 + x, 256),
    "concatenated with itself": (lambda x: torch.cat((x, F.relu(x), x), 1), 3 * 256),
    "in place on a view": (lambda x: F.relu_(x.flatten(1)), 256),
    "in place on a copy": (lambda x: x.clone().relu_() + x, 256),
    "in place on itself": (lambda x: x.relu_() + x, 256),
    "a result that nobody reads": (lambda x: (torch.erf(x), x)[1], 256),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_ways_to_write_it(name: str) -> None:
    function, features = ACCEPTED[name]
    torch.manual_seed(1)
    module = Lambda(function, features).eval()
    x = images((3, 8, 8))
    assert_same(load_module(module, (3, 8, 8)), module, x)


class Gelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x)


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "another activation": (
        lambda x: F.silu(x),
        r"silu uses aten\.silu\.default, which is not supported; supported are",
    ),
    "a gate": (lambda x: x * F.relu(x), r"mul must not combine two activations by mul"),
    "a clip not at zero": (lambda x: x.clamp(-1, 1), r"clamp \(clamp\) must clip at 0 from below"),
    "mirrored padding": (lambda x: F.pad(x, (1, 1, 1, 1), "reflect"), r"padding mode 'reflect' is not supported"),
    "padding on its own": (lambda x: F.pad(x, (1, 1, 1, 1)), r"pad pads with 0\.0, which is supported only directly"),
    "padding before a max pool": (
        lambda x: F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3),
        r"pad pads with 0\.0, which is supported only directly before a convolution",
    ),
    "a crop": (lambda x: x[:, :, 1:, :], r"slices \[1:9223372036854775807:1\] along dimension 2"),
    "channels taken apart": (lambda x: x.chunk(2, 1)[0], r"chunk uses aten\.chunk\.default"),
    "pixels shuffled": (lambda x: x.view(-1, 2, 2, 8, 8).transpose(1, 2).flatten(1), "transpose.*must not reorder"),
    "a mean over channels": (lambda x: x.mean(1), "must average over all pixels of each channel"),
    "rows joined": (lambda x: torch.cat((x, x), 2), r"must join channels \(dimension 1\), not dimension 2"),
    "a counted ceil mode": (lambda x: F.avg_pool2d(x, 3, 2, 1, True), "must not combine ceil_mode, padding"),
    "its own divisor": (lambda x: F.avg_pool2d(x, 2, divisor_override=3), "must not override its divisor"),
    "a softmax inside": (lambda x: F.softmax(x, 1), "comes after a softmax, which must be the last operation"),
    "in place under a view": (lambda x: (x[:, :, ::2], x.relu_())[0], "changes in place what another operation reads"),
    "a transposed convolution": (
        nn.ConvTranspose2d(4, 4, 2),
        r"^function uses aten\.conv_transpose2d\.input",
    ),
    "its own batch's statistics": (
        lambda x: F.batch_norm(x, None, None, training=True),
        "must use its running statistics",
    ),
    "a fresh dropout": (lambda x: F.dropout(x, 0.5, training=True), r"call model\.eval\(\) before exporting"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_by_name(name: str) -> None:
    function, message = REFUSED[name]
    module = Lambda(function).eval()
    with torch.no_grad():
        module.fc = nn.Linear(function(torch.zeros(2, 4, 8, 8)).flatten(1).shape[1], 2)
    with pytest.raises(ModelError, match=message):
        load_module(module, (3, 8, 8))


def test_unsupported_operation_names_the_layer() -> None:
    block = nn.Sequential(nn.Conv2d(3, 3, 3), nn.GELU())
    net = nn.Sequential(nn.Sequential(block, Gelu()), nn.Flatten())
    with pytest.raises(ModelError, match=r"^0\.0\.1 uses aten\.gelu\.default, which is not supported.*export again"):
        load_module(net, (3, 8, 8))
    block[1] = nn.ReLU()
    with pytest.raises(ModelError, match=r"^0\.1\.gelu uses aten\.gelu\.default"):
        load_module(net, (3, 8, 8))


def test_modes_of_padding_and_final_softmax(caplog: pytest.LogCaptureFixture) -> None:
    circular = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"), nn.Flatten())
    with pytest.raises(ModelError, match=r"^0.*'circular' is not supported"):
        load_module(circular, (3, 8, 8))
    trunk = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Flatten())
    graph = load_module(nn.Sequential(trunk, nn.LogSoftmax(1)), (3, 4, 4))
    assert_same(graph, trunk, images((3, 4, 4)))
    assert "1 is left out: the network's output is taken to be the logits" in caplog.text


def test_untraceable_modules_are_refused() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ModelError, match=r"Branch cannot be traced with an input of 3×8×8.*no branches on values"):
        load_module(Branch(), (3, 8, 8))
    with pytest.raises(ModelError, match=r"Sequential cannot be traced.*check --input-shape"):
        load_module(make("vgg")[0], (1, 8, 8))

    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x + 1

    with pytest.raises(ModelError, match="Two must have one input and one output tensor, not 1 and 2"):
        load_module(Two(), (3, 8, 8))
    with pytest.raises(ModelError, match="ReLU has no convolution or linear layer"):
        load_module(nn.ReLU(), (3, 8, 8))


# ---- files ----


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)).eval()
    return save(net, (3, 4, 4), tmp_path_factory.mktemp("pt2") / "net.pt2").read_bytes()


def rewrite(archive: bytes, path: Path, change: Callable[[str, bytes], bytes | None], **options: Any) -> Path:
    """The archive with some entries changed, written again."""
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(path, "w", **options) as new:
        for info in old.infolist():
            data = change(info.filename, old.read(info))
            if data is not None:
                new.writestr(info.filename, data)
    return path


def edit_config(archive: bytes, path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """The archive with the entry of the linear layer's weight changed."""

    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("model_weights_config.json"):
            return data
        config = json.loads(data)
        edit(config["config"]["4.weight"])
        return json.dumps(config).encode()

    return rewrite(archive, path, change)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.target), "w"))


def test_nothing_pickled_is_run(archive: bytes, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    buffer = io.BytesIO()
    torch.save(Bomb(touched), buffer)
    bomb = buffer.getvalue()

    def replace(name: str, data: bytes) -> bytes:
        return bomb if "sample_inputs" in name or "weight_0" in name else data

    path = rewrite(archive, tmp_path / "bomb.pt2", replace)
    load = edit_config(path.read_bytes(), tmp_path / "pickled.pt2", lambda entry: entry.update(use_pickle=True))
    with pytest.raises(
        ModelError, match=r"4\.weight is stored as a pickle, which can run code and is not read; save it"
    ):
        load_pt2(load)
    legacy = rewrite(archive, tmp_path / "legacy.pt2", lambda n, d: None if "config.json" in n else replace(n, d))
    with zipfile.ZipFile(legacy, "a") as file:
        root = file.namelist()[0].split("/")[0]
        file.writestr(f"{root}/data/weights/model.pt", bomb)
    with pytest.raises(ModelError, match=r"model\.pt must hold tensors only"):
        load_pt2(legacy)
    with zipfile.ZipFile(tmp_path / "raw.pt2", "w") as file:
        file.writestr("data.pkl", pickle.dumps(Bomb(touched)))
    with pytest.raises(ModelError, match="must hold one exported program, not 0"):
        load_pt2(tmp_path / "raw.pt2")
    assert not touched.exists()


def test_older_layout(tmp_path: Path) -> None:
    from torch._export.serde.serialize import serialize

    module, shape = make("residual")
    parts = serialize(torch.export.export(module, (torch.zeros(2, *shape),)))
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as file:
        file.writestr("serialized_exported_program.json", parts.exported_program)
        file.writestr("serialized_state_dict.pt", parts.state_dict)
        file.writestr("serialized_constants.pt", parts.constants)
        file.writestr("version", "5.1")
    assert_same(load_pt2(tmp_path / "old.pt2"), module, images(shape))


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": [{"as_int": 2}, {"as_int": 9}]},
        {"sizes": [{"as_int": 2**40}, {"as_int": 8}], "strides": [{"as_int": 0}, {"as_int": 1}]},
        {"sizes": [{"as_int": 2}, {"as_int": -8}]},
        {"strides": [{"as_int": 9}, {"as_int": 1}]},
        {"strides": [{"as_int": 8}, {"as_int": -1}]},
        {"storage_offset": {"as_int": 1}},
        {"storage_offset": {"as_int": -1}},
        {"dtype": 8},
        {"dtype": 12},
        {"sizes": [{"as_expr": {"expr_str": "s0"}}, {"as_int": 8}]},
        {"sizes": [{"as_int": 2.0}, {"as_int": 8}]},
    ],
)
def test_tensors_stay_inside_their_records(archive: bytes, tmp_path: Path, change: dict[str, Any]) -> None:
    path = edit_config(archive, tmp_path / "net.pt2", lambda entry: entry["tensor_meta"].update(change))
    with pytest.raises(ModelError, match=r"4\.weight must|undamaged"):
        load_pt2(path)


def test_compressed_and_incomplete_archives_are_refused(archive: bytes, tmp_path: Path) -> None:
    path = rewrite(archive, tmp_path / "small.pt2", lambda n, d: d, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="must be stored uncompressed"):
        load_pt2(path)
    path = rewrite(archive, tmp_path / "part.pt2", lambda n, d: None if n.endswith("weight_0") else d)
    with pytest.raises(ModelError, match=r"must hold 'data/weights/weight_0'.*incomplete"):
        load_pt2(path)
    path = rewrite(archive, tmp_path / "big.pt2", lambda n, d: b"big" if n.endswith("byteorder") else d)
    with pytest.raises(ModelError, match="little-endian"):
        load_pt2(path)
    with pytest.raises(UsageError, match="cannot be read: No such file or directory"):
        load_pt2(tmp_path / "missing.pt2")


def load_or_refuse(data: bytes, path: Path) -> None:
    """What loads must run; any error but a `ModelError` fails the test."""
    path.write_bytes(data)
    with contextlib.suppress(ModelError):
        graph = load_pt2(path)
        forward(graph, torch.zeros(1, *graph.input_shape))


def test_truncated_archives_are_refused(archive: bytes, tmp_path: Path) -> None:
    for length in [*range(0, len(archive), 997), len(archive) - 1]:
        (tmp_path / "net.pt2").write_bytes(archive[:length])
        with pytest.raises(ModelError, match=r"undamaged|must hold one exported program"):
            load_pt2(tmp_path / "net.pt2")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_archives_load_or_are_refused(archive: bytes, tmp_path_factory: Any, data: st.DataObject) -> None:
    damaged = bytearray(archive)
    for position in data.draw(st.lists(st.integers(0, len(archive) - 1), min_size=1, max_size=4)):
        damaged[position] = data.draw(st.integers(0, 255))
    load_or_refuse(bytes(damaged), tmp_path_factory.getbasetemp() / "damaged.pt2")


VALUES = st.one_of(
    st.none(), st.integers(-2, 10), st.sampled_from([2**31, 2**63, -(2**63), 10**30]), st.text(max_size=3),
    st.floats(), st.booleans(), st.lists(st.integers(0, 3), max_size=3), st.just({}), st.just({"as_int": 2**62}),
)  # fmt: skip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_changed_json_loads_or_is_refused(archive: bytes, tmp_path_factory: Any, data: st.DataObject) -> None:
    """Checksums are right here, so that damage reaches the reader: any value of the JSON becomes another."""

    def change(name: str, entry: bytes) -> bytes:
        if not name.endswith(("model.json", "model_weights_config.json")):
            return entry
        tree = json.loads(entry)
        place: Any = tree
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = data.draw(st.sampled_from(keys))
            if not place[key] or not isinstance(place[key], dict | list) or data.draw(st.integers(0, 9)) == 0:
                place[key] = data.draw(VALUES)
                return json.dumps(tree).encode()
            place = place[key]

    path = rewrite(archive, tmp_path_factory.getbasetemp() / "changed.pt2", change)
    load_or_refuse(path.read_bytes(), path)


# ---- properties ----


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, int, int]]:
    """A random chain of layers that fits its input."""
    torch.manual_seed(draw(st.integers(0, 99)))
    channels, size = draw(st.integers(1, 4)), draw(st.integers(8, 14))
    shape = (channels, size, size + draw(st.integers(0, 3)))
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 5))):
        kernel = draw(st.integers(1, 3))
        stride, pad = draw(st.integers(1, 2)), draw(st.integers(0, kernel // 2))
        kind = draw(st.sampled_from(["conv", "depthwise", "norm", "relu", "relu6", "max", "average"]))
        match kind:
            case "conv":
                outputs = draw(st.integers(1, 6))
                layers.append(nn.Conv2d(channels, outputs, kernel, stride, pad, bias=draw(st.booleans())))
                channels = outputs
            case "depthwise":
                layers.append(nn.Conv2d(channels, 2 * channels, kernel, 1, pad, groups=channels))
                channels *= 2
            case "norm":
                layers.append(nn.BatchNorm2d(channels, affine=draw(st.booleans())))
            case "relu" | "relu6":
                layers.append(nn.ReLU(draw(st.booleans())) if kind == "relu" else nn.ReLU6())
            case "max":
                layers.append(nn.MaxPool2d(kernel, stride, pad, ceil_mode=draw(st.booleans())))
            case "average":
                layers.append(nn.AvgPool2d(kernel, stride, pad, draw(st.booleans()), count_include_pad=False))
    probe = torch.zeros(1, *shape)
    fitting: list[nn.Module] = []
    for layer in layers:
        after = nn.Sequential(layer).eval()
        if probe.shape[2] < 4 or probe.shape[3] < 4:
            break
        probe = after(probe.detach())
        fitting.append(layer)
    return nn.Sequential(*fitting, nn.Flatten(), nn.Linear(probe[0].numel(), 3)).eval(), shape


@settings(max_examples=15, deadline=None, derandomize=True)
@given(network=networks())
def test_random_chains_round_trip(tmp_path_factory: Any, network: tuple[nn.Module, tuple[int, int, int]]) -> None:
    module, shape = network
    assert_same(load_module(module, shape), module, images(shape))
