"""The accuracy table tells what the present code does, and compares a row with those that its bar names."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "scripts" / "accuracy.py"


@pytest.fixture(scope="module")
def accuracy():
    spec = importlib.util.spec_from_file_location("accuracy_script", PATH)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_run_is_made_again_when_code_or_command_differ(accuracy, tmp_path, monkeypatch):
    made = []

    def quantize(command, **_):
        folder = Path(command[command.index("--out") + 1])
        folder.mkdir(exist_ok=True)
        made.append(command)
        (folder / "summary.json").write_text(json.dumps({"run": len(made)}))

    monkeypatch.setattr(subprocess, "run", quantize)
    row = accuracy.ROWS[0]
    assert accuracy.run(row, 0, tmp_path, tmp_path, "a") == {"run": 1}
    assert accuracy.run(row, 0, tmp_path, tmp_path, "a") == {"run": 1}
    assert accuracy.run(row, 0, tmp_path, tmp_path, "b") == {"run": 2}
    assert accuracy.run(replace(row, options=("--act-bits", "5")), 0, tmp_path, tmp_path, "b") == {"run": 3}


def test_rows_come_with_those_they_are_compared_with(accuracy):
    assert [r.name for r in accuracy.wanted(["high"])] == ["normal", "high"]
    assert [r.name for r in accuracy.wanted(["cluster"])] == ["normal", "random", "cluster"]
    assert accuracy.wanted(None) == list(accuracy.ROWS)
    with pytest.raises(SystemExit, match="not higher"):
        accuracy.wanted(["higher"])


def test_a_comparison_that_is_lost_misses_the_bar(accuracy):
    bars = {r.name: r.compared for r in accuracy.ROWS}
    good, bad = [{"kl_to_float": 0.05}], [{"kl_to_float": 0.06}]
    assert bars["high"]({"high": good, "normal": bad})
    assert not bars["high"]({"high": good, "normal": good})
    assert bars["cluster"]({"cluster": good, "normal": good, "random": bad})
    assert not bars["cluster"]({"cluster": bad, "normal": good, "random": [{"kl_to_float": 0.07}]})
    assert not bars["cluster"]({"cluster": good, "normal": good, "random": good})
