"""What commands share: the options with one name in all of them, threads, and printing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import UsageError

if TYPE_CHECKING:
    from .workload import Shapes

THREADS_PER_CORE = 4  # more only cost memory

Model = Annotated[str, typer.Argument(help="checkpoint (.pt .pth .th .safetensors), .pt2, .onnx, or the word digits")]
Device = Annotated[str | None, typer.Option(help="xc7z020 or xc7z045")]
Schemes = Annotated[
    str,
    typer.Option(
        help="arrays that a design may have: schemes, or schemes on a resource, as pot3,fix4@dsp,fix4@lut,fix8@dsp"
    ),
]
Run = Annotated[Path, typer.Argument(help="a RUN folder that `ilmpq quantize` made")]
Arch = Annotated[str | None, typer.Option(help="architecture's name, or package.module:callable (its code is run)")]
InputShape = Annotated[str | None, typer.Option(help="channels,height,width of the input; default: the architecture's")]
Preset = Annotated[str | None, typer.Option(help="preprocessing: imagenet, cifar10, mnist, fashion_mnist, none")]
Mean = Annotated[
    str | None, typer.Option(help="mean per channel of pixels scaled to 0…1, for example 0.485,0.456,0.406")
]
Std = Annotated[str | None, typer.Option(help="standard deviation per channel, likewise")]
ActBits = Annotated[str, typer.Option(help="activation bits 4…8; per layer: 4,fc=8,layer3.*=5")]
RatioOption = Annotated[
    str | None, typer.Option(help="rows in percent: PoT4:Fixed4:Fixed8, or pot3:70,fix4:25,fix8:5; default 60:35:5")
]
Calib = Annotated[str | None, typer.Option(help="calibration images (no labels needed); default: made up")]
CalibImages = Annotated[int | None, typer.Option(help="how many of them; default: by effort and size")]
Val = Annotated[str | None, typer.Option(help="labelled images: folder of class folders, .npz with x and y, or digits")]
ValImages = Annotated[int | None, typer.Option(help="use only so many labelled images")]
MeasuringEffort = Annotated[str | None, typer.Option("--effort", help="fast, normal (default) or high")]
MeasuringSeed = Annotated[int | None, typer.Option("--seed", help="of the quantizations; default 0")]
KeepMeasured = Annotated[bool, typer.Option("--resume", help="keep what is measured, and go on")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; default: all cores")]
Json = Annotated[bool, typer.Option("--json", help="print results as JSON")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress, no notes")]


def use_threads(threads: int | None) -> None:
    import torch
    from threadpoolctl import threadpool_limits

    cores = len(os.sched_getaffinity(0))
    most = THREADS_PER_CORE * cores
    if threads is not None and not 1 <= threads <= most:
        raise UsageError(f"--threads must be at least 1 and at most {most} ({cores} cores), not {threads}")
    count = threads or cores
    torch.set_num_threads(count)
    threadpool_limits(count)


def print_table(table: Any) -> None:
    """A table in the terminal's width; anywhere else, in as many columns as it takes."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    with console.capture() as captured:  # so that print alone meets what can go wrong with stdout
        console.print(table)
    print(captured.get(), end="")


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def input_options(
    arch: str | None, input_shape: str | None, preset: str | None, mean: str | None, std: str | None
) -> dict[str, Any]:
    """What a command was told of a network's input, as `Options` has it."""
    from .preprocess import parse_channels, parse_shape

    return {
        "arch": arch,
        "input_shape": None if input_shape is None else parse_shape(input_shape),
        "preset": preset,
        "mean": None if mean is None else parse_channels("--mean", mean),
        "std": None if std is None else parse_channels("--std", std),
    }


def width_of(text: str) -> int:
    """One of the widths of `--act-bits`, where several may be given."""
    if text.strip() not in {"4", "5", "6", "7", "8"}:
        raise UsageError(f"--act-bits must be from 4 to 8, several with commas, not {text.strip()!r}")
    return int(text)


def shapes_named(model: str, arch: str | None, input_shape: str | None) -> tuple[str, Shapes]:
    """A network's name and shapes, which need no weights."""
    from .inspection import network_of
    from .options import Options
    from .preprocess import parse_shape
    from .workload import shapes_of

    options = Options(arch=arch, input_shape=None if input_shape is None else parse_shape(input_shape))
    graph, _ = network_of(model, options)
    return Path(model).stem if Path(model).suffix else model, shapes_of(graph)
