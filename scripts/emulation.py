"""How far float emulation of a quantized network is from its integer program: accuracy of both, per RUN folder.

    python scripts/emulation.py --val labelled.npz RUN [RUN …]

The exit code is 4 if accuracies differ by more than 0.1 points.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ilmpq.emulate import Emulator
from ilmpq.integer import Executor
from ilmpq.job import open_validation, validation_batch
from ilmpq.runfolder import RunFolder

ALLOWED = 0.1


def accuracies(path: Path, val: str) -> tuple[float, float, float]:
    """Percent right by the integer program and by emulation, and percent of the same answers."""
    run = RunFolder.open(path)
    program, model = run.program(), run.model()
    data = open_validation(val, run.preprocess(), program.graph, None)
    executor, emulator = Executor(program), Emulator(model)
    right = emulated = same = count = 0
    for images, labels in data.batches(validation_batch(program.graph)):
        x = torch.from_numpy(images)
        truth = torch.from_numpy(labels)
        one, other = executor.logits(x).flatten(1).argmax(1), emulator(x).flatten(1).argmax(1)
        right += int((one == truth).sum())
        emulated += int((other == truth).sum())
        same += int((one == other).sum())
        count += len(truth)
    return 100 * right / count, 100 * emulated / count, 100 * same / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--val", required=True, help="labelled images")
    parser.add_argument("runs", nargs="+", type=Path)
    options = parser.parse_args()
    print("| run | integer program % | emulation % | same answers % | |")
    print("|---|---|---|---|---|")
    missed = False
    for path in options.runs:
        integer, emulated, same = accuracies(path, options.val)
        ok = abs(integer - emulated) <= ALLOWED
        missed |= not ok
        print(f"| {path.name} | {integer:.2f} | {emulated:.2f} | {same:.2f} | {'ok' if ok else 'MISSED'} |", flush=True)
    return 4 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
