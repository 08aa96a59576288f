"""Architectures are those that torchvision and the usual CIFAR code define: names, shapes, counts and results."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilmpq import zoo
from ilmpq.canonical import canonical
from ilmpq.errors import ModelError, UsageError
from ilmpq.forward import forward
from ilmpq.graph import Op

# As torchvision documents them.
PARAMETERS = {
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "resnet152": 60_192_808, "wide_resnet50_2": 68_883_240, "resnext50_32x4d": 25_028_904, "vgg11": 132_863_336,
    "vgg13": 133_047_848, "vgg16": 138_357_544, "vgg19": 143_667_240, "vgg11_bn": 132_868_840, "vgg16_bn": 138_365_992,
    "mobilenet_v2": 3_504_872, "squeezenet1_0": 1_248_424, "squeezenet1_1": 1_235_496, "alexnet": 61_100_840,
}  # fmt: skip
ALL = [a.name for a in zoo.ARCHITECTURES]
LIGHT = ("resnet18", "resnet50", "mobilenet_v2", "squeezenet1_0", "squeezenet1_1", "cifar_resnet20", "cifar_resnet20_b")


def untouched(name: str) -> dict[str, np.ndarray]:
    """A state dict whose tensors take no memory."""
    return {k: np.broadcast_to(np.float32(1), s) for k, s in zoo.named(name).shapes().items()}


def slim(name: str, by: int) -> dict[str, np.ndarray]:
    """A random state dict with all widths divided."""

    def narrow(shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(v if i > 1 or (i == 1 and v == 3) else v // by for i, v in enumerate(shape))

    state = {}
    for key, shape in zoo.named(name).shapes().items():
        values = rng().standard_normal(narrow(shape), dtype=np.float32) / np.float32(np.sqrt(prod(narrow(shape)[1:])))
        state[key] = np.abs(values) + np.float32(0.5) if key.endswith("running_var") else values
    return state


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count_is_the_published_one(name: str) -> None:
    counted = sum(prod(s) for k, s in zoo.named(name).shapes().items() if "running_" not in k)
    assert counted == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "gmacs"), [("resnet18", 1.814), ("resnet50", 4.09), ("mobilenet_v2", 0.301), ("alexnet", 0.714)]
)
def test_multiplications_are_the_published_ones(name: str, gmacs: float) -> None:
    graph = canonical(zoo.build(name))
    assert sum(graph.macs(n) for n in graph.weighted) / 1e9 == pytest.approx(gmacs, rel=2e-3)


@pytest.mark.parametrize("name", ALL)
def test_each_architecture_is_recognised_from_its_own_names_and_shapes(name: str) -> None:
    assert zoo.recognise(untouched(name)).name == name


@pytest.mark.parametrize("name", LIGHT)
def test_each_architecture_runs_and_is_canonical(name: str) -> None:
    size = 48 if name.startswith("squeezenet") else 32
    raw = zoo.build(name, (3, size, size), classes=7, rng=rng())
    done = canonical(raw)
    x = torch.randn(2, *raw.input_shape, generator=torch.Generator().manual_seed(0))
    logits = forward(raw, x)
    assert logits.shape == (2, 7)
    assert 1e-3 < float(logits.std()) < 1e2
    # Batch norm folded or not: float32 rounding in another order.
    torch.testing.assert_close(forward(done, x), logits, rtol=1e-3, atol=1e-4)
    if "squeezenet" not in name:  # the others have a batch norm behind every convolution
        assert set(done.statistics) == {n.name for n in done.weighted if n.op is Op.CONV}


def test_layers_bear_the_names_of_the_checkpoint() -> None:
    done = canonical(zoo.build("resnet18"))
    expected = {k.removesuffix(".weight") for k, s in zoo.named("resnet18").shapes().items() if len(s) in (2, 4)}
    assert {n.name for n in done.weighted} == expected
    assert done["layer2.0.conv2"].skip == "layer2.0.downsample.0"
    assert done["layer2.0.conv2"].relu


def test_random_weights_repeat_with_the_seed() -> None:
    a, b = (zoo.random_state_dict("cifar_resnet8", np.random.default_rng(5)) for _ in range(2))
    assert list(a) == list(b)
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert a["bn1.num_batches_tracked"].dtype == np.int64
    assert min(a["bn1.running_var"]) > 0


# --- against independent code ----------------------------------------------------------------------------------------


def cbr(i: int, o: int, k: int, s: int = 1, g: int = 1, act: type[nn.Module] | None = None) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o)]
    return layers + ([act()] if act else [])


class BasicBlock(nn.Module):
    def __init__(self, i: int, o: int, s: int, shortcut: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = cbr(i, o, 3, s)
        self.conv2, self.bn2 = cbr(o, o, 3)
        self.s, self.grow = s, (o - i) // 2
        self.side: nn.Module | None = None
        if shortcut and (s != 1 or i != o):
            self.side = nn.Sequential(*cbr(i, o, 1, s))
            setattr(self, shortcut, self.side)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.side is not None:
            x = self.side(x)
        elif self.s != 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.grow, self.grow))
        return F.relu(x + y)


class TorchResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        for k, (i, o) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512))):
            blocks = BasicBlock(i, o, 1 + (k > 0), "downsample"), BasicBlock(o, o, 1, "downsample")
            setattr(self, f"layer{k + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for k in range(1, 5):
            x = getattr(self, f"layer{k}")(x)
        return self.fc(x.mean((2, 3)))


class TorchCifarResNet(nn.Module):
    def __init__(self, n: int, shortcut: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = cbr(3, 16, 3)
        for k, (i, o) in enumerate(((16, 16), (16, 32), (32, 64))):
            blocks = [BasicBlock(i if j == 0 else o, o, 1 + (k > 0 and j == 0), shortcut) for j in range(n)]
            setattr(self, f"layer{k + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        for k in range(1, 4):
            x = getattr(self, f"layer{k}")(x)
        return self.linear(F.avg_pool2d(x, x.size(3)).flatten(1))


class InvertedResidual(nn.Module):
    def __init__(self, i: int, o: int, s: int, t: int) -> None:
        super().__init__()
        parts = [nn.Sequential(*cbr(i, i * t, 1, act=nn.ReLU6))] if t != 1 else []
        parts.append(nn.Sequential(*cbr(i * t, i * t, 3, s, i * t, nn.ReLU6)))
        self.conv = nn.Sequential(*parts, *cbr(i * t, o, 1))
        self.residual = s == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class TorchMobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        features: list[nn.Module] = [nn.Sequential(*cbr(3, 32, 3, 2, act=nn.ReLU6))]
        width = 32
        for t, c, n, s in (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ):
            for k in range(n):
                features.append(InvertedResidual(width, c, s if k == 0 else 1, t))
                width = c
        self.features = nn.Sequential(*features, nn.Sequential(*cbr(320, 1280, 1, act=nn.ReLU6)))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


class Fire(nn.Module):
    def __init__(self, i: int, s: int, e: int) -> None:
        super().__init__()
        self.squeeze, self.expand1x1, self.expand3x3 = (
            nn.Conv2d(i, s, 1),
            nn.Conv2d(s, e, 1),
            nn.Conv2d(s, e, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat((F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))), 1)


class TorchSqueezeNet11(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def pool() -> nn.Module:
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), Fire(64, 16, 64), Fire(128, 16, 64), pool(), Fire(128, 32, 128),
            Fire(256, 32, 128), pool(), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).flatten(1)


def torch_vgg11_bn(by: int) -> nn.Module:
    layers: list[nn.Module] = []
    width = 3
    for rows in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"):
        if isinstance(rows, str):
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(width, rows // by, 3, padding=1), nn.BatchNorm2d(rows // by), nn.ReLU()]
            width = rows // by
    return _with_classifier(layers, 7, [0, 3, 6], [512 * 49 // by, 4096 // by, 4096 // by, 1000 // by])


def torch_alexnet(by: int) -> nn.Module:
    a, b, c, d = (v // by for v in (64, 192, 384, 256))
    layers = [nn.Conv2d(3, a, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(a, b, 5, padding=2), nn.ReLU()]
    layers += [nn.MaxPool2d(3, 2), nn.Conv2d(b, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, d, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(d, d, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)]
    return _with_classifier(layers, 6, [1, 4, 6], [256 * 36 // by, 4096 // by, 4096 // by, 1000 // by])


def _with_classifier(features: list[nn.Module], pool: int, places: list[int], widths: list[int]) -> nn.Module:
    classifier: list[nn.Module] = [nn.Dropout() for _ in range(7)]
    for place, i, o in zip(places, widths, widths[1:], strict=False):
        classifier[place] = nn.Linear(i, o)
        if place != places[-1]:
            classifier[place + 1] = nn.ReLU()
    names = {"features": nn.Sequential(*features), "avgpool": nn.AdaptiveAvgPool2d(pool), "flat": nn.Flatten()}
    network = nn.Sequential()
    for name, part in (names | {"classifier": nn.Sequential(*classifier)}).items():
        network.add_module(name, part)
    return network


@pytest.mark.parametrize("size", [(64, 64), (96, 130)])
@pytest.mark.parametrize(("name", "make"), [("vgg11_bn", torch_vgg11_bn), ("alexnet", torch_alexnet)])
def test_plain_networks_equal_independent_code_at_any_size(
    name: str, make: Callable[[int], nn.Module], size: tuple[int, int]
) -> None:
    state, network = slim(name, 8), make(8).eval()
    assert {k for k in network.state_dict() if "num_batches" not in k} == set(state)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, strict=False)
    graph = canonical(zoo.recognise(state).graph(state, (3, *size)))
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(x)
    # Float32 sums in another order, and the average over regions folded into the first linear layer.
    torch.testing.assert_close(forward(graph, x), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("name", "network", "size"),
    [
        ("resnet18", TorchResNet18(), (64, 48)),
        ("mobilenet_v2", TorchMobileNetV2(), (64, 50)),
        ("squeezenet1_1", TorchSqueezeNet11(), (66, 83)),
        ("cifar_resnet20", TorchCifarResNet(3, ""), (32, 32)),
        ("cifar_resnet14_b", TorchCifarResNet(2, "shortcut"), (32, 32)),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_results_equal_independent_code(name: str, network: nn.Module, size: tuple[int, int]) -> None:
    state = zoo.random_state_dict(name, rng())
    tensors = {k: torch.from_numpy(v) for k, v in state.items()}
    # `side` is this test's own second name of the shortcut; everything else must fit exactly.
    own = {k for k in network.state_dict() if ".side." not in k}
    assert own == set(tensors)
    network.load_state_dict(tensors, strict=False)
    graph = canonical(zoo.recognise(state).graph(state, (3, *size)))
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.eval()(x)
    # Float32 sums in another order, over up to fifty layers.
    torch.testing.assert_close(forward(graph, x), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


# --- recognition -----------------------------------------------------------------------------------------------------


def test_other_widths_classes_and_channels_are_read_from_the_checkpoint() -> None:
    wide = {
        k: (s[0] * 2, s[1] * 2, *s[2:]) if len(s) > 1 else (s[0] * 2,)
        for k, s in zoo.named("cifar_resnet14").shapes().items()
    }
    wide |= {"conv1.weight": (32, 1, 3, 3), "linear.weight": (26, 128), "linear.bias": (26,)}
    state = {k: np.ones(s, np.float32) for k, s in wide.items()}
    architecture = zoo.recognise(state)
    assert architecture.name == "cifar_resnet14"
    graph = canonical(architecture.graph(state))
    assert graph.input_shape == (1, 32, 32)
    assert graph.classes == 26


def test_any_cifar_depth_is_known() -> None:
    assert zoo.recognise(untouched("cifar_resnet26_b")).name == "cifar_resnet26_b"
    assert len([n for n in zoo.build("cifar_resnet1202").nodes if n.op is Op.CONV]) == 1201


def test_a_missing_parameter_is_named() -> None:
    state = untouched("resnet34")
    del state["layer3.2.bn1.bias"]
    with pytest.raises(ModelError, match=r"resnet34 \(1 differ\).*For resnet34: layer3.2.bn1.bias is missing.*--arch"):
        zoo.recognise(state)


def test_an_extra_parameter_is_named() -> None:
    state = untouched("resnet18") | {"aux.weight": np.zeros(3, np.float32)}
    with pytest.raises(ModelError, match=r"For resnet18: aux\.weight is too much"):
        zoo.recognise(state)


def test_a_shape_that_does_not_fit_is_shown_with_the_right_one() -> None:
    state = untouched("resnet50") | {"conv1.weight": np.zeros((64, 3, 3, 3), np.float32)}
    with pytest.raises(ModelError, match=r"For resnet50: conv1\.weight is 64×3×3×3 where 64×3×7×7 is needed"):
        zoo.recognise(state)


def test_strange_names_and_shapes_give_the_three_nearest() -> None:
    for shape in ((), (0,), (0, 0, 0, 0), (1, 2, 3, 4, 5)):
        with pytest.raises(ModelError, match=r"nearest are \w+ \(\d+ differ\), \w+ \(\d+ differ\), \w+ \(\d+ differ\)"):
            zoo.recognise({"conv1.weight": np.zeros(shape, np.float32), "layer1.0.conv1.weight": np.zeros(shape)})


def test_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(UsageError, match=r"resnet18.*not 'resnet81'"):
        zoo.named("resnet81")
    assert zoo.is_name("cifar_resnet20")
    assert not zoo.is_name("cifar_resnet21")


def test_an_input_too_small_is_refused_with_the_mend() -> None:
    with pytest.raises(ModelError, match="--input-shape"):
        canonical(zoo.build("alexnet", (3, 16, 16)))
