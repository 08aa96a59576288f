"""The table of rivals: every figure follows from the row's own design, speed-ups are quotients of its times."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from ilmpq.canonical import canonical
from ilmpq.compare import (
    BASELINES,
    DESIGNS,
    ROW_BYTES,
    RunAccuracy,
    compare,
    model_errors,
    speedups,
    weights,
    write_csv,
)
from ilmpq.console import comparison_table
from ilmpq.design import EngineConfig
from ilmpq.device import PARTS
from ilmpq.errors import DoesNotFit
from ilmpq.perf import frame
from ilmpq.plot import draw_comparison
from ilmpq.resources import resources, usable
from ilmpq.search import Goal, rows_of
from ilmpq.work import machine_of
from ilmpq.workload import shapes_of, works_for
from ilmpq.zoo import build

ROOT = Path(__file__).resolve().parent.parent
SMALL = PARTS["xc7z020"]
KEYS = [
    "network",
    "device",
    "design",
    "act_bits",
    "ratio",
    "ends",
    "clock_mhz",
    "lut",
    "ff",
    "dsp",
    "bram36",
    "mac_per_cycle",
    "lanes_busy",
    "latency_ms",
    "frames_per_s",
    "gops",
    "accuracy",
    "resources_from",
    "cycles_from",
]


@cache
def shapes(network="cifar_resnet8"):
    return shapes_of(canonical(build(network)))


@cache
def rows():
    return compare({"net": shapes()}, [SMALL], (4,))


def by_design(found):
    return {row["design"]: row for row in found}


def test_every_design_has_its_row():
    found = [row.to_dict() for row in rows()]
    assert [row["design"] for row in found] == [design.name for design in DESIGNS]
    for row in found:
        assert set(KEYS) <= set(row)
        assert json.loads(json.dumps(row)) == row
        assert (row["network"], row["device"], row["act_bits"]) == ("net", "xc7z020", 4)


def test_designs_are_those_that_papers_and_fairness_ask_for():
    names = {design.name for design in DESIGNS}
    assert {f"fixed4_dsp{n}{ends}" for n in (1, 2, 4) for ends in ("", "_ends8")} < names
    assert {"fixed8_dsp", "fixed4_fair", "pot4", "mixed", "mixed_pot3"} < names
    assert set(BASELINES) < names


@pytest.mark.parametrize("place", range(len(DESIGNS)), ids=lambda place: DESIGNS[place].name)
def test_a_row_follows_from_its_design(place):
    """Cycles, costs and counts once more, from nothing but the row's `config`."""
    row, rules = rows()[place].to_dict(), DESIGNS[place].rules(4)
    config = EngineConfig.from_dict(row["config"])
    goal = Goal({"net": shapes()}, SMALL, rules)
    found = frame(works_for(shapes(), config, rows_of(rules, shapes(), config)), machine_of(config), goal.memory)
    seconds = found.cycles / 100e6
    macs = sum(shapes().macs.values())
    assert row["cycles"] == round(found.cycles)
    assert row["latency_ms"] == pytest.approx(1e3 * seconds, abs=1e-4)
    assert row["frames_per_s"] == pytest.approx(1 / seconds, abs=0.01)
    assert row["gops"] == pytest.approx(2e-9 * macs / seconds, abs=0.01)
    assert row["mac_per_cycle"] == config.geometry.rows * row["tk"] * row["tp"]
    assert 0 < row["lanes_busy"] <= 1
    cost = resources(config)
    assert cost.over(usable(SMALL)) == {}
    assert (row["lut"], row["ff"], row["dsp"]) == (round(cost.lut), round(cost.ff), cost.dsp)
    assert row["bram36"] == pytest.approx(cost.bram36, abs=0.05)
    assert {str(kind) for kind in rules.kinds} >= {text.strip().split(":")[0] for text in row["arrays"].split(",")}


def test_restrictions_hold():
    found = by_design(row.to_dict() for row in rows())
    for name, row in found.items():
        kinds = {(a["scheme"], a["resource"], a.get("products", 0)) for a in row["config"]["arrays"]}
        if "dsp" in name:
            assert {resource for _, resource, _ in kinds} == {"dsp"}
        assert row["ends"] == ("fix8" if name.endswith("ends8") else None)
        if name.endswith("ends8"):
            assert {scheme for scheme, _, _ in kinds} == {"fix4", "fix8"}
        if name.startswith("mixed"):
            assert [scheme for scheme, _, _ in sorted(kinds)] == ["fix4", "fix8", "pot3" if "3" in name else "pot4"]
    assert found["fixed4_dsp1"]["ratio"] == found["fixed4_fair"]["ratio"]
    assert found["fixed4_fair"]["latency_ms"] <= found["fixed4_dsp4"]["latency_ms"]  # it may do all that the other may
    assert (
        found["fixed4_dsp4"]["latency_ms"] <= found["fixed4_dsp2"]["latency_ms"] <= found["fixed4_dsp1"]["latency_ms"]
    )


def line(design, latency, **other):
    return {"network": "n", "device": "d", "act_bits": 4, "batch": 1, "design": design, "latency_ms": latency} | other


def test_speedups_by_hand():
    """Of the same network, chip, bits and batch only, and over those baselines alone that are there."""
    found = speedups(
        [
            line("fixed8_dsp", 8.0),
            line("fixed4_fair", 3.0),
            line("mixed", 2.0),
            line("mixed", 2.0, act_bits=5),
            line("mixed", 2.0, batch=4),
            line("fixed8_dsp", 5.0, device="e"),
            line("mixed", 4.0, device="e"),
        ]
    )
    assert [row["speedup"] for row in found] == [
        {"fixed8_dsp": 1.0, "fixed4_fair": 0.375},
        {"fixed8_dsp": 2.667, "fixed4_fair": 1.0},
        {"fixed8_dsp": 4.0, "fixed4_fair": 1.5},
        {},
        {},
        {"fixed8_dsp": 1.0},
        {"fixed8_dsp": 1.25},
    ]


def test_bits_and_bytes_by_hand():
    net = replace(shapes(), columns={"conv": 18, "fc": 16})
    bits, size = weights(net, {"conv": {"pot3": 3, "fix8": 1}, "fc": {"fix4": 3}})
    codes = 3 * 18 * 3 + 18 * 8 + 3 * 16 * 4
    assert bits == codes / (4 * 18 + 3 * 16)
    assert size == -(-codes // 8) + 7 * ROW_BYTES


def test_files_are_written(tmp_path):
    found = speedups([row.to_dict() for row in rows()])
    write_csv(tmp_path / "rows.csv", found)
    read = list(csv.DictReader((tmp_path / "rows.csv").open()))
    assert [r["design"] for r in read] == [r["design"] for r in found]
    for line, row in zip(read, found, strict=True):
        assert (float(line["latency_ms"]), line["arrays"]) == (row["latency_ms"], row["arrays"])
        assert line["ends"] == (row["ends"] or "")
        assert {b: float(line[f"speedup_over_{b}"]) for b in BASELINES} == row["speedup"]
    draw_comparison(tmp_path / "rows.png", found)
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize("width", [80, 300])
def test_every_figure_is_readable_in_any_terminal(width):
    """None cut short, none broken over lines, each beside its design's name."""
    found = speedups([replace(row, accuracy=91.25).to_dict() for row in rows()])
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(comparison_table(found))
    lines = captured.get().splitlines()
    assert "…" not in captured.get()
    for row in found:
        (told,) = ["  ".join(line.split("  ", 1)[1] for line in lines if line.split(" ")[0] == row["design"])]
        cells = [cell.strip() for cell in told.split("  ") if cell.strip()]
        assert len(cells) == 16
        assert {
            f"{row['arrays']}; {row['tk']} × {row['tp']}",
            f"{row['lut']:,}",
            str(row["dsp"]),
            f"{row['bram36']:g}",
            f"{row['frames_per_s']:,.1f}",
            f"{100 * row['lanes_busy']:.1f}",
            "91.25",
            *(f"{faster:.2f}×" for faster in row["speedup"].values()),
        } <= set(cells)


@pytest.mark.parametrize("network", ["resnet18", "cifar_resnet20"])
def test_the_record_of_the_results_is_what_is_found_now(network):
    """Of a few rows: the record is `scripts/tables.py`'s, and the pages' figures come out of it."""
    few = [d for d in DESIGNS if d.name in ("fixed4_dsp1_ends8", "fixed4_fair", "mixed")]
    recorded = json.loads((ROOT / "docs" / "comparison.json").read_text())["networks"][network]
    wanted = by_design(r for r in recorded if (r["device"], r["act_bits"], r["batch"]) == (SMALL.name, 4, 1))
    for row in compare({network: shapes(network)}, [SMALL], designs=few):
        assert row.to_dict() == {key: value for key, value in wanted[row.design.name].items() if key != "speedup"}


def test_four_products_take_six_activation_bits_at_most():
    assert {d.name for d in DESIGNS if not d.exists(7)} == {"fixed4_dsp4", "fixed4_dsp4_ends8"}
    assert all(design.exists(6) for design in DESIGNS)
    assert not any("dsp4" in row.design.name for row in compare({"net": shapes()}, [SMALL], (8,), DESIGNS[5:7]))


def test_designs_that_cannot_run_a_network_are_left_out_and_told(monkeypatch):
    told = []
    few = replace(SMALL, lut=19_000)  # enough for DSPs' arrays, not for those in LUTs
    found = compare({"net": shapes()}, [few], designs=(DESIGNS[0], DESIGNS[-2]), refuse=told.append)
    assert [row.design.name for row in found] == ["fixed8_dsp"]
    assert told == [
        "mixed is left out: no design with pot4@lut, fix4@dsp, fix8@dsp and 4-bit activations fits xc7z020: give other "
        "--schemes"
    ]

    def nowhere(*_):
        raise DoesNotFit("net must run on some design of xc7z020, but: no design")

    monkeypatch.setattr("ilmpq.compare.fastest", nowhere)
    with pytest.raises(DoesNotFit, match="fixed8_dsp is left out: net must .*; mixed is left out: net must"):
        compare({"net": shapes()}, [SMALL], designs=(DESIGNS[0], DESIGNS[-2]))


def test_a_run_gives_its_accuracy_to_its_own_ratio_and_bits():
    run = RunAccuracy("net", shapes(), "pot4:60,fix4:35,fix8:5", 4, 91.5)
    row = {"ratio": "pot4:60,fix4:35,fix8:5", "ends": None, "act_bits": 4, "accuracy": None}
    assert run.with_accuracy(row)["accuracy"] == 91.5
    assert run.with_accuracy(row | {"act_bits": 5})["accuracy"] is None
    assert run.with_accuracy(row | {"ratio": "fix4:100"})["accuracy"] is None


def test_a_run_of_fixed4_has_no_accuracy_for_designs_with_fixed8_at_the_ends():
    run = RunAccuracy("net", shapes(), "fix4:100", 4, 91.5)
    found = [run.with_accuracy(row.to_dict()) for row in rows()]
    assert {row["design"] for row in found if row["accuracy"] is not None} == {
        "fixed4_dsp1",
        "fixed4_dsp2",
        "fixed4_dsp4",
        "fixed4_fair",
    }


def test_errors_of_the_model_are_told_with_the_number_of_engines():
    found = model_errors()
    assert set(found) == {"lut", "lut around", "ff", "ff around"}
    assert all(0 <= each["mean"] <= each["worst"] and each["points"] > 0 for each in found.values())
