"""Whole networks on the simulated engines: are all integers right, how many cycles, and does the cycle model say so too.

    python scripts/simulate.py                        # every case, then the table in docs/hardware.md
    python scripts/simulate.py --only resnet18 --rtl  # some of them; the RTL too, whatever its size

Weights and images are random: cycles do not depend on them. The HLS engine's every tensor is compared with the integer
executor's. The RTL runs with a memory of the device's bandwidth; its output is compared, its cycles are those measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from accel.engine.compile import compile_program
from accel.engine.points import POINTS, Point
from accel.engine.rtl_engine import RtlEngine, Timing
from accel.engine.simulate import hls_backend
from accel.engine.work import layer_cycles, works_of
from ilmpq import naive, zoo
from ilmpq.backends import IntegerBackend
from ilmpq.canonical import canonical
from ilmpq.device import PARTS
from ilmpq.graph import Graph
from ilmpq.lower import lower
from ilmpq.perf import Memory, frame, machine_of
from ilmpq.placeholder import placeholder
from ilmpq.program import Program
from ilmpq.schemes import BY_NAME
from ilmpq.zoo_build import Builder

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "hw" / "sim" / "networks.json"
PAGE = ROOT / "docs" / "hardware.md"
MARKS = ("<!-- cycles -->", "<!-- /cycles -->")
LATENCY = 40  # cycles of the simulated memory
SHALLOW = 512  # steps in a ring that brings weights, but not the next layers'
NARROW = 0.5  # of the bandwidth: a board with a memory of 16 bits, as the PYNQ-Z1


def tincy_yolo(b: Builder, classes: int) -> None:
    """A small detector's backbone: six 3×3 convolutions that halve the image five times, then a 1×1 over each cell."""
    for index, (rows, stride) in enumerate([(16, 2), (64, 2), (64, 2), (128, 2), (256, 2), (512, 1), (512, 1)]):
        b.conv(f"conv{index}", rows, 3, stride, pad=1)
        b.batch_norm(f"norm{index}")
        b.relu()
    b.conv("detect", classes, 1, bias=True)


DETECTOR = zoo.Architecture("tincy_yolo", tincy_yolo, "conv0", input_shape=(3, 416, 416), classes=125)


@dataclass(frozen=True)
class Case:
    """A network with an image size, at a design point."""

    network: str
    size: int
    point: str = "xc7z020-pot4"
    images: int = 1
    rtl: bool = False


CASES = (
    Case("cifar_resnet20", 32, images=3, rtl=True),
    Case("resnet18", 224, images=2, rtl=True),
    Case("resnet50", 224),
    Case("vgg16", 224),
    Case("mobilenet_v2", 224, rtl=True),
    Case("squeezenet1_1", 224, rtl=True),
    Case("tincy_yolo", 416, rtl=True),
    Case("resnet18", 224, "xc7z020-pot3"),
    Case("resnet18", 224, "xc7z020-pot3-a5"),
    Case("resnet18", 224, "xc7z045-pot4", rtl=True),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only networks or points with this in the name")
    parser.add_argument("--rtl", action="store_true", help="simulate the RTL of every case chosen")
    parser.add_argument("--model-only", action="store_true", help="the model's cycles; what else is known stays")
    args = parser.parse_args()
    chosen = [c for c in CASES if args.only in f"{c.network} {c.point}"]
    if not chosen:
        parser.error(f"--only must be in the name of a network or point, not {args.only!r}")
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for case in chosen:
        started = time.monotonic()
        result = measure(replace(case, rtl=(case.rtl or args.rtl) and not args.model_only), compare=not args.model_only)
        key = f"{case.network}@{case.size} {case.point}"
        known[key] = (known.get(key, {}) if args.model_only else {}) | result
        print(f"{key}: {summary(known[key])} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
        RECORD.write_text(json.dumps({k: known[k] for k in _order(known)}, indent=1) + "\n")
    write_page([known[k] for k in _order(known)])
    return 0


def measure(case: Case, compare: bool) -> dict[str, Any]:
    """What is to be known of a case; raises where integers differ."""
    point = next(p for p in POINTS if p.name == case.point)
    program = program_of(graph_of(case.network, case.size), point)
    image = compile_program(program, point.config)
    macs = {node.name: program.graph.macs(node) for node in program.graph.weighted}
    works, machine = works_of(image, macs), machine_of(point.config)
    wide = PARTS[point.device].memory_bytes_per_cycle
    whole, narrow = (frame(works, machine, Memory(wide * share, LATENCY)) for share in (1.0, NARROW))
    found: dict[str, Any] = {
        **{k: v for k, v in asdict(case).items() if k not in ("images", "rtl")},
        "mac_per_cycle": machine.macs_per_cycle,
        "clock_mhz": PARTS[point.device].assumed_clock_mhz,
        "macs": sum(macs.values()),
        "weight_bytes": sum(part.nbytes for part in image.weights),
        "cycles": round(whole.cycles),
        "cycles_narrow": round(narrow.cycles),
        "lanes_busy": round(whole.busy(convolutions_only=True), 4),
        "lanes_busy_narrow": round(narrow.busy(convolutions_only=True), 4),
    }
    if machine.ring > SHALLOW:
        shallow = frame(works, replace(machine, ring=SHALLOW), Memory(wide, LATENCY))
        found["cycles_shallow_ring"] = round(shallow.cycles)
    if compare:
        found["images_equal"] = compare_hls(program, point, case.images)
    if case.rtl:
        cycles, worst = rtl_cycles(program, point, 1.0)
        found |= {"cycles_rtl": cycles, "worst_layer": worst}
    return found


def graph_of(network: str, size: int) -> Graph:
    """The canonical graph of a network with random weights."""
    rng = np.random.default_rng(0)
    architecture = DETECTOR if network == DETECTOR.name else zoo.named(network)
    return canonical(architecture.graph(architecture.random_state(rng), (3, size, size)))


def program_of(graph: Graph, point: Point) -> Program:
    """Random codes, rows in the ratio of the point's arrays."""
    geometry = point.config.geometry
    ratio = {BY_NAME[a.scheme].ident: float(a.rows) for a in geometry.arrays}
    return lower(placeholder(graph, np.random.default_rng(1), geometry.act_bits, ratio))


def random_images(program: Program, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    shape = (count, *program.graph.input_shape)
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)


def compare_hls(program: Program, point: Point, count: int) -> int:
    """Every tensor of so many images on the HLS engine, against the integer executor."""
    images = random_images(program, count)
    reference, found = IntegerBackend(program), hls_backend(program, point.config)
    for image in images:
        expected, got = reference.run(image[None]), found.run(image[None])
        for name, codes in got.codes.items():
            if not np.array_equal(codes.ravel(), expected.codes[name].ravel()):
                raise SystemExit(f"{name} must be what the integer executor says")
        if not np.array_equal(got.logits.ravel(), expected.logits.ravel()):
            raise SystemExit("logits must be what the integer executor says")
    return count


def rtl_cycles(program: Program, point: Point, share: float, engine: RtlEngine | None = None) -> tuple[int, float]:
    """Cycles of the RTL with a share of the memory's rate, and how far the model is from them in the worst layer, in percent.

    The output must be right.
    """
    image = compile_program(program, point.config)
    rate = share * PARTS[point.device].memory_bytes_per_cycle
    model = frame(works_of(image, {}), machine_of(point.config), Memory(rate, LATENCY))
    codes = naive.input_codes(program, random_images(program, 1))[0]
    result = (engine or RtlEngine(point.config)).run(
        list(image.words),
        [part.tobytes() for part in image.weights],
        image.scratch_bytes,
        image.encode_input(codes).tobytes(),
        image.output_bytes,
        Timing(LATENCY, rate),
    )
    output = image.decode_output(np.frombuffer(result.require().output, np.uint8)) * program.logits_scale
    expected = IntegerBackend(program).run(random_images(program, 1)).logits
    if not np.array_equal(output.ravel(), expected.ravel()):
        raise SystemExit("the RTL's logits must be what the integer executor says")
    worst = max(abs(found / real - 1) for real, found in layer_cycles(image, result.completed, model).values())
    return result.counters["CYCLES"], round(100 * worst, 2)


def summary(row: dict[str, Any]) -> str:
    rtl = f", RTL {row['cycles_rtl']:,}" if "cycles_rtl" in row else ""
    equal = f", {row['images_equal']} images equal" if "images_equal" in row else ""
    return f"{row['cycles']:,} cycles{rtl}{equal}"


def _order(known: dict[str, Any]) -> list[str]:
    order = [f"{c.network}@{c.size} {c.point}" for c in CASES]
    return [key for key in order if key in known]


def rate(row: dict[str, Any], cycles: str) -> str:
    """Frames per second."""
    return f"{row['clock_mhz'] * 1e6 / row[cycles]:.1f}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| network | input | point | GMAC | weights, MB | cycles: model | RTL | worst layer | frames/s | lanes busy | with half the memory rate | images equal on HLS |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        rtl = f"{r['cycles_rtl']:,} | {r['worst_layer']} %" if "cycles_rtl" in r else "– | –"
        shallow = f" ({rate(r, 'cycles_shallow_ring')})" if "cycles_shallow_ring" in r else ""
        cells = [
            *(str(r[key]) for key in ("network", "size", "point")),
            f"{r['macs'] / 1e9:.2f}",
            f"{r['weight_bytes'] / 1e6:.2f}",
            f"{r['cycles']:,}",
            rtl,
            rate(r, "cycles") + shallow,
            f"{100 * r['lanes_busy']:.1f} %",
            f"{rate(r, 'cycles_narrow')}, {100 * r['lanes_busy_narrow']:.1f} %",
            str(r.get("images_equal", "–")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_page(rows: Sequence[dict[str, Any]]) -> None:
    """The table in docs/hardware.md, between its marks."""
    text = PAGE.read_text()
    before, rest = text.split(MARKS[0])
    PAGE.write_text(f"{before}{MARKS[0]}\n{table(rows)}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


if __name__ == "__main__":
    raise SystemExit(main())
