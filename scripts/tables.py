"""The comparison of designs in docs/results.md: mixed rows beside uniform fixed-point, for several networks on both chips.

    python scripts/tables.py              # search everything, then write docs/comparison.json and the tables
    python scripts/tables.py --page-only  # the tables again, out of docs/comparison.json
    python scripts/tables.py --page-only --accuracies FILE  # with what `ilmpq compare MODEL --val DATA --json` printed
    python scripts/tables.py --page-only --check --rtl xc7z020  # what the compiled network and the RTL say of the first table

Every row is the best design that `ilmpq.compare` finds for its restrictions; `ilmpq compare` prints the same rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from simulate import LATENCY, NARROW, graph_of, program_of, rtl_cycles
from synthesise import ROOT, replace_part, write_record

from accel.engine.compile import compile_program
from accel.engine.points import Point
from accel.engine.work import works_of
from ilmpq.canonical import canonical
from ilmpq.compare import BASELINES, DESIGNS, compare, model_errors, speedups
from ilmpq.console import short_ratio
from ilmpq.design import EngineConfig
from ilmpq.device import PARTS
from ilmpq.perf import frame
from ilmpq.work import Memory, machine_of
from ilmpq.workload import Shapes, shapes_of
from ilmpq.zoo import build

RECORD = ROOT / "docs" / "comparison.json"
PAGE = ROOT / "docs" / "results.md"
MAIN = "resnet18"
NETWORKS = (MAIN, "resnet50", "resnet152", "vgg16", "mobilenet_v2", "cifar_resnet20", "cifar_resnet56")
ALL_BITS = (4, 5, 8)  # of the main network; others have the first, and those that FILM-QNN has at 5 bits, that
BITS = {MAIN: ALL_BITS, "resnet50": (4, 5), "mobilenet_v2": (4, 5)}
BATCH = 4  # of the main network, beside 1
FEW = ("fixed8_dsp", "fixed4_dsp1_ends8", "fixed4_dsp4_ends8", "fixed4_fair", "mixed", "mixed_pot3")
COMPARED = ("fixed4_fair", "mixed", "mixed_pot3")
MEASURED = ("fixed8_dsp", "fixed4_dsp1_ends8", "fixed4_fair", "pot4", "mixed", "mixed_pot3")
# Network, work, conditions, chip, what is taken of it, frames/s, GOP/s, top-1 %, grade. ILMPQ's frames/s are out of its milliseconds.
PUBLISHED = (
    (
        "ILMPQ",
        MAIN,
        "60:35:5, A4, trained",
        "xc7z020",
        "57 % LUT, 100 % DSP",
        "24.6",
        "89.0",
        "70.73",
        "R, top-1 A, ratio S",
    ),
    (
        "ILMPQ",
        MAIN,
        "65:30:5, A4, trained",
        "xc7z045",
        "67 % LUT, 100 % DSP",
        "116",
        "421.1",
        "70.73",
        "R, top-1 A, ratio S",
    ),
    (
        "its baseline",
        MAIN,
        "Fixed4, first and last layer 8 bits, DSPs only",
        "xc7z020",
        "–",
        "8.2",
        "29.6",
        "69.72",
        "R",
    ),
    ("its baseline", MAIN, "the same", "xc7z045", "–", "31.8", "115.6", "69.72", "R"),
    (
        "FILM-QNN",
        MAIN,
        "95 % W4, 5 % W8, A5, trained, 100 MHz; peak 201.6 GOP/s; 3.5 W",
        "xc7z020",
        "78 % LUT, 95 % DSP, 123 BRAM36",
        "27.8",
        "100.6",
        "70.47",
        "P",
    ),
    ("FILM-QNN", "resnet50", "as for resnet18", "xc7z020", "as for resnet18", "13.3", "108.6", "77.25", "P"),
    ("FILM-QNN", "mobilenet_v2", "as for resnet18", "xc7z020", "as for resnet18", "132.3", "78.7", "65.67", "P"),
    (
        "Mix-and-Match",
        MAIN,
        "SP2 and Fixed4, A4, 100 MHz",
        "xc7z020",
        "53 % LUT, 100 % DSP",
        "21.3",
        "77.0",
        "70.27",
        "P, by FILM-QNN",
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page-only", action="store_true", help="write the tables out of the record")
    parser.add_argument("--only", default="", help="search only networks with this in the name; the others stay")
    parser.add_argument(
        "--check", action="store_true", help="compile the main network for the designs of the first table"
    )
    parser.add_argument("--rtl", choices=PARTS, help="with --check: simulate this chip's RTL, too, minutes a design")
    parser.add_argument("--accuracies", type=Path, help="what `ilmpq compare --val --json` printed")
    args = parser.parse_args()
    record: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {"networks": {}}
    if not args.page_only:
        for name in NETWORKS:
            if args.only not in name:
                continue
            started = time.monotonic()
            record["networks"][name] = searched(name)
            record["resource_model"] = model_errors()
            ordered = {n: record["networks"][n] for n in NETWORKS if n in record["networks"]}
            write_record(RECORD, record | {"networks": ordered})
            print(
                f"{name}: {len(ordered[name])} rows ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True
            )
    if args.accuracies is not None:
        record["accuracies"] = measured(json.loads(args.accuracies.read_text()))
        write_record(RECORD, record)
    if args.check:
        record["checked"] = list(checked(record["networks"][MAIN], args.rtl))
        write_record(RECORD, record)
    every = [row for found in record["networks"].values() for row in found]
    rows = [row for row in every if row["batch"] == 1]
    replace_part("fair", fair(rows), PAGE)
    replace_part("checked", check_table(record["checked"]), PAGE)
    replace_part("designs", designs(rows), PAGE)
    replace_part("batches", batches(every), PAGE)
    replace_part("networks", networks(rows), PAGE)
    replace_part("accuracies", accuracies(record["accuracies"]), PAGE)
    replace_part("published", published(rows), PAGE)
    replace_part("model errors", errors(record["resource_model"]), PAGE)
    return 0


def searched(name: str) -> list[dict[str, Any]]:
    """The rows of a network, at batch 1 and at a larger one."""
    shapes: Mapping[str, Shapes] = {name: shapes_of(canonical(build(name)))}
    bits = BITS.get(name, ALL_BITS[:1])
    parts = list(PARTS.values())
    rows = compare(shapes, parts, bits)
    if name == MAIN:
        rows += compare(shapes, parts, ALL_BITS[:1], [d for d in DESIGNS if d.name in FEW], batch=BATCH)
    return speedups([row.to_dict() for row in rows])


def designs(rows: Sequence[Mapping[str, Any]]) -> str:
    """The main network's designs at the narrowest activations."""
    head = (
        "| chip | design | arrays | tk × tp | LUT | DSP | BRAM36 | MAC/cycle | lanes busy | ms | frames/s | GOP/s | MB | "
        + " | ".join(f"× {b}" for b in BASELINES)
    )
    lines = [head + " |", "|---|---|---|---|" + "---:|" * (9 + len(BASELINES))]
    for r in rows:
        if (r["network"], r["act_bits"]) != (MAIN, ALL_BITS[0]):
            continue
        cells = [
            r["device"],
            f"`{r['design']}`",
            r["arrays"],
            f"{r['tk']} × {r['tp']}",
            f"{r['lut']:,}",
            r["dsp"],
            f"{r['bram36']:g}",
            f"{r['mac_per_cycle']:,}",
            f"{100 * r['lanes_busy']:.1f} %",
            f"{r['latency_ms']:.2f}",
            f"{r['frames_per_s']:.1f}",
            f"{r['gops']:.1f}",
            f"{r['parameters_bytes'] / 1e6:.2f}",
            *(f"{r['speedup'][b]:.2f}" if b in r["speedup"] else "–" for b in BASELINES),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def fair(rows: Sequence[Mapping[str, Any]]) -> str:
    """What mixes gain over the fair rival, and with what arrays."""
    lines = [
        "| chip | act bits | fair Fixed4 | frames/s | PoT4 mix | × | PoT3 mix | × |",
        "|---|---:|---|---:|---|---:|---|---:|",
    ]
    for device in PARTS:
        for bits in ALL_BITS:
            own = {r["design"]: r for r in rows if (r["network"], r["device"], r["act_bits"]) == (MAIN, device, bits)}
            if "fixed4_fair" not in own:
                continue
            rival = own["fixed4_fair"]
            cells = [device, bits, rival["arrays"], f"{rival['frames_per_s']:.1f}"]
            for mix in COMPARED[1:]:
                cells += [own[mix]["arrays"], f"{own[mix]['speedup']['fixed4_fair']:.2f}"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def checked(rows: Sequence[Mapping[str, Any]], rtl: str | None) -> Iterator[dict[str, Any]]:
    """Cycles of the compiled network, with random weights, by the model and by the RTL, whose output must be right."""
    graph = graph_of(MAIN, 224)
    for r in rows:
        if r["design"] not in COMPARED or (r["act_bits"], r["batch"]) != (ALL_BITS[0], 1):
            continue
        part, config = PARTS[r["device"]], EngineConfig.from_dict(r["config"])
        point = Point(r["design"], part.name, config)
        program = program_of(graph, point)
        works = works_of(compile_program(program, config), {})
        whole, half = (
            round(frame(works, machine_of(config), Memory(part.memory_bytes_per_cycle * share, LATENCY)).cycles)
            for share in (1.0, NARROW)
        )
        simulated = rtl_cycles(program, point, 1.0)[0] if part.name == rtl else None
        print(f"{part.name} {point.name}: {whole:,}, {simulated}", file=sys.stderr, flush=True)
        own = {key: r[key] for key in ("device", "design", "clock_mhz", "cycles")}
        yield own | {"cycles_compiled": whole, "cycles_half_rate": half, "cycles_rtl": simulated}


def check_table(found: Sequence[Mapping[str, Any]]) -> str:
    """The search's cycles beside those of the compiled network."""
    lines = [
        "| chip | design | cycles: search | compiled | RTL | frames/s, compiled | × fair, compiled | frames/s at half the memory rate |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    fair = {r["device"]: r["cycles_compiled"] for r in found if r["design"] == COMPARED[0]}
    for r in found:
        per_second = [f"{1e6 * r['clock_mhz'] / r[key]:.1f}" for key in ("cycles_compiled", "cycles_half_rate")]
        cells = [
            r["device"],
            f"`{r['design']}`",
            *(f"{r[key]:,}" if r[key] else "–" for key in ("cycles", "cycles_compiled", "cycles_rtl")),
            per_second[0],
            f"{fair[r['device']] / r['cycles_compiled']:.3f}",
            per_second[1],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def batches(rows: Sequence[Mapping[str, Any]]) -> str:
    """The main network's frames per second at batch 1 and at a larger one, and the larger one's speed-up."""
    lines = [
        f"| chip | design | batch 1 | batch {BATCH} | × fixed8_dsp | × fixed4_fair |",
        "|---|---|---:|---:|---:|---:|",
    ]
    found = {
        (r["device"], r["design"], r["batch"]): r for r in rows if (r["network"], r["act_bits"]) == (MAIN, ALL_BITS[0])
    }
    for (device, design, batch), r in found.items():
        if batch == BATCH:
            one, over = found[device, design, 1], r["speedup"]
            figures = [f"{each['frames_per_s']:.1f}" for each in (one, r)]
            figures += [f"{over[b]:.2f}" if b in over else "–" for b in ("fixed8_dsp", "fixed4_fair")]
            lines.append(f"| {device} | `{design}` | {' | '.join(figures)} |")
    return "\n".join(lines)


def networks(rows: Sequence[Mapping[str, Any]]) -> str:
    """Frames per second of every network on a few designs."""
    lines = [
        f"| network | chip | {' | '.join(f'`{d}`' for d in FEW)} | ratio of the PoT3 mix |",
        "|---|---|" + "---:|" * len(FEW) + "---|",
    ]
    for name in NETWORKS:
        for device in PARTS:
            own = {
                r["design"]: r
                for r in rows
                if (r["network"], r["device"], r["act_bits"]) == (name, device, ALL_BITS[0])
            }
            if not own:
                continue
            figures = [f"{own[d]['frames_per_s']:,.1f}" if d in own else "–" for d in FEW]
            ratio = short_ratio(own[FEW[-1]]["ratio"]) if FEW[-1] in own else "–"
            lines.append(f"| {name} | {device} | {' | '.join(figures)} | {ratio} |")
    return "\n".join(lines)


def measured(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a comparison with accuracies."""
    kept = ("network", "device", "design", "ratio", "ends", "act_bits", "average_weight_bits", "accuracy")
    rows = [{key: row[key] for key in (*kept, "kl_to_float", "frames_per_s")} for row in found["rows"]]
    return {"images": found["images"], "accuracy_float": found["accuracy_float"], "rows": rows}


def accuracies(found: Mapping[str, Any]) -> str:
    """Accuracy beside speed."""
    lines = [
        "| chip | design | ratio | weight bits | top-1 % | to float | KL, nats | frames/s |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for r in found["rows"]:
        if r["design"] not in MEASURED:
            continue
        ratio = short_ratio(r["ratio"]) + (f", ends {r['ends']}" if r["ends"] else "")
        drop = f"{r['accuracy'] - found['accuracy_float']:+.2f}"
        figures = [f"{r['average_weight_bits']:.2f}", f"{r['accuracy']:.2f}", drop, f"{r['kl_to_float']:.4f}"]
        lines.append(
            f"| {r['device']} | `{r['design']}` | {ratio} | {' | '.join(figures)} | {r['frames_per_s']:,.0f} |"
        )
    return "\n".join(lines)


def published(rows: Sequence[Mapping[str, Any]]) -> str:
    """Published rows of each network, then ours."""
    lines = [
        "| network | work | conditions | chip | of the chip | frames/s | GOP/s | top-1 % | grade |",
        "|---|---|---|---|---|---:|---:|---:|---|",
    ]
    for network in dict.fromkeys(row[1] for row in PUBLISHED):
        lines += [f"| {network} | {work} | {' | '.join(rest)} |" for work, of, *rest in PUBLISHED if of == network]
        chips = {row[3] for row in PUBLISHED if row[1] == network}
        for r in rows:
            if (
                r["network"] == network
                and r["device"] in chips
                and r["act_bits"] in (4, 5)
                and r["design"] in COMPARED[1:]
            ):
                part = PARTS[r["device"]]
                cells = [
                    network,
                    f"ours, `{r['design']}`",
                    f"{short_ratio(r['ratio'])}, A{r['act_bits']}, {r['clock_mhz']:g} MHz assumed, model",
                    r["device"],
                    f"{100 * r['lut'] / part.lut:.0f} % LUT, {100 * r['dsp'] / part.dsp:.0f} % DSP, {r['bram36']:g} BRAM36",
                    f"{r['frames_per_s']:.1f}",
                    f"{r['gops']:.1f}",
                    "–",
                    "",
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def errors(found: Mapping[str, Mapping[str, float]]) -> str:
    """The resource model at engines that it was not fitted to."""
    lines = ["| cost | engines | mean error | worst |", "|---|---:|---:|---:|"]
    for cost, each in found.items():
        lines.append(f"| {cost} | {each['points']:.0f} | {100 * each['mean']:.1f} % | {100 * each['worst']:.1f} % |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
