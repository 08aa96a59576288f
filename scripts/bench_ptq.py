"""The cost table: CPU seconds and peak memory of `ilmpq quantize` beside Brevitas' GPTQ, on ResNet-18, one thread.

    python scripts/bench_ptq.py [--checkpoint FILE] [--images 32] [--size 224] [--repeat 1]

Brevitas runs as its ImageNet example does (fx backend, GPTQ's defaults), but with 4-bit weights, one scale per channel,
4-bit activations, and batches of 8 images, which take less time and memory than the example's 64. Without a checkpoint the weights are random; the images are synthetic: cost depends on
shapes only. Every contender has a process of its own. Of several repetitions the least CPU time and the largest memory
count. The exit code is 4 if a bar is missed, 6 without brevitas.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from torch import Tensor, nn

from ilmpq.errors import IlmpqError, ModelError
from ilmpq.filekind import FileKind, kind_of
from ilmpq.load_state import read_state
from ilmpq.zoo import check, named, random_state_dict

P = ParamSpec("P")
T = TypeVar("T")
BATCH = 8  # images at once in Brevitas; 64 took 47 s and 1.7 GB where 8 took 44 s and 1.3 GB
REFERENCE = "brevitas GPTQ"
ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TQDM_DISABLE"), "1")


@dataclass(frozen=True)
class Cost:
    """What one run took."""

    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Contender:
    """A row of the table, and the largest ratios to Brevitas' GPTQ that it may have."""

    name: str
    cpu_bar: float = float("inf")
    memory_bar: float = float("inf")

    def bar(self) -> str:
        """The bar in words."""
        parts = (("CPU", self.cpu_bar), ("memory", self.memory_bar))
        return ", ".join(f"{what} ≤ {limit:g}×" for what, limit in parts if limit < float("inf")) or "–"


EFFORTS = {"normal": Contender("ilmpq normal", 1.0, 1.0), "fast": Contender("ilmpq fast", 0.3)}


class Block(nn.Module):
    """torchvision's BasicBlock."""

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu2 = nn.ReLU()
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels != planes:
            self.downsample = nn.Sequential(nn.Conv2d(channels, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """torchvision's ResNet-18, with its names."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
        self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
        self.layer3 = nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
        self.layer4 = nn.Sequential(Block(256, 512, 2), Block(512, 512, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def make_inputs(checkpoint: Path | None, count: int, size: int, model: Path, images: Path) -> None:
    """Write the weights and the calibration images that all contenders read; refuse weights that blow up."""
    if checkpoint is None:
        state = random_state_dict("resnet18", np.random.default_rng(0))
    else:
        state = dict(read_state(checkpoint, kind_of(checkpoint)))
    check(named("resnet18"), state)
    save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, model)
    x = smooth_images(count, size, torch.Generator().manual_seed(0))
    np.savez(images, x=x.numpy())
    logits = load_network(model)(x[:4])
    if not 1e-2 < float(logits.std()) < 1e2:
        raise ModelError(f"logits must have a standard deviation from 0.01 to 100, not {float(logits.std()):g}")


def smooth_images(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Blobs at three scales, mean 0 and variance 1: already preprocessed."""
    x = torch.zeros(count, 3, size, size)
    for cells in (4, 16, 64):
        noise = torch.randn(count, 3, cells, cells, generator=generator)
        x += F.interpolate(noise, size=(size, size), mode="bicubic") * cells**-0.5
    return (x - x.mean()) / x.std()


@torch.no_grad()
def load_network(model: Path) -> nn.Module:
    """The module with the weights of the file, for inference."""
    state = {k: torch.from_numpy(v) for k, v in read_state(model, FileKind.SAFETENSORS).items()}
    network = ResNet18(len(state["fc.bias"]))
    network.load_state_dict(state, strict=False)  # `make_inputs` checked all but batch norms' counters
    return network.eval().requires_grad_(False)


def ilmpq_run(effort: str, model: Path, images: Path, count: int, size: int) -> Cost:
    """`ilmpq quantize` as a user runs it; the figures are its own summary's."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "ilmpq.cli", "quantize", str(model), "--out", str(out), "-q", "--threads", "1"]
        command += ["--effort", effort, "--calib", str(images), "--calib-images", str(count)]
        command += ["--arch", "resnet18", "--input-shape", f"3,{size},{size}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        summary = json.loads((out / "summary.json").read_text())
    return Cost(summary["cpu_seconds"], summary["peak_memory_mb"])


def brevitas_run(model: Path, images: Path) -> dict[str, Cost]:
    """Calibration and GPTQ, then bias correction: CPU seconds of each, peak memory so far."""
    from brevitas.graph.quantize import preprocess_for_quantize
    from brevitas_examples.imagenet_classification.ptq import ptq_common

    torch.set_num_threads(1)
    x = torch.from_numpy(np.load(images)["x"])
    loader = [(part, torch.zeros(len(part), dtype=torch.int64)) for part in x.split(BATCH)]
    network = preprocess_for_quantize(load_network(model), equalize_iters=20, merge_bn=True)
    network = ptq_common.quantize_model(
        network,
        backend="fx",
        weight_bit_width=4,
        act_bit_width=4,
        bias_bit_width=32,
        weight_quant_granularity="per_channel",
        act_quant_percentile=99.999,
        act_quant_type="sym",
        scale_factor_type="float_scale",
        quant_format="int",
    ).eval()
    with torch.no_grad():
        network(x[:1])  # scales of weights are made in a first pass

    started = time.process_time()
    ptq_common.calibrate(loader, network)
    ptq_common.apply_gptq(loader, network, create_weight_orig=True)
    done = time.process_time()
    costs = {REFERENCE: Cost(done - started, peak_mb())}
    ptq_common.apply_bias_correction(loader, network)
    return costs | {"brevitas bias correction": Cost(time.process_time() - done, peak_mb())}


def peak_mb() -> float:
    """The largest resident size so far of this process."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call in a fresh process. Linux starts a child's peak at its parent's size: so this process must stay small."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args, **kwargs).result()


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Cost]:
    """The cost of every contender."""
    model, images = folder / "resnet18.safetensors", folder / "images.npz"
    alone(make_inputs, options.checkpoint, options.images, options.size, model, images)
    runs: dict[str, list[Cost]] = {}
    for _ in range(options.repeat):
        for effort, contender in EFFORTS.items():
            cost = ilmpq_run(effort, model, images, options.images, options.size)
            runs.setdefault(contender.name, []).append(cost)
        for name, cost in alone(brevitas_run, model, images).items():
            runs.setdefault(name, []).append(cost)
    return {k: Cost(min(c.cpu_seconds for c in v), max(c.peak_mb for c in v)) for k, v in runs.items()}


def print_table(costs: dict[str, Cost]) -> bool:
    """Print the table; whether every bar is met."""
    contenders = {c.name: c for c in EFFORTS.values()}
    reference, met = costs[REFERENCE], True
    print("| contender | CPU s | ratio | peak MB | ratio | bar | |")
    print("|---|---|---|---|---|---|---|")
    for name, cost in costs.items():
        contender = contenders.get(name, Contender(name))
        cpu, memory = cost.cpu_seconds / reference.cpu_seconds, cost.peak_mb / reference.peak_mb
        ok = cpu <= contender.cpu_bar and memory <= contender.memory_bar
        verdict = ("ok" if ok else "MISSED") if name in contenders else ""
        figures = f"{cost.cpu_seconds:.1f} | {cpu:.2f} | {cost.peak_mb:.0f} | {memory:.2f}"
        print(f"| {name} | {figures} | {contender.bar()} | {verdict} |")
        met &= ok
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="weights of a torchvision ResNet-18; default: random")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--size", type=int, default=224, help="height and width")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    if importlib.util.find_spec("brevitas") is None:
        print("error: brevitas must be installed for this comparison: `make bench` does that", file=sys.stderr)
        return 6
    os.environ.update(ENVIRONMENT)
    try:
        with tempfile.TemporaryDirectory() as folder:
            costs = measure(options, Path(folder))
    except IlmpqError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"ResNet-18, {options.images} images of {options.size}×{options.size}, one thread\n")
    return 0 if print_table(costs) else 4


if __name__ == "__main__":
    raise SystemExit(main())
