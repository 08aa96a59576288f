"""The architectures themselves, as torchvision (and for CIFAR, the usual public code) defines them.

Parameter names are those of the checkpoints; a node is named after its module. Dropout does nothing at inference.
"""

from __future__ import annotations

from .zoo_build import Builder

# --- ResNets ---------------------------------------------------------------------------------------------------------


def resnet(
    b: Builder, classes: int, layers: tuple[int, ...], bottleneck: bool, groups: int = 1, group_width: int = 64
) -> None:
    """ResNet, v1.5 (the stride of a bottleneck is in its 3×3 convolution); also wide ResNet and ResNeXt."""
    b.conv("conv1", 64, 7, stride=2, pad=3)
    b.batch_norm("bn1")
    b.relu()
    b.max_pool("maxpool", 3, 2, pad=1)
    for stage, blocks in enumerate(layers):
        planes = 64 * 2**stage
        for i in range(blocks):
            name, stride = f"layer{stage + 1}.{i}", 2 if stage > 0 and i == 0 else 1
            x = b.newest
            if bottleneck:
                width = planes * group_width // 64 * groups
                _conv_norm_relu(b, f"{name}.conv1", f"{name}.bn1", width, 1)
                b.conv(f"{name}.conv2", width, 3, stride, 1, groups="any", usual_groups=groups)
                b.batch_norm(f"{name}.bn2")
                b.relu()
                b.conv(f"{name}.conv3", 4 * planes, 1)
                out = b.batch_norm(f"{name}.bn3", small=True)
            else:
                out = _two_convolutions(b, name, planes, stride)
            if stride != 1 or b.channels(x) != b.channels(out):
                b.conv(f"{name}.downsample.0", b.channels(out), 1, stride, at=x)
                x = b.batch_norm(f"{name}.downsample.1")
            b.add(f"{name}.add", out, x)
            b.relu()
    b.adaptive_pool("avgpool", 1)
    b.flatten()
    b.linear("fc", classes)


def cifar_resnet(b: Builder, classes: int, layers: tuple[int, ...], planes: int = 16, projection: bool = False) -> None:
    """ResNet for 32×32 images. Shortcuts subsample and add zero channels (option A) or project (option B)."""
    _conv_norm_relu(b, "conv1", "bn1", planes, 3)
    for stage, blocks in enumerate(layers):
        for i in range(blocks):
            name, stride = f"layer{stage + 1}.{i}", 2 if stage > 0 and i == 0 else 1
            x = b.newest
            out = _two_convolutions(b, name, planes * 2**stage, stride)
            if stride != 1 or b.channels(x) != b.channels(out):
                if projection:
                    b.conv(f"{name}.shortcut.0", b.channels(out), 1, stride, at=x)
                    x = b.batch_norm(f"{name}.shortcut.1")
                else:
                    x = b.subsample(f"{name}.shortcut", 2, b.channels(out) // 4, at=x)
            b.add(f"{name}.add", out, x)
            b.relu()
    b.adaptive_pool("avgpool", 1)
    b.flatten()
    b.linear("linear", classes)


def _two_convolutions(b: Builder, name: str, planes: int, stride: int) -> str:
    _conv_norm_relu(b, f"{name}.conv1", f"{name}.bn1", planes, 3, stride)
    b.conv(f"{name}.conv2", planes, 3, pad=1)
    return b.batch_norm(f"{name}.bn2", small=True)


def _conv_norm_relu(b: Builder, conv: str, norm: str, rows: int, kernel: int, stride: int = 1) -> None:
    b.conv(conv, rows, kernel, stride, pad=kernel // 2)
    b.batch_norm(norm)
    b.relu()


# --- plain networks --------------------------------------------------------------------------------------------------

VGG_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def vgg(b: Builder, classes: int, depth: int, norm: bool) -> None:
    index = 0
    for rows, convolutions in zip((64, 128, 256, 512, 512), VGG_CONVOLUTIONS[depth], strict=True):
        for _ in range(convolutions):
            b.conv(f"features.{index}", rows, 3, pad=1, bias=True)
            if norm:
                b.batch_norm(f"features.{index + 1}")
            b.relu()
            index += 3 if norm else 2
        b.max_pool(f"features.{index}", 2, 2)
        index += 1
    b.adaptive_pool("avgpool", 7)
    b.flatten()
    _classifier(b, ("classifier.0", "classifier.3"), "classifier.6", classes)


def alexnet(b: Builder, classes: int) -> None:
    b.conv("features.0", 64, 11, stride=4, pad=2, bias=True)
    b.relu()
    b.max_pool("features.2", 3, 2)
    b.conv("features.3", 192, 5, pad=2, bias=True)
    b.relu()
    b.max_pool("features.5", 3, 2)
    for index, rows in ((6, 384), (8, 256), (10, 256)):
        b.conv(f"features.{index}", rows, 3, pad=1, bias=True)
        b.relu()
    b.max_pool("features.12", 3, 2)
    b.adaptive_pool("avgpool", 6)
    b.flatten()
    _classifier(b, ("classifier.1", "classifier.4"), "classifier.6", classes)


def _classifier(b: Builder, hidden: tuple[str, ...], last: str, classes: int) -> None:
    for name in hidden:
        b.linear(name, 4096)
        b.relu()
    b.linear(last, classes)


# --- small networks --------------------------------------------------------------------------------------------------

# Index in `features`: (squeeze, each expand), or None for a max pool.
SQUEEZENET_1_0 = {3: (16, 64), 4: (16, 64), 5: (32, 128), 6: None, 7: (32, 128), 8: (48, 192), 9: (48, 192)}
SQUEEZENET_1_0 |= {10: (64, 256), 11: None, 12: (64, 256)}
SQUEEZENET_1_1 = {3: (16, 64), 4: (16, 64), 5: None, 6: (32, 128), 7: (32, 128), 8: None, 9: (48, 192), 10: (48, 192)}
SQUEEZENET_1_1 |= {11: (64, 256), 12: (64, 256)}


def squeezenet(b: Builder, classes: int, first: tuple[int, int], features: dict[int, tuple[int, int] | None]) -> None:
    """SqueezeNet; `first` is rows and kernel of the first convolution. Its max pools round sizes up."""
    b.conv("features.0", *first, stride=2, bias=True)
    b.relu()
    b.max_pool("features.2", 3, 2, ceil=True)
    for index, widths in features.items():
        name = f"features.{index}"
        if widths is None:
            b.max_pool(name, 3, 2, ceil=True)
            continue
        b.conv(f"{name}.squeeze", widths[0], 1, bias=True)
        squeezed = b.relu()
        b.conv(f"{name}.expand1x1", widths[1], 1, bias=True, at=squeezed)
        left = b.relu()
        b.conv(f"{name}.expand3x3", widths[1], 3, pad=1, bias=True, at=squeezed)
        b.concat(f"{name}.concat", left, b.relu())
    b.conv("classifier.1", classes, 1, bias=True)
    b.relu()
    b.adaptive_pool("classifier.3", 1)
    b.flatten()


# Expansion, rows, repeats, stride of the first.
MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(b: Builder, classes: int) -> None:
    def conv_norm_relu6(name: str, rows: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        b.conv(f"{name}.0", rows, kernel, stride, kernel // 2, groups)
        b.batch_norm(f"{name}.1")
        b.relu(6.0)

    conv_norm_relu6("features.0", 32, 3, 2)
    index = 1
    for expansion, rows, repeats, first_stride in MOBILENET_V2:
        for i in range(repeats):
            name, stride, x, step = f"features.{index}.conv", first_stride if i == 0 else 1, b.newest, 0
            if expansion != 1:
                conv_norm_relu6(f"{name}.0", expansion * b.channels(), 1)
                step = 1
            conv_norm_relu6(f"{name}.{step}", b.channels(), 3, stride, b.channels())
            b.conv(f"{name}.{step + 1}", rows, 1)
            out = b.batch_norm(f"{name}.{step + 2}", small=True)
            if stride == 1 and b.channels(x) == b.channels(out):
                b.add(f"features.{index}.add", out, x)
            index += 1
    conv_norm_relu6(f"features.{index}", 1280, 1)
    b.adaptive_pool("avgpool", 1)
    b.flatten()
    b.linear("classifier.1", classes)
