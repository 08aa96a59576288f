"""Small networks in the styles that people write them, for the tests of the importers.

`NETS` maps a name to (module with random batch-norm statistics in evaluation mode, input shape).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, int, int]


class Residual(nn.Module):
    """A basic block with one shared in-place ReLU and a projection shortcut, as torchvision has it."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += shortcut
        return self.relu(y)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, depthwise, project; ReLU6."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *(nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True)),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False),
            *(nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True)),
            *(nn.Conv2d(hidden, channels, 1, bias=False), nn.BatchNorm2d(channels)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.block = InvertedResidual(8, 24)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.block(self.stem(x)).mean([2, 3]))


class Fire(nn.Module):
    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class OptionA(nn.Module):
    """A parameter-free shortcut, as the CIFAR ResNets have it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 8, 3, 2, 1)
        self.linear = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2), "constant", 0))
        return self.linear(F.avg_pool2d(x, x.size(3)).view(x.size(0), -1))


class PreActivation(nn.Module):
    """Batch norm and an in-place ReLU before the convolution: the shortcut sees the ReLU's output too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv1 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        y = self.conv1(F.relu_(x))  # x changes with it
        x = F.relu(self.bn2(y + x)) + self.bn1(x)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Functional(nn.Module):
    """No layer objects but the weighted ones; padding, clamp and scaling by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, (3, 5), (2, 1), bias=False)
        self.second = nn.Conv2d(4, 8, 3, groups=2, dilation=2, padding="same")
        self.head = nn.Linear(8 * 3 * 3, 5)
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / 0.25
        x = torch.clamp(self.first(F.pad(x, (2, 2, 0, 1))), min=0)
        x = F.max_pool2d(F.hardtanh(self.second(x), 0.0, 4.0), 3, 2, 1)
        x = F.relu(x)
        x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        return self.head(x.reshape(x.shape[0], 8 * 3 * 3)).squeeze()


def vgg() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(True), nn.MaxPool2d(2, 2)),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(True), nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten()),
        *(nn.Linear(32, 16), nn.BatchNorm1d(16, affine=False), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 5)),
    )


def residual() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(True)),
        *(Residual(8, 8), Residual(8, 16, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)),
    )


def squeezenet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(8, 4, 6)),
        *(nn.AvgPool2d(3, 2, ceil_mode=True), nn.Conv2d(12, 5, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()),
    )


MAKERS: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "residual": (residual, (3, 12, 12)),
    "mobilenet": (MobileNet, (3, 11, 9)),
    "squeezenet": (squeezenet, (3, 18, 17)),
    "vgg": (vgg, (3, 8, 12)),
    "option_a": (OptionA, (3, 8, 8)),
    "preactivation": (PreActivation, (3, 6, 6)),
    "functional": (Functional, (3, 22, 12)),
}


def make(name: str) -> tuple[nn.Module, Shape]:
    """A network of `MAKERS` with random parameters and statistics, in evaluation mode."""
    maker, shape = MAKERS[name]
    torch.manual_seed(len(name))
    module = maker()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            if layer.affine:
                nn.init.uniform_(layer.weight, -1.5, 1.5)
                nn.init.uniform_(layer.bias, -0.5, 0.5)
    return module.eval(), shape


def images(shape: Shape, count: int = 3) -> Tensor:
    """Random images, always the same."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))
