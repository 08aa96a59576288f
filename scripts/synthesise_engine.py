"""What engines cost on their chips: Yosys on every point of `accel/engine/points.py`, results in `hw/syn/engine.json`.

    python scripts/synthesise_engine.py                  # what is new or whose sources changed, then docs/hardware.md
    python scripts/synthesise_engine.py --only xc7z020   # some of the points
    python scripts/synthesise_engine.py --check --only xc7z020-tested  # again; exit code 1 if a cost differs by 2 %

An engine has three parts. `core` is `compute_core` and `memory` all of `engine` but it, each synthesised flat with the
module inside it left out (`split_mac_array`, `compute_core`). `arrays` are counted: an array of so many rows, positions
and lanes costs so many times what `hw/syn/baseline.json` has for one row and position (a pair of each in DSPs) of the
same lanes, activation and accumulator bits. For one small point that rule stands beside the arrays synthesised whole: LUTs
differ by 0.3 %, DSPs not at all; whole they have 15 % fewer flip-flops, as rows share delays of activations.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import synthesise
from synthesise import LUTS_OF_CELL, ROOT, RTL, files_of, fingerprint_of, luts, total_of

from accel.engine.points import POINTS, SMALL, Point
from accel.engine.rtl_engine import rtl_parameters
from ilmpq.device import PARTS, lane_cost

TEMPLATE = ROOT / "hw" / "syn" / "synth_engine.ys"
RECORD = ROOT / "hw" / "syn" / "engine.json"
DIFFERENCE_ALLOWED = 0.02
PACKAGES = ["bit_heap_pkg.sv", "lut_array_pkg.sv", "dsp_packing.sv", "mac_kinds.sv"]
BLOCK_RAMS = {"RAMB36E1": 1.0, "RAMB18E1": 0.5}
# What a chip must keep free: routing, and what a board's design adds.
SHARE_ALLOWED = {"lut": 0.85, "ff": 0.85, "dsp": 1.0, "bram36": 130 / 140}
COSTS = ("lut", "ff", "dsp", "bram36")


@dataclass(frozen=True)
class Part:
    """A module that is synthesised: its file list, and the module in it that is left out."""

    name: str
    top: str
    file_list: str
    left_out: str

    @property
    def packages(self) -> list[str]:
        return [*PACKAGES, "engine_pkg.sv"]

    @property
    def sources(self) -> list[str]:
        return [name for name in files_of(self.file_list) if name not in self.packages and name != self.left_out]

    @property
    def parameters(self) -> list[str]:
        """What it costs does not depend on the geometry's number."""
        named = re.findall(r"^  parameter [^=]*?(\w+) =", (RTL / f"{self.top}.sv").read_text(), re.MULTILINE)
        return [name for name in named if name != "GEOMETRY_ID"]


CORE = Part("core", "compute_core", "compute.f", "split_mac_array.sv")
MEMORY = Part("memory", "engine", "engine.f", "compute_core.sv")
ARRAYS = Part("arrays", "split_mac_array", "arrays.f", "")


@dataclass(frozen=True)
class Task:
    """A part of a point."""

    point: Point
    part: Part

    @property
    def key(self) -> str:
        return f"{self.point.name} {self.part.name}"

    @property
    def parameters(self) -> dict[str, int | str]:
        every = rtl_parameters(self.point.config)
        return {name: every[name] for name in self.part.parameters}

    def script(self, netlist: Path) -> str:
        """The Yosys commands that synthesise it."""
        if self.part is ARRAYS:
            return synthesise.filled_in(
                synthesise.TEMPLATE,
                FILES=_paths(files_of(self.part.file_list)),
                PARAMETERS=synthesise.settings(self.parameters),
                TOP=self.part.top,
                JSON=str(netlist),
                VERILOG=str(netlist.with_suffix(".v")),
            )
        return synthesise.filled_in(
            TEMPLATE,
            PACKAGES=_paths(self.part.packages),
            BOX=_paths([self.part.left_out]),
            FILES=_paths(self.part.sources),
            PARAMETERS=synthesise.settings(self.parameters),
            TOP=self.part.top,
            JSON=str(netlist),
        )

    def fingerprint(self, version: str) -> str:
        """Changes with the sources, the parameters, the script's template and the tool."""
        template = synthesise.TEMPLATE if self.part is ARRAYS else TEMPLATE
        names = {*self.part.packages, *files_of(self.part.file_list), self.part.left_out} - {""}
        sources = [(RTL / name).read_text() for name in sorted(names)]
        return fingerprint_of(version, synthesise.settings(self.parameters), template.read_text(), *sources)

    def run(self, version: str) -> dict[str, Any]:
        """Runs Yosys and counts."""
        fingerprint = self.fingerprint(version)  # before: sources may be edited meanwhile
        with tempfile.TemporaryDirectory() as folder:
            netlist = Path(folder) / "netlist.json"
            cells = synthesise.run_yosys(self.script(netlist), netlist, self.key)
        box = self.part.left_out.removesuffix(".sv")
        counts = synthesise.count_cells(cells, self.key, (box,) if box else ())
        return {
            "lut": luts(counts),
            "lut_as_memory": luts(
                {kind: n for kind, n in counts.items() if kind.startswith("RAM") and kind in LUTS_OF_CELL}
            ),
            "ff": total_of(counts, "FD"),
            "carry4": counts.get("CARRY4", 0),
            "dsp": total_of(counts, "DSP48"),
            "bram36": sum(share * counts.get(kind, 0) for kind, share in BLOCK_RAMS.items()),
            "cells": counts,
            "fingerprint": fingerprint,
        }


def _paths(names: list[str]) -> str:
    return " ".join(str(RTL / name) for name in names)


def every_task() -> list[Task]:
    """What the record holds."""
    return [Task(point, part) for point in POINTS for part in (CORE, MEMORY)] + [Task(SMALL, ARRAYS)]


def counted_arrays(point: Point) -> dict[str, float]:
    """The cost of a point's arrays by the rule above."""
    g = point.config.geometry
    found = dict.fromkeys(COSTS, 0.0)
    for array in g.arrays:
        cost = lane_cost(array, g)
        times = array.rows * g.tk * g.tp / cost.macs
        for name in ("lut", "ff", "dsp"):
            found[name] += times * getattr(cost, name)
    return found


def totals(point: Point, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A point's parts, their sum, and its share of the chip; `results` has what was synthesised."""
    parts: dict[str, Mapping[str, Any]] = {p.name: results[Task(point, p).key] for p in (CORE, MEMORY)}
    parts["arrays"] = counted_arrays(point)
    total = {cost: sum(part[cost] for part in parts.values()) for cost in COSTS}
    chip = PARTS[point.device]
    config = point.config
    return {
        "device": point.device,
        "config": config.to_dict(),
        "mac_per_cycle": config.geometry.macs_per_cycle,
        "arrays": {name: round(value) for name, value in parts["arrays"].items()},
        "total": {name: round(value, 1) if name == "bram36" else round(value) for name, value in total.items()},
        "percent": {cost: round(100 * total[cost] / getattr(chip, cost), 1) for cost in COSTS},
        "fits": all(total[cost] <= share * getattr(chip, cost) for cost, share in SHARE_ALLOWED.items()),
    }


def table(points: Mapping[str, Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> str:
    """The points as Markdown."""
    head = (
        "| point | arrays | TK × TP | A | MAC/cycle | LUT: core | memory side | arrays | sum | of the chip | "
        "LUTs as memory | FF | DSP | BRAM36 |"
    )
    lines = [head, "|---|---|" + "---:|" * (head.count("|") - 3)]
    for name, p in points.items():
        g, total, percent = p["config"], p["total"], p["percent"]
        arrays = ", ".join(f"{a['scheme']}@{a['resource']}:{a['rows']}" for a in g["arrays"])
        core, memory = results[f"{name} core"], results[f"{name} memory"]
        fits = "" if p["fits"] else " (does not fit)"
        lines.append(
            f"| {name} | {arrays} | {g['tk']} × {g['tp']} | {g['act_bits']} | {p['mac_per_cycle']:,} | {core['lut']:,} | "
            f"{memory['lut']:,} | {p['arrays']['lut']:,} | {total['lut']:,} | {percent['lut']} %{fits} | "
            f"{core['lut_as_memory'] + memory['lut_as_memory']:,} | {total['ff']:,} | {total['dsp']} | {total['bram36']:g} |"
        )
    return "\n".join(lines)


def differences(fresh: Mapping[str, Mapping[str, Any]], known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is not as the record has it."""
    found = [f"{key} must be in the record: run scripts/synthesise_engine.py" for key in fresh if key not in known]
    for key, result in fresh.items():
        for cost in (*COSTS, "lut_as_memory"):
            value, recorded = result[cost], known.get(key, result)[cost]
            if abs(value - recorded) > DIFFERENCE_ALLOWED * recorded:
                found.append(f"{key} {cost} must be within 2 % of the record's {recorded:g}, not {value:g}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="parts of points whose names (xc7z020-pot4 core) contain this")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="compare with the record instead of writing it")
    args = parser.parse_args()
    tasks = [task for task in every_task() if args.only in task.key]
    if not tasks:
        parser.error("no part of a point is like that")
    if args.jobs < 1:
        parser.error(f"--jobs must be positive, not {args.jobs}")
    if shutil.which("yosys") is None:
        parser.error("yosys is missing: `make hw-tools` installs it")
    version = synthesise.yosys_version()
    known: dict[str, Any] = json.loads(RECORD.read_text())["results"] if RECORD.exists() else {}
    if not args.check:
        known = {task.key: known[task.key] for task in every_task() if task.key in known}
    todo = [t for t in tasks if args.check or known.get(t.key, {}).get("fingerprint") != t.fingerprint(version)]
    fresh: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(args.jobs) as pool:
        for task, result in zip(todo, pool.map(lambda t: t.run(version), todo), strict=True):
            fresh[task.key] = result
            print(f"{len(fresh)}/{len(todo)} {task.key}: {result['lut']} LUT", file=sys.stderr, flush=True)
            if not args.check:
                write(version, known | fresh)
    if args.check:
        found = differences(fresh, known)
        print("\n".join(found) or "every cost is within 2 % of the record")
        return 1 if found else 0
    write(version, known | fresh)
    return 0


def write(version: str, results: Mapping[str, dict[str, Any]]) -> None:
    """The record, and its table in docs/hardware.md."""
    whole = [p for p in POINTS if all(Task(p, part).key in results for part in (CORE, MEMORY))]
    points = {point.name: totals(point, results) for point in whole}
    order = [task.key for task in every_task()]
    kept = dict(sorted(results.items(), key=lambda item: order.index(item[0])))
    flags = next(line for line in TEMPLATE.read_text().splitlines() if line.startswith("synth_xilinx"))
    record = {"yosys": version, "flags": flags.partition(" -top")[0], "points": points, "results": kept}
    rule = counted_arrays(SMALL)
    if (check := results.get(Task(SMALL, ARRAYS).key)) is not None:
        record["arrays_by_rule"] = {"point": SMALL.name, **rule}
        record["arrays_whole"] = {cost: check[cost] for cost in COSTS}
    synthesise.write_record(RECORD, record)
    synthesise.replace_part("engine costs", table(points, results))


if __name__ == "__main__":
    raise SystemExit(main())
