"""The accuracy table: `ilmpq quantize` on CIFAR-10 ResNets, every figure read from the RUN folders it leaves.

    python scripts/accuracy.py --data DIR [--only normal] [--out runs/accuracy] [--jobs 2]

DIR holds resnet20-12fca82f.th, resnet56-4bfd9763.th, cifar10_train10k.npz and cifar10_test.npz. Runs that are there
already are read, not made again, if the same code made them by the same command. Rows that a row is compared with are
made too. The exit code is 4 if a bar is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

R20, R56 = "resnet20-12fca82f.th", "resnet56-4bfd9763.th"
PACKAGE = Path(__file__).resolve().parents[1] / "ilmpq"
Summaries = list[dict[str, Any]]
Found = dict[str, Summaries]


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
    beside: tuple[str, ...] = ()  # rows it is compared with
    compared: Callable[[Found], bool] = lambda found: True


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


def below(a: Summaries, b: Summaries) -> bool:
    """Whether a's KL is less than b's on every subset."""
    return all(x["kl_to_float"] < y["kl_to_float"] for x, y in zip(a, b, strict=True))


def cluster_bar(found: Found) -> bool:
    near = mean(found["cluster"], "kl_to_float") <= 1.1 * mean(found["normal"], "kl_to_float")
    return near and below(found["cluster"], found["random"])


POT3_4, POT3_5 = ("--ratio", "pot3:60,fix4:35,fix8:5"), ("--ratio", "pot3:75,fix4:20,fix8:5", "--act-bits", "5")
ROWS = (
    Row("normal", R20, (), "mean ≥ 90.8, each ≥ 90.5, KL ≤ 0.058, ≤ 60 CPU s", normal_bar),
    Row(
        "high",
        R20,
        ("--effort", "high"),
        "mean ≥ 91.0, KL below normal's, ≤ 1200 CPU s",
        high_bar,
        beside=("normal",),
        compared=lambda found: below(found["high"], found["normal"]),
    ),
    Row("fast", R20, ("--effort", "fast"), "none", lambda runs: True),
    Row("power-of-two scales", R20, ("--scales", "power-of-two"), "none", lambda runs: True),
    Row("act-bits 5", R20, ("--act-bits", "5"), "≥ 91.1, KL ≤ 0.030", at_least(91.1, 0.030)),
    Row("act-bits 8", R20, ("--act-bits", "8"), "≥ 91.4, KL ≤ 0.015", at_least(91.4, 0.015)),
    Row("pot3:60,fix4:35,fix8:5", R20, POT3_4, "≥ 90.5", at_least(90.5)),
    Row("pot3:75,fix4:20,fix8:5, 5 bits", R20, POT3_5, "≥ 91.0", at_least(91.0)),
    Row("ResNet-56", R56, (), "≥ 92.5", at_least(92.5)),
    Row("synthetic images", R20, (), "≥ 89", at_least(89.0), synthetic=True),
    Row("random", R20, ("--assign", "random"), "none", lambda runs: True),
    Row(
        "cluster",
        R20,
        ("--assign", "cluster"),
        "KL ≤ 1.1 × exact's, below random's on every subset",
        lambda runs: True,
        beside=("normal", "random"),
        compared=cluster_bar,
    ),
)


def wanted(names: list[str] | None) -> list[Row]:
    """The rows of these names (all, if none are given) and those they are compared with, which come first."""
    unknown = set(names or ()) - {r.name for r in ROWS}
    if unknown:
        raise SystemExit(f"--only must name rows of the table, not {', '.join(sorted(unknown))}")
    asked = [r for r in ROWS if not names or r.name in names]
    return [r for r in ROWS if r in asked or any(r.name in a.beside for a in asked)]


def code_checksum() -> str:
    """A checksum of the package's sources."""
    checksum = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        checksum.update(f"{path.relative_to(PACKAGE)}\0".encode() + path.read_bytes())
    return checksum.hexdigest()


def run(row: Row, seed: int, data: Path, out: Path, code: str) -> dict[str, Any]:
    """Make the run unless this code has made it by the same command; its summary."""
    folder = out / f"{row.name.replace(' ', '-').replace(',', '_').replace(':', '')}-seed{seed}"
    command = [sys.executable, "-m", "ilmpq.cli", "quantize", str(data / row.model), "--out", str(folder), "-q"]
    command += ["--seed", str(seed), "--threads", "1", "--val", str(data / "cifar10_test.npz"), *row.options]
    if not row.synthetic:
        command += ["--calib", str(data / "cifar10_train10k.npz")]
    origin, made_by = folder.with_name(f"{folder.name}.made-by.json"), {"code": code, "command": command[1:]}
    fresh = (folder / "summary.json").exists() and origin.exists() and json.loads(origin.read_text()) == made_by
    if not fresh:
        origin.unlink(missing_ok=True)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        origin.write_text(json.dumps(made_by, indent=2))
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--only", nargs="*", help="names of rows")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    rows, code = wanted(options.only), code_checksum()
    found: Found = {}
    print("| configuration | top-1 % (mean of subsets) | KL to float | CPU s | bar | |")
    print("|---|---|---|---|---|---|")
    missed = False
    with ThreadPoolExecutor(options.jobs) as pool:
        futures = {r.name: [pool.submit(run, r, s, options.data, options.out, code) for s in r.seeds] for r in rows}
        for row in rows:
            runs = found[row.name] = [f.result() for f in futures[row.name]]
            ok = row.reached(runs) and row.compared(found)
            each = " ".join(f"{r['accuracy_quantized']:.2f}" for r in runs)
            kls = " ".join(f"{r['kl_to_float']:.4f}" for r in runs)
            print(
                f"| {row.name} | {mean(runs, 'accuracy_quantized'):.2f} ({each}; float {runs[0]['accuracy_float']:.2f}) "
                f"| {mean(runs, 'kl_to_float'):.4f} ({kls}) | {max(r['cpu_seconds'] for r in runs):.1f} "
                f"| {row.bar} | {'ok' if ok else 'MISSED'} |",
                flush=True,
            )
            missed |= not ok
    return 4 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
