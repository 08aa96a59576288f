"""What engines cost is as `hw/syn/engine.json` says: a small one synthesised again, and sums by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from backends import primitives

from accel.engine.points import POINTS, SMALL, TESTED, XC7Z020_POT3, XC7Z020_POT3_A5, XC7Z020_POT4, XC7Z045_POT4, Point
from ilmpq.design import EngineConfig

ROOT = Path(__file__).parents[1]
RECORD = json.loads((ROOT / "hw" / "syn" / "engine.json").read_text())
# MAC per cycle that a chip's engine must reach.
REQUIRED = {XC7Z020_POT4: 1700, XC7Z020_POT3: 2300, XC7Z020_POT3_A5: 2100, XC7Z045_POT4: 7000}


def test_no_cost_differs() -> None:
    """Core and memory side of an engine of eight lanes, within 2 % of the record."""
    primitives()  # skips where yosys is missing
    script = ROOT / "scripts" / "synthesise_engine.py"
    command = [sys.executable, str(script), "--check", "--only", TESTED.name, "--jobs", str(os.cpu_count())]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr.count(" LUT\n") == 2


@pytest.mark.parametrize("point", REQUIRED, ids=lambda point: point.name)
def test_chips_hold_their_engines(point: Point) -> None:
    found = RECORD["points"][point.name]
    assert found["fits"]
    assert found["mac_per_cycle"] == point.config.geometry.macs_per_cycle >= REQUIRED[point]


def test_arrays_cost_what_their_rows_cost() -> None:
    """The rule by which arrays are counted, on arrays synthesised whole."""
    rule, whole = RECORD["arrays_by_rule"], RECORD["arrays_whole"]
    assert rule["point"] == SMALL.name
    assert whole["dsp"] == rule["dsp"]
    assert whole["lut"] == pytest.approx(rule["lut"], rel=0.01)


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_block_rams_are_those_counted_by_hand(point: Point) -> None:
    """Within 2 %: whether a half block RAM is left over is the tool's affair."""
    results = RECORD["results"]
    assert results[f"{point.name} core"]["bram36"] == pytest.approx(core_block_rams(point.config), rel=0.02)
    assert results[f"{point.name} memory"]["bram36"] == 4 * point.config.image_pixels  # lines of an image


def core_block_rams(config: EngineConfig) -> float:
    """Activation memory (of bytes, two ports that write), weight ring and slot table, in block RAMs of 36 kbit."""
    width = {4096: 1, 2048: 2, 1024: 4}  # bytes
    found = sum(config.word_bytes / width[depth] for depth in depths(config.am_depth, 1024))
    ends = config.step_bits % config.beat_bits
    columns = [config.beat_bits] * (config.step_bits // config.beat_bits) + [ends] * (ends > 0)
    return (
        found
        + sum(simple_dual_port(bits, config.ring_depth) for bits in columns)
        + simple_dual_port(192, config.table_depth)
    )


def simple_dual_port(bits: int, depth: int) -> float:
    """A half block RAM is 36 bits wide, or as many times less as it is deeper than 512."""
    return sum(-(-2 * bits // (72 * 512 // each)) / 2 for each in depths(depth, 512))


def depths(words: int, least: int) -> list[int]:
    """What block RAMs a memory is made of: the deepest, and one for the rest."""
    full, rest = divmod(words, 4096)
    return [4096] * full + ([max(least, 1 << (rest - 1).bit_length())] if rest else [])
