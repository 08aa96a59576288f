"""What each MAC array costs on a 7-series device: Yosys on every configuration, results in `hw/syn/baseline.json`.

    python scripts/synthesise.py                      # what is new or whose sources changed, then docs/hardware.md
    python scripts/synthesise.py --only pot3 --tk 32  # some of the configurations
    python scripts/synthesise.py --check --tk 16      # again; exit code 1 if a cost grew by more than 2 % or a path is too long

LUTs are cells: LUT1 … LUT6, a LUT6_2 once, inverters and LUTs used as memory too. Depth is the longest path between
registers or ports in LUTs; carry chains on it are counted apart, a chain of any length once.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ilmpq.geometry import MOST_BITS_OF_FOUR

ROOT = Path(__file__).resolve().parents[1]
RTL = ROOT / "hw" / "rtl"
TEMPLATE = ROOT / "hw" / "syn" / "synth_array.ys"
BASELINE = ROOT / "hw" / "syn" / "baseline.json"
PAGE = ROOT / "docs" / "hardware.md"
GROWTH_ALLOWED = 1.02
DEPTH_ALLOWED = 3  # LUTs between registers

# The array, its file list, and the rows and positions it is measured with (packed DSPs need two of each).
ARRAYS: dict[str, tuple[str, int, int]] = {
    "pot3_array": ("lut_arrays.f", 1, 1),
    "pot4_array": ("lut_arrays.f", 1, 1),
    "fixed4_lut_array": ("lut_arrays.f", 1, 1),
    "fixed3_lut_array": ("lut_arrays.f", 1, 1),
    "ternary_lut_array": ("lut_arrays.f", 1, 1),
    "fixed8_lut_array": ("lut_arrays.f", 1, 1),
    "fixed4_dsp_array": ("dsp_arrays.f", 2, 2),
    "fixed8_dsp_array": ("dsp_arrays.f", 2, 2),
}
# Lanes, activation bits, accumulator bits of every array.
SIZES = (
    *itertools.product((8, 16, 32, 64), (4, 5, 8), (32,)),
    *itertools.product((32,), (6, 7), (32,)),
    *itertools.product((16,), (4, 5, 8), (24,)),
)
# More of them for the arrays that `ilmpq search` weighs: as wide as its engines accumulate.
SEARCHED = ("pot3_array", "pot4_array", "fixed4_lut_array", "fixed4_dsp_array", "fixed8_dsp_array")
SEARCHED_SIZES = (*itertools.product((8, 32), (4, 5), (24,)), *itertools.product((8, 16), (6, 7), (32,)))
# The packings of DSPs with one row or one position; then those with fewer products per DSP than fit, and their sizes.
PACKINGS = (("fixed4_dsp_array", 2, 1), ("fixed4_dsp_array", 1, 2), ("fixed8_dsp_array", 2, 1))
LIMITED = (("fixed4_dsp_array", 2), ("fixed4_dsp_array", 1), ("fixed8_dsp_array", 1))
LIMITED_SIZES = (
    *itertools.product((8, 16, 32), (4, 5, 6, 7, 8), (32,)),
    *itertools.product((16,), (4, 5, 6, 7, 8), (24,)),
    *itertools.product((8, 32), (4, 5), (24,)),
)
LUTS_OF_CELL = {
    **{f"LUT{n}": 1 for n in range(1, 7)},
    "LUT6_2": 1,
    "INV": 1,
    "SRL16E": 1,
    "SRLC32E": 1,
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "RAM128X1D": 4,
    "RAM256X1S": 4,
}
WIRES = {"MUXF7", "MUXF8", "CARRY4", "BUFG"}  # logic that is not a LUT


@dataclass(frozen=True)
class Config:
    """One array with its parameters."""

    array: str
    lanes: int
    act_bits: int
    acc_bits: int
    rows: int
    positions: int
    products: int = 0  # per DSP; 0: there is none

    @property
    def parameters(self) -> dict[str, int]:
        """The module's parameters."""
        sizes = {"TK": self.lanes, "ACT_BITS": self.act_bits, "ACC_BITS": self.acc_bits}
        packing = {"PRODUCTS": self.products} if self.products else {}
        return sizes | {"ROWS": self.rows, "TP": self.positions} | packing

    @property
    def key(self) -> str:
        return " ".join([self.array, *(f"{name.removesuffix('_BITS')}={n}" for name, n in self.parameters.items())])

    @property
    def usual(self) -> bool:
        """Whether it has the rows and positions of `ARRAYS` and the widest accumulators."""
        return self.acc_bits == 32 and (self.rows, self.positions) == ARRAYS[self.array][1:]

    @property
    def macs(self) -> int:
        return self.lanes * self.rows * self.positions

    def script(self, netlist: Path) -> str:
        """The Yosys commands that synthesise it; the netlist is written as JSON and, beside it, as Verilog."""
        files = [RTL / line for line in source_names(self.array)]
        return filled_in(
            TEMPLATE,
            FILES=" ".join(map(str, files)),
            PARAMETERS=settings(self.parameters),
            TOP=self.array,
            JSON=str(netlist),
            VERILOG=str(netlist.with_suffix(".v")),
        )


def filled_in(template: Path, **values: str) -> str:
    """The template's text with the values in place of their names between @."""
    return re.sub(r"@([A-Z]+)@", lambda found: values[found[1]], template.read_text())


def settings(parameters: Mapping[str, int | str]) -> str:
    """Arguments of Yosys' chparam."""
    return " ".join(f"-set {name} {value}" for name, value in parameters.items())


def source_names(array: str) -> list[str]:
    return files_of(ARRAYS[array][0])


def files_of(file_list: str) -> list[str]:
    """The files that a list in hw/rtl names."""
    lines = (RTL / file_list).read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("//")]


def fingerprint_of(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def fingerprint(config: Config, version: str) -> str:
    """Changes with the sources, the script's template and the tool."""
    texts = [
        version,
        config.key,
        TEMPLATE.read_text(),
        *((RTL / name).read_text() for name in source_names(config.array)),
    ]
    return fingerprint_of(*texts)


def yosys_version() -> str:
    return subprocess.run(["yosys", "-V"], check=True, capture_output=True, text=True).stdout.split(" (")[0].strip()


def run_yosys(commands: str, netlist: Path, label: str) -> list[dict[str, Any]]:
    """Runs the commands, which write the netlist as JSON; the cells of its top module."""
    script = netlist.with_suffix(".ys")
    script.write_text(commands)
    run = subprocess.run(["yosys", "-q", str(script)], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{label}: yosys must succeed, not say:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    modules = json.loads(netlist.read_text())["modules"]
    top = next(m for m in modules.values() if m.get("attributes", {}).get("top"))
    return list(top["cells"].values())


def count_cells(cells: list[dict[str, Any]], label: str, boxes: tuple[str, ...] = ()) -> dict[str, int]:
    """How many there are of each type; types that nobody can count are an error, but for the boxes, which are left out."""
    counts = Counter(cell["type"] for cell in cells if not any(box in cell["type"] for box in boxes))
    unknown = [
        t for t in counts if t not in LUTS_OF_CELL and t not in WIRES and not t.startswith(("FD", "DSP48", "RAMB"))
    ]
    if unknown:
        raise SystemExit(f"{label}: cells must be ones this script can count, not {', '.join(unknown)}")
    return dict(sorted(counts.items()))


def total_of(counts: dict[str, int], prefix: str) -> int:
    return sum(n for kind, n in counts.items() if kind.startswith(prefix))


def luts(counts: dict[str, int]) -> int:
    return sum(LUTS_OF_CELL.get(kind, 0) * n for kind, n in counts.items())


def synthesise(config: Config, version: str, netlists: Path | None = None) -> dict[str, Any]:
    """Runs Yosys and counts; the netlist as Verilog is kept, if a folder for it is named."""
    with tempfile.TemporaryDirectory() as folder:
        netlist = Path(folder) / "netlist.json"
        cells = run_yosys(config.script(netlist), netlist, config.key)
        if netlists:
            name = f"{config.array}-{config.lanes}-{config.act_bits}-{config.products}.v"
            shutil.copyfile(netlist.with_suffix(".v"), netlists / name)
    counts = count_cells(cells, config.key)
    lut, ff, dsp = luts(counts), total_of(counts, "FD"), total_of(counts, "DSP48")
    depth, chains = longest_path(cells)
    return {
        **{name: value for name, value in asdict(config).items() if value},
        "macs": config.macs,
        "lut": lut,
        "ff": ff,
        "carry4": counts.get("CARRY4", 0),
        "dsp": dsp,
        "bram": total_of(counts, "RAMB"),
        "lut_per_mac": round(lut / config.macs, 3),
        "ff_per_mac": round(ff / config.macs, 3),
        "carry4_per_mac": round(counts.get("CARRY4", 0) / config.macs, 3),
        "depth_luts": depth,
        "depth_chains": chains,
        "cells": counts,
        "fingerprint": fingerprint(config, version),
    }


def arcs(cell: dict[str, Any]) -> Iterator[tuple[int, int, int, int]]:
    """(net in, net out, LUTs, chains) of each way through a combinational cell."""
    kind, pins = cell["type"], cell["connections"]
    outputs = [p for p, way in cell["port_directions"].items() if way == "output"]
    inputs = [p for p, way in cell["port_directions"].items() if way == "input"]
    for target, source in itertools.product(outputs, inputs):
        if kind == "LUT6_2" and not lut6_2_depends(cell["parameters"]["INIT"], pins, target, int(source[1])):
            continue
        chained = int(kind == "CARRY4" and source != "CI")
        for net_in, net_out in itertools.product(pins[source], pins[target]):
            if isinstance(net_in, int) and isinstance(net_out, int):
                yield net_in, net_out, int(kind in LUTS_OF_CELL), chained


def lut6_2_depends(init: str, pins: dict[str, list[Any]], target: str, pin: int) -> bool:
    """Whether an output of a LUT6_2 depends on an input, the others that are constant taken into account."""
    table = init[::-1]
    if target == "O5" and pin == 5:
        return False
    for index in range(32 if target == "O5" else 64):
        constants_hold = all(
            str(pins[f"I{n}"][0]) == str(index >> n & 1) for n in range(6) if n != pin and pins[f"I{n}"][0] in ("0", "1")
            if not (target == "O5" and n == 5)
        )  # fmt: skip
        if constants_hold and table[index] != table[index ^ (1 << pin)]:
            return True
    return False


def longest_path(cells: list[dict[str, Any]]) -> tuple[int, int]:
    """Most LUTs and most carry chains on a path between registers, DSPs or ports."""
    following: dict[int, list[tuple[int, int, int]]] = {}
    waiting: dict[int, int] = {}
    for cell in cells:
        if cell["type"] in LUTS_OF_CELL or cell["type"] in WIRES:
            for net_in, net_out, luts, chains in arcs(cell):
                following.setdefault(net_in, []).append((net_out, luts, chains))
                waiting[net_out] = waiting.get(net_out, 0) + 1
    best = {net: (0, 0) for net in following if net not in waiting}
    ready = list(best)
    deepest = (0, 0)
    while ready:
        net = ready.pop()
        for net_out, luts, chains in following.get(net, []):
            old = best.get(net_out, (0, 0))
            best[net_out] = (max(old[0], best[net][0] + luts), max(old[1], best[net][1] + chains))
            waiting[net_out] -= 1
            if not waiting[net_out]:
                ready.append(net_out)
                deepest = (max(deepest[0], best[net_out][0]), max(deepest[1], best[net_out][1]))
    if any(waiting.values()):
        raise SystemExit("a netlist must have no combinational loop")
    return deepest


def table(results: list[dict[str, Any]]) -> str:
    """The results as Markdown, per MAC."""
    head = "| array | lanes | act bits | rows × positions | LUT/MAC | FF/MAC | CARRY4/MAC | MAC/DSP | depth: LUTs + chains |"
    lines = [head, "|---|" + "---:|" * (head.count("|") - 2)]
    for r in sorted(
        results,
        key=lambda r: (list(ARRAYS).index(r["array"]), r["act_bits"], r["lanes"], r["rows"], -r.get("products", 0)),
    ):
        packed = f"{r['macs'] / r['dsp']:.2f}" if r["dsp"] else "–"
        lines.append(
            f"| `{r['array']}` | {r['lanes']} | {r['act_bits']} | {r['rows']} × {r['positions']} | {r['lut_per_mac']:.2f} | "
            f"{r['ff_per_mac']:.2f} | {r['carry4_per_mac']:.2f} | {packed} | {r['depth_luts']} + {r['depth_chains']} |"
        )
    return "\n".join(lines)


def write_page(results: Mapping[str, dict[str, Any]]) -> None:
    """Put the table of the baseline's usual 32-lane arrays into docs/hardware.md."""
    keys = {c.key for c in every_configuration() if c.usual and c.lanes == 32}
    replace_part("costs", table([result for key, result in results.items() if key in keys]))


def replace_part(mark: str, text: str, page: Path = PAGE) -> None:
    """Put the text between a mark of a page and its end."""
    before, _, rest = page.read_text().partition(f"<!-- {mark} -->\n")
    _, _, after = rest.partition(f"<!-- /{mark} -->")
    page.write_text(f"{before}<!-- {mark} -->\n{text}\n<!-- /{mark} -->{after}")


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """As JSON, at once or not at all."""
    staged = path.with_suffix(".new")
    staged.write_text(json.dumps(record, indent=1) + "\n")
    staged.replace(path)


def every_configuration() -> list[Config]:
    """What the baseline holds."""
    whole = [
        Config(a, *size, rows, tp, most_products(a, rows, tp, size[1]))
        for a, (_, rows, tp) in ARRAYS.items()
        for size in (*SIZES, *(SEARCHED_SIZES if a in SEARCHED else ()))
    ]
    packed = [Config(a, 16, bits, 32, rows, tp, 2) for a, rows, tp in PACKINGS for bits in (4, 5, 8)]
    limited = [Config(a, *size, *ARRAYS[a][1:], products) for a, products in LIMITED for size in LIMITED_SIZES]
    return list(dict.fromkeys(whole + packed + limited))


def most_products(array: str, rows: int, positions: int, act_bits: int) -> int:
    """The most products per DSP; 0 for an array in LUTs."""
    if ARRAYS[array][0] != "dsp_arrays.f":
        return 0
    return rows * positions if array == "fixed4_dsp_array" and act_bits <= MOST_BITS_OF_FOUR else 2


def numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="arrays whose names contain this")
    parser.add_argument("--tk", type=numbers, help="only these lanes, for example 16,32")
    parser.add_argument("--act-bits", type=numbers, help="only these activation bits")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--netlists", type=Path, help="folder for the netlists: ARRAY-LANES-ACTBITS-PRODUCTS.v")
    parser.add_argument("--check", action="store_true", help="compare with the baseline instead of writing it")
    args = parser.parse_args()

    configs = [
        c
        for c in every_configuration()
        if args.only in c.array
        and (not args.tk or c.lanes in args.tk)
        and (not args.act_bits or c.act_bits in args.act_bits)
        and (c.usual or not args.check)
    ]
    if not configs:
        parser.error("no configuration is like that")
    if args.jobs < 1:
        parser.error(f"--jobs must be positive, not {args.jobs}")
    if args.netlists and not args.netlists.is_dir():
        parser.error(f"--netlists must be a folder, not {args.netlists}")
    if shutil.which("yosys") is None:
        parser.error("yosys is missing: `make hw-tools` installs it")
    version = yosys_version()
    known = json.loads(BASELINE.read_text())["results"] if BASELINE.exists() else {}
    if not args.check:
        known = {c.key: known[c.key] for c in every_configuration() if c.key in known}
    todo = [c for c in configs if args.check or known.get(c.key, {}).get("fingerprint") != fingerprint(c, version)]
    fresh: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(args.jobs) as pool:
        for config, result in zip(todo, pool.map(lambda c: synthesise(c, version, args.netlists), todo), strict=True):
            fresh[config.key] = result
            print(
                f"{len(fresh)}/{len(todo)} {config.key}: {result['lut_per_mac']} LUT/MAC", file=sys.stderr, flush=True
            )
            if not args.check:
                flags = next(line for line in TEMPLATE.read_text().splitlines() if line.startswith("synth_xilinx"))
                stored = {"yosys": version, "flags": flags, "results": dict(sorted((known | fresh).items()))}
                write_record(BASELINE, stored)
    print(table([(known | fresh)[c.key] for c in configs]))
    if not args.check:
        write_page(known | fresh)
        return 0
    grown = [
        f"{key} {cost} must be at most {GROWTH_ALLOWED * known[key][cost]:.1f}, not {result[cost]}"
        for key, result in fresh.items()
        for cost in ("lut", "ff", "carry4", "dsp", "bram")
        if key in known and result[cost] > GROWTH_ALLOWED * known[key][cost]
    ]
    missing = [f"{key} must be in the baseline: run `make hw`" for key in fresh if key not in known]
    deep = [
        f"{key} must be at most {DEPTH_ALLOWED} LUTs and one carry chain deep, not {r['depth_luts']} and {r['depth_chains']}"
        for key, r in fresh.items()
        if r["depth_luts"] > DEPTH_ALLOWED or r["depth_chains"] > 1
    ]
    print("\n".join(grown + missing + deep) or "no cost grew by more than 2 %, no path is too long")
    return 1 if grown or missing or deep else 0


if __name__ == "__main__":
    raise SystemExit(main())
