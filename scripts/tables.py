"""The comparison of designs in docs/results.md: mixed rows beside uniform fixed-point, for several networks on both chips.

    python scripts/tables.py              # search everything, then write docs/comparison.json and the tables
    python scripts/tables.py --page-only  # the tables again, out of docs/comparison.json
    python scripts/tables.py --page-only --accuracies FILE  # with what `ilmpq compare MODEL --val DATA --json` printed

Every row is the best design that `ilmpq.compare` finds for its restrictions; `ilmpq compare` prints the same rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthesise import ROOT, replace_part, write_record

from ilmpq.canonical import canonical
from ilmpq.compare import BASELINES, DESIGNS, compare, model_errors, speedups
from ilmpq.console import short_ratio
from ilmpq.device import PARTS
from ilmpq.workload import Shapes, shapes_of
from ilmpq.zoo import build

RECORD = ROOT / "docs" / "comparison.json"
PAGE = ROOT / "docs" / "results.md"
MAIN = "resnet18"
NETWORKS = (MAIN, "resnet50", "resnet152", "vgg16", "mobilenet_v2", "cifar_resnet20", "cifar_resnet56")
ALL_BITS = (4, 5, 8)  # of the main network; others have the first
BATCH = 4  # of the main network, beside 1
FEW = ("fixed8_dsp", "fixed4_dsp1_ends8", "fixed4_dsp4_ends8", "fixed4_fair", "mixed", "mixed_pot3")
MEASURED = ("fixed8_dsp", "fixed4_dsp1_ends8", "fixed4_fair", "pot4", "mixed", "mixed_pot3")
# As quoted by the papers (docs: grade P read in the paper, A abstract only, R recalled): work, conditions, chip, frames/s, GOP/s, top-1 %.
PUBLISHED = (
    ("ILMPQ", "PoT4:Fixed4:Fixed8 60:35:5, A4, trained; 57 % LUT, 100 % DSP", "xc7z020", "24.6", "89.0", "70.73", "R"),
    ("ILMPQ", "65:30:5, A4, trained; 67 % LUT, 100 % DSP", "xc7z045", "116", "421.1", "70.73", "R"),
    ("its baseline", "Fixed4, first and last layer 8 bits, DSPs only", "xc7z020", "8.2", "29.6", "69.72", "R"),
    ("its baseline", "the same", "xc7z045", "31.8", "115.6", "69.72", "R"),
    ("FILM-QNN", "95 % W4, 5 % W8, A5, trained, 100 MHz; 41.3 kLUT, 208 DSP", "xc7z020", "27.8", "100.6", "70.47", "P"),
    ("Mix-and-Match", "SP2 and Fixed4, A4, 100 MHz", "xc7z020", "21.3", "77.0", "70.27", "P"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page-only", action="store_true", help="write the tables out of the record")
    parser.add_argument("--only", default="", help="search only networks with this in the name; the others stay")
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
    every = [row for found in record["networks"].values() for row in found]
    rows = [row for row in every if row["batch"] == 1]
    replace_part("fair", fair(rows), PAGE)
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
    bits = ALL_BITS if name == MAIN else ALL_BITS[:1]
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
            for mix in ("mixed", "mixed_pot3"):
                cells += [own[mix]["arrays"], f"{own[mix]['speedup']['fixed4_fair']:.2f}"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
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
    """Published ResNet-18 rows, then ours."""
    lines = ["| work | conditions | chip | frames/s | GOP/s | top-1 % | grade |", "|---|---|---|---:|---:|---:|---|"]
    lines += [f"| {' | '.join(row)} |" for row in PUBLISHED]
    for r in rows:
        if r["network"] == MAIN and r["act_bits"] in (4, 5) and r["design"] in ("mixed", "mixed_pot3"):
            conditions = f"{short_ratio(r['ratio'])}, A{r['act_bits']}, {r['clock_mhz']:g} MHz assumed, model"
            lines.append(
                f"| ours, `{r['design']}` | {conditions} | {r['device']} | {r['frames_per_s']:.1f} | {r['gops']:.1f} | – | |"
            )
    return "\n".join(lines)


def errors(found: Mapping[str, Mapping[str, float]]) -> str:
    """The resource model at engines that it was not fitted to."""
    lines = ["| cost | engines | mean error | worst |", "|---|---:|---:|---:|"]
    for cost, each in found.items():
        lines.append(f"| {cost} | {each['points']:.0f} | {100 * each['mean']:.1f} % | {100 * each['worst']:.1f} % |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
