"""Whole networks on the simulated engines: are all integers right, how many cycles, and does the cycle model say so too.

    python scripts/simulate.py                        # what is new or stale, then the table in docs/hardware.md
    python scripts/simulate.py --only resnet18 --rtl  # some of the cases; the RTL too, whatever its size
    python scripts/simulate.py --stale                # nothing is measured; exit code 1 if anything is stale

Weights and images are random: cycles do not depend on them. The HLS engine's every tensor is compared with the integer
executor's. The RTL runs with a memory of the device's bandwidth; its output is compared, its cycles are those measured.

`hw/sim/networks.json` has a fingerprint of what the figures of model, HLS and RTL were measured with: the image that the
compiler makes of the network, and the sources of what runs it. Figures without one, or with another, are stale.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from synthesise import ROOT, fingerprint_of, replace_part, write_record

from accel.engine.compile import compile_program
from accel.engine.hls_engine import driver_source
from accel.engine.image import EngineImage
from accel.engine.points import POINTS, Point
from accel.engine.rtl_engine import DRIVER, RtlEngine, Timing, rtl_parameters, rtl_sources
from accel.engine.simulate import hls_backend
from accel.engine.work import layer_cycles, works_of
from accel.hls import included
from ilmpq import naive, zoo
from ilmpq.backends import IntegerBackend
from ilmpq.canonical import canonical
from ilmpq.device import PARTS
from ilmpq.graph import Graph, Op
from ilmpq.lower import lower
from ilmpq.perf import Frame, frame
from ilmpq.placeholder import placeholder
from ilmpq.program import Program
from ilmpq.schemes import BY_NAME
from ilmpq.work import Memory, machine_of
from ilmpq.zoo_build import Builder

RECORD = ROOT / "hw" / "sim" / "networks.json"
MODEL = (
    *(ROOT / "ilmpq" / name for name in ("perf.py", "taken.py", "work.py", "windows.py", "batches.py")),
    ROOT / "accel" / "engine" / "work.py",
)  # cycles
LATENCY = 40  # cycles of the simulated memory
SHALLOW = 512  # steps in a ring that brings weights, but not the next layers'
BATCH = 4  # images in one program
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
    images: int = 1  # that are compared on HLS, one after another
    rtl: bool = False
    batch: int = 1  # images in one program; more on the RTL only

    @property
    def key(self) -> str:
        return f"{self.network}@{self.size} {self.point}" + (f" × {self.batch}" if self.batch > 1 else "")


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
    Case("resnet18", 224, "xc7z045-pot4", rtl=True, batch=BATCH),
)


@dataclass(frozen=True, eq=False)
class Subject:
    """A case made ready to be measured."""

    case: Case
    point: Point
    program: Program
    image: EngineImage


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only networks or points with this in the name")
    parser.add_argument("--rtl", action="store_true", help="simulate the RTL of every case chosen")
    parser.add_argument("--model-only", action="store_true", help="the model's cycles; what else is known stays")
    parser.add_argument("--stale", action="store_true", help="say what would be measured; exit code 1 if anything")
    args = parser.parse_args()
    chosen = [c for c in CASES if args.only in f"{c.network} {c.point}"]
    if not chosen:
        parser.error(f"--only must be in the name of a network or point, not {args.only!r}")
    known: dict[str, dict[str, Any]] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    any_stale = False
    for case in chosen:
        started = time.monotonic()
        subject, row = subject_of(case), known.get(case.key, {})
        now = fingerprints(subject)  # before: sources may be edited meanwhile
        wanted = ["model"] if args.model_only or case.batch > 1 else ["model", "hls"]
        if not args.model_only and (case.rtl or args.rtl or "cycles_rtl" in row):
            wanted.append("rtl")
        stale = stale_parts(row, now, wanted)
        any_stale |= bool(stale)
        state = f"stale: {', '.join(stale)}" if stale else "up to date"
        print(f"{case.key}: {state}", file=sys.stderr, flush=True)
        if args.stale or not stale:
            continue
        for part in stale:
            row = row | MEASURE[part](subject)
        # Last in the row, and of the other parts as they were.
        row["fingerprints"] = row.pop("fingerprints", {}) | {part: now[part] for part in stale}
        known[case.key] = row
        print(f"{case.key}: {summary(row)} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
        write_record(RECORD, in_order(known))
    if args.stale:
        return int(any_stale)
    replace_part("cycles", table(list(in_order(known).values())))
    return 0


def subject_of(case: Case) -> Subject:
    """Program and image; the largest network takes a minute."""
    point = next(p for p in POINTS if p.name == case.point)
    program = program_of(graph_of(case.network, case.size), point)
    return Subject(case, point, program, compile_program(program, point.config, images=case.batch))


def fingerprints(subject: Subject) -> dict[str, str]:
    """Of what each part's figures are measured with; the RTL's worst layer is one beside the model."""
    config, driver = subject.point.config, driver_source(subject.point.config)
    content = hashlib.sha256(np.array(subject.image.words, "<u4").tobytes())
    for part in subject.image.weights:
        content.update(part.tobytes())
    image = content.hexdigest()
    model = fingerprint_of(image, repr((PARTS[subject.point.device], LATENCY, SHALLOW, NARROW, BATCH)), *texts(MODEL))
    return {
        "model": model,
        "hls": fingerprint_of(image, str(subject.case.images), driver, *texts(included(driver))),
        "rtl": fingerprint_of(model, repr(rtl_parameters(config)), *texts([*rtl_sources(), *DRIVER])),
    }


def texts(files: Iterable[Path]) -> list[str]:
    return [file.read_text() for file in files]


def stale_parts(row: Mapping[str, Any], now: Mapping[str, str], wanted: Sequence[str]) -> list[str]:
    """The parts whose figures in a row were not measured with what there is now."""
    before = row.get("fingerprints", {})
    return [part for part in wanted if before.get(part) != now[part]]


def measure_model(subject: Subject) -> dict[str, Any]:
    """What the cycle model and the image say."""
    point, program, image = subject.point, subject.program, subject.image
    macs = {node.name: program.graph.macs(node) for node in program.graph.weighted}
    works, machine = works_of(image, macs), machine_of(point.config)
    wide = PARTS[point.device].memory_bytes_per_cycle
    whole, narrow = (frame(works, machine, Memory(wide * share, LATENCY)) for share in (1.0, NARROW))
    found: dict[str, Any] = {
        **{k: v for k, v in asdict(subject.case).items() if k not in ("images", "rtl")},
        "mac_per_cycle": machine.macs_per_cycle,
        "clock_mhz": PARTS[point.device].assumed_clock_mhz,
        "macs": sum(macs.values()),
        "weight_bytes": sum(part.nbytes for part in image.weights),
        "cycles": round(whole.cycles),
        "cycles_narrow": round(narrow.cycles),
        "lanes_busy": round(busy(program, whole), 4),
        "lanes_busy_with_linear": round(whole.busy(convolutions_only=True), 4),
        "lanes_busy_narrow": round(busy(program, narrow), 4),
    }
    if subject.case.batch == 1:
        several = works_of(compile_program(program, point.config, images=BATCH), macs)
        found["cycles_batch"] = round(frame(several, machine, Memory(wide, LATENCY)).cycles / BATCH)  # of an image
    if machine.ring > SHALLOW:
        shallow = frame(works, replace(machine, ring=SHALLOW), Memory(wide, LATENCY))
        found["cycles_shallow_ring"] = round(shallow.cycles)
    return found


def busy(program: Program, found: Frame) -> float:
    """Useful products over possible ones in the convolutions' cycles, without the linear layers, which wait for weights at batch 1."""
    convolutions = {node.name for node in program.graph.weighted if node.op is Op.CONV}
    layers = [x for x in found.layers if x.layer in convolutions]
    return sum(x.macs for x in layers) / (sum(x.cycles for x in layers) * found.macs_per_cycle)


def measure_hls(subject: Subject) -> dict[str, Any]:
    """How many images are right; raises where integers differ."""
    return {"images_equal": compare_hls(subject.program, subject.point, subject.case.images)}


def measure_rtl(subject: Subject) -> dict[str, Any]:
    """The RTL's cycles; raises where its output differs."""
    cycles, worst = rtl_cycles(subject.program, subject.point, 1.0, images=subject.case.batch)
    return {"cycles_rtl": cycles, "worst_layer": worst}


MEASURE: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "model": measure_model,
    "hls": measure_hls,
    "rtl": measure_rtl,
}


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


def rtl_cycles(
    program: Program, point: Point, share: float, engine: RtlEngine | None = None, images: int = 1
) -> tuple[int, float]:
    """Cycles of the RTL with a share of the memory's rate, and how far the model is from them in the worst layer, in percent.

    The output must be right.
    """
    image, given = compile_program(program, point.config, images=images), random_images(program, images)
    rate = share * PARTS[point.device].memory_bytes_per_cycle
    model = frame(works_of(image, {}), machine_of(point.config), Memory(rate, LATENCY))
    codes = naive.input_codes(program, given)
    result = (engine or RtlEngine(point.config)).run(
        list(image.words),
        [part.tobytes() for part in image.weights],
        image.scratch_bytes,
        image.encode_input(*codes).tobytes(),
        image.output_bytes,
        Timing(LATENCY, rate),
    )
    region = np.frombuffer(result.require().output, np.uint8)
    output = np.stack([image.decode_output(region, i) for i in range(images)]) * program.logits_scale
    expected = IntegerBackend(program).run(given).logits
    if not np.array_equal(output.ravel(), expected.ravel()):
        raise SystemExit("the RTL's logits must be what the integer executor says")
    worst = max(abs(found / real - 1) for real, found in layer_cycles(image, result.completed, model).values())
    return result.counters["CYCLES"], round(100 * worst, 2)


def summary(row: dict[str, Any]) -> str:
    rtl = f", RTL {row['cycles_rtl']:,}" if "cycles_rtl" in row else ""
    equal = f", {row['images_equal']} images equal" if "images_equal" in row else ""
    return f"{row['cycles']:,} cycles{rtl}{equal}"


def in_order(known: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows of the cases that there are."""
    return {case.key: known[case.key] for case in CASES if case.key in known}


def rate(row: dict[str, Any], cycles: str) -> str:
    """Frames per second."""
    return f"{row['clock_mhz'] * 1e6 * (row['batch'] if cycles != 'cycles_batch' else 1) / row[cycles]:.1f}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| network | input | point | GMAC | weights, MB | cycles: model | RTL | worst layer | frames/s | at batch 4 | lanes busy (with linear layers) | with half the memory rate | images equal on HLS |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        rtl = f"{r['cycles_rtl']:,} | {r['worst_layer']} %" if "cycles_rtl" in r else "– | –"
        shallow = f" ({rate(r, 'cycles_shallow_ring')})" if "cycles_shallow_ring" in r else ""
        cells = [
            *(str(r[key]) for key in ("network", "size")),
            r["point"] + (f", {r['batch']} images" if r["batch"] > 1 else ""),
            f"{r['macs'] / 1e9:.2f}",
            f"{r['weight_bytes'] / 1e6:.2f}",
            f"{r['cycles']:,}",
            rtl,
            rate(r, "cycles") + shallow,
            rate(r, "cycles_batch") if "cycles_batch" in r else "–",
            f"{100 * r['lanes_busy']:.1f} % ({100 * r['lanes_busy_with_linear']:.1f} %)",
            f"{rate(r, 'cycles_narrow')}, {100 * r['lanes_busy_narrow']:.1f} %",
            str(r.get("images_equal", "–")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
