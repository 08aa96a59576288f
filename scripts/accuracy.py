"""The accuracy table: `ilmpq quantize` on CIFAR-10 ResNets, every figure read from the RUN folders it leaves.

    python scripts/accuracy.py --data DIR [--only normal] [--out runs/accuracy] [--jobs 2]

DIR holds resnet20-12fca82f.th, resnet56-4bfd9763.th, cifar10_train10k.npz and cifar10_test.npz. Runs that are there
already are read, not made again. The exit code is 4 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

R20, R56 = "resnet20-12fca82f.th", "resnet56-4bfd9763.th"
Summaries = list[dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One configuration: options of `ilmpq quantize`, the calibration subsets (seeds), and what it must reach."""

    name: str
    model: str
    options: tuple[str, ...]
    bar: str
    reached: Callable[[Summaries], bool]
    seeds: tuple[int, ...] = (0, 1, 2)
    synthetic: bool = False


def mean(runs: Summaries, key: str) -> float:
    """Mean of one entry of the summaries."""
    return float(sum(r[key] for r in runs) / len(runs))


def at_least(accuracy: float, kl: float = float("inf")) -> Callable[[Summaries], bool]:
    """Mean accuracy and mean KL."""
    return lambda runs: mean(runs, "accuracy_quantized") >= accuracy and mean(runs, "kl_to_float") <= kl


def normal_bar(runs: Summaries) -> bool:
    worst = min(r["accuracy_quantized"] for r in runs)
    cpu = max(r["cpu_seconds"] for r in runs)
    return at_least(90.8, 0.058)(runs) and worst >= 90.5 and cpu <= 60


def high_bar(runs: Summaries) -> bool:
    return at_least(91.0)(runs) and max(r["cpu_seconds"] for r in runs) <= 1200


POT3_4, POT3_5 = ("--ratio", "pot3:60,fix4:35,fix8:5"), ("--ratio", "pot3:75,fix4:20,fix8:5", "--act-bits", "5")
ROWS = (
    Row("normal", R20, (), "mean ≥ 90.8, each ≥ 90.5, KL ≤ 0.058, ≤ 60 CPU s", normal_bar),
    Row("high", R20, ("--effort", "high"), "mean ≥ 91.0, KL below normal's, ≤ 1200 CPU s", high_bar),
    Row("fast", R20, ("--effort", "fast"), "none", lambda runs: True),
    Row("act-bits 5", R20, ("--act-bits", "5"), "≥ 91.1, KL ≤ 0.030", at_least(91.1, 0.030)),
    Row("act-bits 8", R20, ("--act-bits", "8"), "≥ 91.4, KL ≤ 0.015", at_least(91.4, 0.015)),
    Row("pot3:60,fix4:35,fix8:5", R20, POT3_4, "≥ 90.5", at_least(90.5)),
    Row("pot3:75,fix4:20,fix8:5, 5 bits", R20, POT3_5, "≥ 91.0", at_least(91.0)),
    Row("ResNet-56", R56, (), "≥ 92.5", at_least(92.5)),
    Row("synthetic images", R20, (), "≥ 89", at_least(89.0), synthetic=True),
    Row("cluster", R20, ("--assign", "cluster"), "KL ≤ 1.1 × exact's, below random's", lambda runs: True),
    Row("random", R20, ("--assign", "random"), "none", lambda runs: True),
)


def run(row: Row, seed: int, data: Path, out: Path) -> dict[str, Any]:
    """Make the run unless it is there; its summary."""
    folder = out / f"{row.name.replace(' ', '-').replace(',', '_').replace(':', '')}-seed{seed}"
    if not (folder / "summary.json").exists():
        command = [sys.executable, "-m", "ilmpq.cli", "quantize", str(data / row.model), "--out", str(folder), "-q"]
        command += ["--seed", str(seed), "--threads", "1", "--val", str(data / "cifar10_test.npz"), *row.options]
        if not row.synthetic:
            command += ["--calib", str(data / "cifar10_train10k.npz")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def below(a: Summaries, b: Summaries, factor: float = 1.0) -> bool:
    """Whether on every subset a's KL is less than b's, times a factor."""
    return all(x["kl_to_float"] < factor * y["kl_to_float"] for x, y in zip(a, b, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--only", nargs="*", help="names of rows")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    rows = [r for r in ROWS if not options.only or r.name in options.only]
    found: dict[str, Summaries] = {}
    print("| configuration | top-1 % (mean of subsets) | KL to float | CPU s | bar | |")
    print("|---|---|---|---|---|---|")
    missed = False
    with ThreadPoolExecutor(options.jobs) as pool:
        futures = {r.name: [pool.submit(run, r, s, options.data, options.out) for s in r.seeds] for r in rows}
        for row in rows:
            runs = found[row.name] = [f.result() for f in futures[row.name]]
            ok = row.reached(runs)
            if row.name == "high" and "normal" in found:
                ok = ok and below(runs, found["normal"])
            each = " ".join(f"{r['accuracy_quantized']:.2f}" for r in runs)
            kls = " ".join(f"{r['kl_to_float']:.4f}" for r in runs)
            print(
                f"| {row.name} | {mean(runs, 'accuracy_quantized'):.2f} ({each}; float {runs[0]['accuracy_float']:.2f}) "
                f"| {mean(runs, 'kl_to_float'):.4f} ({kls}) | {max(r['cpu_seconds'] for r in runs):.1f} "
                f"| {row.bar} | {'ok' if ok else 'MISSED'} |",
                flush=True,
            )
            missed |= not ok
    if {"normal", "cluster", "random"} <= set(found):
        near = mean(found["cluster"], "kl_to_float") <= 1.1 * mean(found["normal"], "kl_to_float")
        better = below(found["cluster"], found["random"])
        print(f"\ncluster within 10 % of exact: {near}; below random on every subset: {better}")
        missed |= not (near and better)
    return 4 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
