"""Train the embedded demonstration network on scikit-learn's digits and write its weights.

    python scripts/train_digits.py [FILE]

Takes less than a minute on one CPU core. The default FILE is the one that comes with the package.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor, nn

from ilmpq.data import digits_split
from ilmpq.demo import ARCHITECTURE, PREPROCESS
from ilmpq.files import write_atomically

ASSET = Path(__file__).parents[1] / "ilmpq" / "assets" / "digits.safetensors"
EPOCHS, BATCH, RATE = 80, 64, 0.01


class Block(nn.Module):
    def __init__(self, channels: int, rows: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, rows, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(rows)
        self.conv2 = nn.Conv2d(rows, rows, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(rows)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, rows, 1, stride, bias=False), nn.BatchNorm2d(rows))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.shortcut(x)).relu()


class Digits(nn.Module):
    """`ilmpq.demo.ARCHITECTURE` as a torch module."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16, 1))
        self.layer2 = nn.Sequential(Block(16, 32, 2))
        self.linear = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.layer2(self.layer1(self.bn1(self.conv1(x)).relu())).mean((2, 3)))


def shifted(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Each image moved by at most one pixel each way."""
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    moves = rng.integers(0, 3, (len(x), 2))
    return torch.stack([image[:, v : v + 8, h : h + 8] for image, (v, h) in zip(padded, moves, strict=True)])


def train(seed: int = 0) -> tuple[Digits, float]:
    """The trained network and its accuracy on the test part, in percent."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    x_train, y_train, x_test, y_test = digits_split()
    x, y = torch.from_numpy(PREPROCESS.normalise(x_train)), torch.from_numpy(y_train)
    network = Digits()
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.02)
    batches = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, EPOCHS * batches)
    for _ in range(EPOCHS):
        order = torch.from_numpy(rng.permutation(len(x)))
        for i in range(batches):
            picked = order[i * BATCH : (i + 1) * BATCH]
            loss = nn.functional.cross_entropy(network(shifted(x[picked], rng)), y[picked], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        right = network(torch.from_numpy(PREPROCESS.normalise(x_test))).argmax(1).numpy() == y_test
    return network, 100 * float(right.mean())


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ASSET
    network, accuracy = train()
    state = {k: v.numpy() for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {k: v.shape for k, v in state.items()} == ARCHITECTURE.shapes()
    content = save(state)
    write_atomically(target, content)
    parameters = sum(v.size for v in state.values())
    print(f"{target}: {accuracy:.1f} % on the test part, {parameters} parameters, {len(content)} bytes")


if __name__ == "__main__":
    main()
