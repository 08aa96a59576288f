"""The speed table: the integer executor on ResNet-18 beside qonnx and onnxruntime on the exports, and packed sizes.

    python scripts/bench_integer.py [--images 8] [--size 224] [--batch 1] [--threads 2] [--repeat 3]

The weights are random and the images synthetic: cost depends on shapes only. A RUN folder is made and exported by the
commands that a user has; then each contender runs the same images in a process of its own, after one batch to warm up.
qonnx opens a session for every node of every call, so its cost per image falls with the batch; the bar is at one image,
as its cleanup leaves a model. Of several repetitions the least time counts. The exit code is 4 if a bar is missed, 6 without onnxruntime or qonnx.
"""

from __future__ import annotations

import argparse
import importlib.util
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

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.numpy import save_file

from ilmpq.errors import IlmpqError
from ilmpq.export import Format, file_name, read_export
from ilmpq.integer import Executor
from ilmpq.program import Program
from ilmpq.runfolder import MODEL, PROGRAM, RunFolder
from ilmpq.zoo import random_state_dict

WALL_BAR = 0.25  # seconds per image on two cores
CPU_BAR = 1 / 3  # of qonnx' CPU seconds
SIZE_BAR = 7.2  # times smaller than float32
CALIBRATION_IMAGES = 8
# Idle OpenMP threads must sleep: what they spin away would be counted. A process reads this when it starts.
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive"}

Images = NDArray[np.float32]
Runner = Callable[[Images], object]


@dataclass(frozen=True)
class Cost:
    """Seconds per image."""

    wall: float
    cpu: float


def make_run(folder: Path, size: int) -> Path:
    """A RUN folder of ResNet-18 with random weights, and both exports of it."""
    model, images, run = folder / "resnet18.safetensors", folder / "images.npz", folder / "run"
    save_file(
        {k: np.ascontiguousarray(v) for k, v in random_state_dict("resnet18", np.random.default_rng(0)).items()}, model
    )
    np.savez(images, x=smooth_images(CALIBRATION_IMAGES, size, seed=0))
    shape = ["--arch", "resnet18", "--input-shape", f"3,{size},{size}"]
    ilmpq("quantize", str(model), "--out", str(run), "--effort", "fast", "--calib", str(images), *shape)
    for form in Format:
        ilmpq("export", str(run), "--format", form.value)
    return run


def ilmpq(*words: str) -> None:
    """Run a command, its results unseen."""
    subprocess.run([sys.executable, "-m", "ilmpq.cli", *words, "-q"], check=True, stdout=subprocess.DEVNULL)


def smooth_images(count: int, size: int, seed: int) -> Images:
    """Blobs at three scales, mean 0 and variance 1: already preprocessed."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(count, 3, size, size)
    for cells in (4, 16, 64):
        noise = torch.randn(count, 3, cells, cells, generator=generator)
        x += F.interpolate(noise, size=(size, size), mode="bicubic") * cells**-0.5
    return np.asarray(((x - x.mean()) / x.std()).numpy())


def integer_runner(run: Path, batch: int, threads: int) -> Runner:
    executor = Executor(Program.load(run / PROGRAM))
    return lambda x: executor.logits(torch.from_numpy(x))


def onnxruntime_runner(run: Path, batch: int, threads: int) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    data = read_export(run / "export" / file_name(Format.QDQ))
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(["logits"], {"input": x})


def qonnx_runner(run: Path, batch: int, threads: int) -> Runner:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.util.cleanup import cleanup_model

    data = read_export(run / "export" / file_name(Format.QONNX))
    model = cleanup_model(ModelWrapper(data), override_inpsize=batch)
    name = model.graph.input[0].name
    return lambda x: execute_onnx(model, {name: x})


INTEGER, QONNX = "integer executor", "qonnx execute_onnx on QONNX"
RUNNERS = {INTEGER: integer_runner, QONNX: qonnx_runner, "onnxruntime on QDQ": onnxruntime_runner}


def measure(name: str, run: Path, images: int, size: int, batch: int, threads: int) -> Cost:
    """Seconds per image of one contender; called in a fresh process."""
    torch.set_num_threads(threads)
    runner = RUNNERS[name](run, batch, threads)
    x = smooth_images(images, size, seed=1)
    runner(x[:batch])
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, images, batch):
        runner(x[start : start + batch])
    return Cost((time.perf_counter() - wall) / images, (time.process_time() - cpu) / images)


def measure_all(options: argparse.Namespace, run: Path) -> dict[str, Cost]:
    """The least cost of every contender; repetitions take turns, so that other work on the machine hits all alike."""
    costs: dict[str, list[Cost]] = {name: [] for name in RUNNERS}
    context = multiprocessing.get_context("spawn")
    for _ in range(options.repeat):
        for name in RUNNERS:
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                job = pool.submit(measure, name, run, options.images, options.size, options.batch, options.threads)
                costs[name].append(job.result())
    return {name: Cost(min(c.wall for c in found), min(c.cpu for c in found)) for name, found in costs.items()}


def print_speed(costs: dict[str, Cost]) -> bool:
    """Print the table of times; whether the integer executor meets both bars."""
    reference = costs[QONNX].cpu
    met = costs[INTEGER].wall <= WALL_BAR and costs[INTEGER].cpu <= CPU_BAR * reference
    print("| executor | wall s per image | CPU s per image | CPU beside qonnx | bar | |")
    print("|---|---|---|---|---|---|")
    for name, cost in costs.items():
        bar = f"≤ {WALL_BAR} s wall, CPU ≤ {CPU_BAR:.2f}× | {'ok' if met else 'MISSED'}" if name == INTEGER else "– | "
        print(f"| {name} | {cost.wall:.3f} | {cost.cpu:.3f} | {cost.cpu / reference:.2f} | {bar} |")
    return met


def print_sizes(run: Path) -> bool:
    """Print the table of files; whether the program is as small as it must be."""
    whole = RunFolder(run).model().float_bytes()
    met = whole / (run / PROGRAM).stat().st_size >= SIZE_BAR
    print("| file | bytes | float32 parameters ÷ this | bar | |")
    print("|---|---|---|---|---|")
    for path in (run / PROGRAM, *(run / "export" / file_name(form) for form in Format), run / MODEL):
        size = path.stat().st_size
        bar = f"≥ {SIZE_BAR} | {'ok' if met else 'MISSED'}" if path.name == PROGRAM else "– | "
        print(f"| {path.name} | {size:,} | {whole / size:.2f} | {bar} |")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="height and width")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    if options.batch < 1 or options.images < 1 or options.images % options.batch:
        parser.error("--images must be a multiple of --batch")
    for package in ("onnxruntime", "qonnx"):
        if importlib.util.find_spec(package) is None:
            print(f"error: {package} must be installed for this comparison: pip install {package}", file=sys.stderr)
            return 6
    os.environ.update(ENVIRONMENT)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = make_run(Path(folder), options.size)
            costs = measure_all(options, run)
            print(
                f"ResNet-18, images of {options.size}×{options.size}, {options.threads} threads, batch {options.batch}\n"
            )
            fast = print_speed(costs)
            print("\n60:35:5\n")
            small = print_sizes(run)
    except IlmpqError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0 if fast and small else 4


if __name__ == "__main__":
    raise SystemExit(main())
