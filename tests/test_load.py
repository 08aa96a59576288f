"""Whatever file is given: it loads exactly, or an error says in one sentence what it is and what to do."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ilmpq import zoo
from ilmpq.canonical import canonical
from ilmpq.errors import IlmpqError, ModelError, UsageError
from ilmpq.forward import forward
from ilmpq.graph import Graph
from ilmpq.load import load

NAME = "cifar_resnet8"
STATE = {k: torch.from_numpy(v) for k, v in zoo.random_state_dict(NAME, np.random.default_rng(0)).items()}
GRAPH = canonical(zoo.named(NAME).graph({k: v.numpy() for k, v in STATE.items()}))


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def with_entry(name: str, value: Any) -> dict[str, Any]:
    return {**STATE, name: value}


def assert_same(found: Graph, expected: Graph) -> None:
    assert found.nodes == expected.nodes
    assert found.input_shape == expected.input_shape
    for name, values in expected.parameters.items():
        np.testing.assert_array_equal(found.parameters[name].weight, values.weight)
        np.testing.assert_array_equal(found.parameters[name].bias, values.bias)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load(path, **options)
    return str(caught.value)


# --- what loads ------------------------------------------------------------------------------------------------------

WRAPPINGS = {
    "bare": STATE,
    "state_dict": {"state_dict": STATE, "epoch": 3},
    "model, with Namespace": {"model": STATE, "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {}}},
    "net, DataParallel": {"net": {f"module.{k}": v for k, v in STATE.items()}, "acc": 92.1},
    "model_state_dict, compiled": {"model_state_dict": {f"_orig_mod.module.{k}": v for k, v in STATE.items()}},
    "nested": {"model": {"state_dict": STATE}},
    "a name of its own": {"weights_ema": STATE, "epoch": 3},
    "no counters": {k: v for k, v in STATE.items() if "num_batches" not in k},
    "Parameters": {k: nn.Parameter(v, requires_grad=v.is_floating_point()) for k, v in STATE.items()},
    "double": {k: v.double() if v.is_floating_point() else v for k, v in STATE.items()},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("new_format", [True, False])
def test_usual_checkpoints_load_exactly(tmp_path: Path, wrapping: str, new_format: bool) -> None:
    path = saved(tmp_path / "net.pth", WRAPPINGS[wrapping], _use_new_zipfile_serialization=new_format)
    loaded = load(path)
    assert (loaded.architecture, loaded.preset, loaded.source) == (NAME, "cifar10", str(path))
    assert loaded.checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    assert_same(loaded.graph, GRAPH)


def test_safetensors_load_exactly(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "net.safetensors")
    assert_same(load(tmp_path / "net.safetensors").graph, GRAPH)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    half = {k: v.to(dtype) if v.is_floating_point() else v for k, v in STATE.items()}
    save_file(half, tmp_path / "net.safetensors")
    expected = {k: v.float().numpy() for k, v in half.items()}
    assert_same(load(tmp_path / "net.safetensors").graph, canonical(zoo.named(NAME).graph(expected)))


def test_files_without_a_known_suffix_are_told_by_content(tmp_path: Path) -> None:
    assert load(saved(tmp_path / "net.ckpt", STATE)).architecture == NAME


def test_input_shape_is_the_users(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pt", STATE)
    assert load(path, input_shape=(3, 40, 48)).graph.input_shape == (3, 40, 48)
    assert "conv1 reads 3 channels but gets 1×32×32" in refusal(path, input_shape=(1, 32, 32))
    with pytest.raises(UsageError, match="input shape must be channels, height and width"):
        load(path, input_shape=(3, 0, 32))


@pytest.mark.parametrize(("name", "correct"), [("resnet20-12fca82f.th", 915), ("resnet56-4bfd9763.th", 926)])
def test_real_checkpoints_reach_their_accuracy(data_dir: Path, name: str, correct: int) -> None:
    loaded = load(data_dir / name)
    data = np.load(data_dir / "cifar10_test.npz")
    mean, std = (np.array(v, np.float32)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    hits = 0
    for start in range(0, 1000, 250):
        x = torch.from_numpy((data["x"][start : start + 250].astype(np.float32) / 255 - mean) / std)
        hits += int((forward(loaded.graph, x).argmax(1).numpy() == data["y"][start : start + 250]).sum())
    assert abs(hits - correct) <= 1  # another machine's rounding may turn an image whose two best logits nearly tie


# --- the user's own code ---------------------------------------------------------------------------------------------

OWN_CODE = """
from torch import nn

def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))

def broken():
    raise ValueError("no such depth")

number = 3
"""


PART_CALLED_MODULE = """
def wrapped():
    from collections import OrderedDict
    return nn.Sequential(OrderedDict(module=small(), head=nn.Linear(2, 2))).eval()
"""


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module beside the user, under a name that no other test uses."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN_CODE)
    monkeypatch.chdir(tmp_path)
    return name


def own_network() -> nn.Module:
    scope: dict[str, Any] = {}
    exec(OWN_CODE, scope)
    return scope["small"]().eval()


def test_arch_runs_the_users_code_with_strict_weights(tmp_path: Path, own_code: str) -> None:
    network = own_network()
    path = saved(tmp_path / "own.pt", {"state_dict": network.state_dict()})
    loaded = load(path, arch=f"{own_code}:small", input_shape=(3, 8, 8))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(forward(loaded.graph, x), network(x), rtol=1e-4, atol=1e-5)  # batch norm folded
    assert (loaded.architecture, loaded.preset) == ("small", None)
    lacking = network.state_dict()
    del lacking["4.bias"]
    message = refusal(saved(tmp_path / "own.pt", lacking), arch=f"{own_code}:small", input_shape=(3, 8, 8))
    assert f"must hold the parameters of {own_code}:small: 4.bias is missing" in message


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{}:broken", "raised ValueError: no such depth"),
        ("{}:number", "must return an nn.Module, not int"),
        ("{}:absent", "raised AttributeError"),
        ("no_such_package:net", "raised ModuleNotFoundError"),
        (":net", "must be package.module:callable"),
        ("resnet81", "architecture must be a known one such as"),
    ],
)
def test_arch_that_cannot_be_used_is_a_usage_error(tmp_path: Path, own_code: str, spec: str, message: str) -> None:
    path = saved(tmp_path / "net.pt", STATE)
    with pytest.raises(UsageError, match=message):
        load(path, arch=spec.format(own_code), input_shape=(3, 8, 8))


def test_arch_may_name_a_known_architecture(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pt", STATE)
    assert load(path, arch=NAME).architecture == NAME
    assert "must hold the parameters of cifar_resnet14. For cifar_resnet14: layer1.1.conv1" in refusal(
        path, arch="cifar_resnet14"
    )


def test_a_live_module_loads() -> None:
    loaded = load(own_network(), input_shape=(3, 8, 8))
    assert (loaded.architecture, loaded.source, loaded.checksum) == ("Sequential", "Sequential", None)
    with pytest.raises(UsageError, match="--input-shape 3,224,224"):
        load(own_network())


# --- what is refused, by name ----------------------------------------------------------------------------------------


def test_weights_that_are_no_plain_numbers_are_named(tmp_path: Path) -> None:
    cases = {
        "NaN or infinite": torch.full((10,), float("nan")),
        "must be finite": torch.full((10,), 1e300, dtype=torch.float64),
        "not int32": torch.zeros(10, dtype=torch.int32),
        "not complex64": torch.zeros(10, dtype=torch.complex64),
        "must be dense": torch.ones(10).to_sparse(),
        "must be dense and hold": torch.ones(10, device="meta"),
        "repeats fewer values": torch.zeros(1).expand(10),
    }
    for message, value in cases.items():
        found = refusal(
            saved(tmp_path / "net.pt", {f"module.{k}": v for k, v in with_entry("linear.bias", value).items()})
        )
        assert message in found
        assert "tensor module.linear.bias" in found
    found = refusal(saved(tmp_path / "net.pt", with_entry("bn1.running_var", -torch.ones(16))))
    assert "tensor bn1.running_var must not be negative" in found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_entry("epoch", 3), "entry 'epoch' must be a tensor, not int"),
        ({}, "not an empty dictionary"),
        ({"state_dict": {}}, "not an empty dictionary"),
        ([1, 2], "not list"),
        (torch.zeros(3), "not Tensor"),
        ({1: torch.zeros(2)}, "names must be text, not int"),
        ({"n.num_batches_tracked": torch.tensor(3)}, "holds no weights"),
        ({"model": {"model": {"model": {"model": {"model": STATE}}}}}, "must hold a dictionary of tensors"),
    ],
)
def test_what_is_no_state_dict_is_told(tmp_path: Path, content: Any, message: str) -> None:
    assert message in refusal(saved(tmp_path / "net.pt", content))


def zipped(names: tuple[str, ...], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name in names:
            archive.writestr(name, b"x" * 100)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("net.pt", b"", "is empty"),
        ("net.pt", b"\n <!DOCTYPE html><html>Not found</html>", "is an HTML page"),
        ("net.onnx", b"<html>Not found</html>", "is an HTML page"),
        ("net.pt", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("net.pt", b"\x1f\x8b\x08rest", "compressed with gzip"),
        ("net.pt", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ("net.pt", b"\x08\x07\x12\x07pytorch", r"is an ONNX file, not a PyTorch checkpoint: rename it to net.onnx"),
        ("net.onnx", b'\x10\0\0\0\0\0\0\0{"a":1}', "is a safetensors file, not an ONNX file"),
        ("net.pt", b"PK\x03\x04 and no more", "is cut off or damaged"),
        ("net.pt", zipped(("a.npy",)), "NumPy arrays"),
        ("net.pt", zipped(("word.xml",)), "a ZIP archive without a model"),
        ("net.pt", zipped(("net/data.pkl",), zipfile.ZIP_DEFLATED), "is compressed"),
        ("net.pt", zipped(("net/data.pkl",)), "is cut off or damaged"),
        ("net.pt", zipped(("net/archive_format",)), "is a program of torch.export, .* rename it to net.pt2"),
        ("net.pt", b"hello", "its content is none of them"),
        ("net.safetensors", b"hello", "is cut off or damaged"),
        ("net.pt", pickle.dumps({"a": 1}), "a pickle that torch.save did not write"),
    ],
)
def test_other_files_are_called_what_they_are(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load(tmp_path / name)


def test_paths_that_are_no_files_are_usage_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for source, message in (
        (tmp_path / "none.pt", "does not exist"),
        (tmp_path, "is a folder"),
        ("resnet18", "without weights: give a checkpoint of it"),
        ("bad\0name.pt", "must not hold a NUL"),
        ("x" * 300, "File name too long"),
        ("bad\udcff.pt", "must have a name in UTF-8"),
    ):
        with pytest.raises(UsageError, match=message):
            load(source)


def test_programs_bring_their_own_structure(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    with pytest.raises(UsageError, match="--arch must be given with weights alone"):
        load(tmp_path / "net.onnx", arch="resnet18")


def test_a_stray_name_among_prefixed_ones_is_told(tmp_path: Path) -> None:
    prefixed = {f"module.{k}": v for k, v in STATE.items()}
    message = refusal(saved(tmp_path / "net.pt", {**prefixed, "foo.bar": torch.ones(3)}))
    assert "nearest are cifar_resnet8 (1 differ)" in message
    assert "foo.bar is too much" in message
    message = refusal(saved(tmp_path / "net.pt", {**prefixed, "linear.bias": STATE["linear.bias"]}))
    assert "tensor linear.bias is there with and without a wrapper's prefix" in message


def test_a_part_called_module_is_no_prefix_in_code_of_ones_own(tmp_path: Path, own_code: str) -> None:
    Path(f"{own_code}.py").write_text(OWN_CODE + PART_CALLED_MODULE)
    scope: dict[str, Any] = {}
    exec(OWN_CODE + PART_CALLED_MODULE, scope)
    path = saved(tmp_path / "own.pt", scope["wrapped"]().state_dict())
    assert load(path, arch=f"{own_code}:wrapped", input_shape=(3, 8, 8)).architecture == "wrapped"


# --- hostile and damaged files ---------------------------------------------------------------------------------------


class Touch:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_pickle_is_never_run(tmp_path: Path, new_format: bool, protocol: int) -> None:
    trap = tmp_path / "trap"
    for content in (Touch(trap), {"state_dict": STATE, "x": Touch(trap)}):
        options = {"_use_new_zipfile_serialization": new_format, "pickle_protocol": protocol}
        message = refusal(saved(tmp_path / "net.pt", content, **options))
        assert "torch.save(model.state_dict(), PATH)" in message
    (tmp_path / "net.pt").write_bytes(pickle.dumps(Touch(trap)))
    assert "could run any program" in refusal(tmp_path / "net.pt")
    assert not trap.exists()


def test_whole_modules_and_torchscript_are_refused_with_the_way_out(tmp_path: Path) -> None:
    network = own_network()
    message = refusal(saved(tmp_path / "net.pt", network))
    assert "Sequential" in message
    assert "model.state_dict()" in message
    assert "--arch package.module:callable" in message
    stream = zipped(("net/data.pkl", "net/constants.pkl", "net/code/net.py"))
    (tmp_path / "script.pt").write_bytes(stream)
    assert "TorchScript" in refusal(tmp_path / "script.pt")


def file_bytes(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "safetensors":
        from safetensors.torch import save

        return save(STATE)
    torch.save(STATE, stream, _use_new_zipfile_serialization=kind == "zip")
    return stream.getvalue()


FILES = {kind: file_bytes(kind) for kind in ("zip", "legacy", "safetensors")}


def loads_or_is_refused(folder: Path, kind: str, content: bytes) -> bool:
    """Whether it loads; any exception but ours fails the test."""
    path = folder / ("net.safetensors" if kind == "safetensors" else "net.pt")
    path.write_bytes(content)
    try:
        load(path)
    except ModelError:
        return False
    return True


@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    whole = FILES[kind]
    for length in (1, 7, 8, 9, 30, 100, 1000, len(whole) // 2, len(whole) - 1000, len(whole) - 1):
        assert not loads_or_is_refused(tmp_path, kind, whole[:length])


fuzz = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", FILES)
@fuzz
@given(data=st.data())
def test_damaged_bytes_load_or_are_refused(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = bytearray(FILES[kind])
    near_start = st.integers(0, 4000)
    near_end = st.integers(len(content) - 4000, len(content) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(near_start | near_end)] = data.draw(st.integers(0, 255))
    loads_or_is_refused(tmp_path, kind, bytes(content))


@fuzz
@given(st.binary(max_size=200), st.sampled_from((b"", b"PK\x03\x04", FILES["legacy"][:60], b"\x08\x07\x12")))
def test_any_bytes_under_any_name_are_refused(tmp_path: Path, content: bytes, head: bytes) -> None:
    for suffix in (".pt", ".pth", ".safetensors", ".onnx", ".pt2", ""):
        path = tmp_path / f"net{suffix}"
        path.write_bytes(head + content)
        with pytest.raises(IlmpqError):
            load(path)
