"""The command line as a user meets it: exit codes, messages on stderr, JSON on stdout, never a traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ilmpq import cli, zoo

ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive", "COLUMNS": "200"}


def ilmpq(*words, cwd=None, start=False):
    command = [sys.executable, "-m", "ilmpq.cli", *map(str, words)]
    if start:
        return subprocess.Popen(
            command, cwd=cwd, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good and bad files."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    state = {k: torch.from_numpy(np.asarray(v)) for k, v in zoo.random_state_dict("cifar_resnet8", rng).items()}
    torch.save(state, folder / "good.pt")
    torch.save({**state, "conv1.weight": state["conv1.weight"] * float("nan")}, folder / "nan.pt")
    torch.save({k: v for k, v in state.items() if k != "layer2.0.bn1.bias"}, folder / "missing.pt")
    torch.save({**state, "extra.weight": torch.ones(3)}, folder / "extra.pt")
    torch.save({"a.weight": torch.ones(3, 3), "b.weight": torch.ones(3, 3)}, folder / "unknown.pt")
    (folder / "empty.pt").write_bytes(b"")
    (folder / "cut.pt").write_bytes((folder / "good.pt").read_bytes()[:5000])
    (folder / "text.pt").write_text("hello")
    x = rng.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    np.savez(folder / "x.npz", x=x)
    np.savez(folder / "xy.npz", x=x, y=rng.integers(0, 10, 20))
    np.savez(folder / "labels.npz", x=x, y=np.arange(20))
    np.savez(folder / "small.npz", x=x[:, :, :16], y=np.zeros(20, np.int64))
    (folder / "none").mkdir()
    (folder / "other").mkdir()
    (folder / "other" / "thesis.txt").write_text("precious")
    (folder / "rows.csv").write_text("layer,row,scheme\nconv1,0,pot4\n")
    return folder


BAD = [
    # model
    (["quantize", "nowhere.pt"], 2, "nowhere.pt"),
    (["quantize", "resnet18"], 2, "name of an architecture, without weights"),
    (["quantize", "none"], 2, "folder"),
    (["quantize", "empty.pt"], 3, "empty"),
    (["quantize", "cut.pt"], 3, "cut.pt"),
    (["quantize", "text.pt"], 3, "text.pt"),
    (["quantize", "nan.pt"], 3, "conv1.weight"),
    (["quantize", "missing.pt"], 3, "layer2.0.bn1.bias"),
    (["quantize", "extra.pt"], 3, "extra.weight"),
    (["quantize", "unknown.pt"], 3, "nearest"),
    (["quantize", "good.pt", "--arch", "vgg16"], 3, "features.0"),
    (["quantize", "good.pt", "--arch", "nomodule:f"], 2, "nomodule"),
    (["quantize", "good.pt", "--arch", "resnet99"], 2, "resnet"),
    # data
    (["quantize", "good.pt", "--calib", "none"], 2, "none"),
    (["quantize", "good.pt", "--calib", "nowhere"], 2, "nowhere"),
    (["quantize", "good.pt", "--calib", "small.npz"], 2, "3×32×32"),
    (["quantize", "good.pt", "--calib", "x.npz", "--val", "x.npz"], 2, "y"),
    (["quantize", "good.pt", "--calib", "x.npz", "--val", "labels.npz"], 2, "from 0 to 9"),
    (["inspect", "alexnet", "--input-shape", "3,16,16"], 3, "does not fit"),
    (["quantize", "good.pt", "--input-shape", "1,32,32"], 3, "conv1"),
    (["quantize", "good.pt", "--input-shape", "x"], 2, "--input-shape"),
    (["quantize", "good.pt", "--mean", "0.5"], 2, "--mean"),
    (["quantize", "good.pt", "--preset", "cifar"], 2, "--preset"),
    # options
    (["quantize", "digits", "--ratio", "60:35:6"], 2, "add up to 100"),
    (["quantize", "digits", "--ratio", "nonsense"], 2, "ratio"),
    (["quantize", "digits", "--act-bits", "3"], 2, "from 4 to 8"),
    (["quantize", "digits", "--act-bits", "4,nolayer=8"], 2, "nolayer"),
    (["quantize", "digits", "--effort", "extreme"], 2, "fast, normal, high"),
    (["quantize", "digits", "--assign", "magic"], 2, "exact, cluster"),
    (["quantize", "digits", "--budget", "avg-bits=2"], 2, "between 4 and 8"),
    (["quantize", "digits", "--budget", "4.3"], 2, "avg-bits="),
    (["quantize", "digits", "--granularity", "layer"], 2, "--budget"),
    (["quantize", "digits", "--assignment", "rows.csv"], 2, "row 1 of conv1 is missing"),
    (["quantize", "digits", "--assignment", "nowhere.csv"], 2, "nowhere.csv"),
    (["quantize", "digits", "--seed", "-1"], 2, "--seed"),
    (["quantize", "digits", "--calib-images", "0"], 2, "--calib-images"),
    (["quantize", "digits", "--threads", "0"], 2, "--threads"),
    (["quantize", "digits", "--no-such-option"], 2, "no-such-option"),
    (["quantize"], 2, "Missing argument"),
    # output
    (["quantize", "digits", "--out", "other"], 2, "holds other files"),
    (["quantize", "digits", "--out", "good.pt"], 2, "is a file"),
    (["quantize", "digits", "--out", "/proc/run"], 2, "cannot be written"),
    (["quantize", "digits", "--out", "new", "--resume"], 2, "cannot be resumed"),
    # other commands
    (["evaluate", "nowhere"], 2, "not a RUN folder"),
    (["evaluate", "other"], 2, "not a finished RUN folder"),
    (["inspect", "empty.pt"], 3, "empty"),
    (["inspect", "resnet17"], 2, "resnet17"),
]


@pytest.mark.parametrize(("words", "code", "message"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else None)
def test_a_mistake_gets_its_exit_code_and_a_message(folder, words, code, message, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["ilmpq", *words])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    printed = capsys.readouterr()
    assert leaving.value.code == code, printed.err
    assert message in printed.err
    assert printed.out == ""
    assert (folder / "other" / "thesis.txt").read_text() == "precious"


def test_a_run_with_everything(folder, tmp_path):
    done = ilmpq("quantize", "good.pt", "--calib", "x.npz", "--val", "xy.npz", "--out", tmp_path, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    wanted = "model device ratio act_bits effort seed images_calibration accuracy_float accuracy_quantized kl_to_float "
    wanted += "images_evaluated average_weight_bits parameters_bytes_float parameters_bytes_packed cpu_seconds "
    wanted += "wall_seconds peak_memory_mb"
    assert set(wanted.split()) <= set(summary)
    assert summary["images_evaluated"] == 20
    files = {p.name for p in tmp_path.iterdir()}
    assert files == {
        "model.safetensors",
        "float.safetensors",
        "rows.csv",
        "summary.json",
        "config.json",
        "log.txt",
    }
    again = ilmpq("evaluate", tmp_path, "--json", cwd=folder)
    assert json.loads(again.stdout)["accuracy_quantized"] == summary["accuracy_quantized"]


def test_without_any_images_the_program_says_so(folder, tmp_path):
    done = ilmpq("quantize", "good.pt", "--effort", "fast", "--calib-images", "16", "--out", tmp_path, cwd=folder)
    assert done.returncode == 0
    assert "real images give better accuracy" in done.stderr
    assert "not measured: give labelled images" in done.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["accuracy_float"] is summary["kl_to_float"] is None


def test_a_mistake_shows_no_traceback(folder):
    done = ilmpq("quantize", "cut.pt", cwd=folder)
    assert done.returncode == 3
    assert done.stderr.startswith("error: cut.pt")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_quiet_is_quiet(tmp_path):
    done = ilmpq("quantize", "digits", "--effort", "fast", "-q", "--out", tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_missed_accuracy_is_exit_code_four(tmp_path):
    words = ["quantize", "digits", "--effort", "fast", "--ratio", "fix2:100", "--max-drop", "0.5", "--out", tmp_path]
    done = ilmpq(*words)
    assert done.returncode == 4
    assert "accuracy drops by" in done.stderr
    assert (tmp_path / "summary.json").exists()


def test_control_c_then_resume(tmp_path):
    words = ["quantize", "digits", "--out", tmp_path / "run", "--seed", "5"]
    process = ilmpq(*words, start=True)
    partial = tmp_path / "run" / ".partial"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(partial.glob("layer*"))) < 2 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "--resume goes on" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "run" / "summary.json").exists()
    assert ilmpq("evaluate", tmp_path / "run").returncode == 2
    assert ilmpq(*words, "--resume").returncode == 0
    assert ilmpq("quantize", "digits", "--out", tmp_path / "whole", "--seed", "5").returncode == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


def test_inspect_and_doctor_have_json():
    found = json.loads(ilmpq("inspect", "resnet18", "--json").stdout)
    assert found["macs"] == 1_814_073_344
    assert found["parameters"] == sum(n["weights"] + n["shape"][0] for n in found["nodes"] if n["weights"])
    assert {f["name"] for f in json.loads(ilmpq("doctor", "--json").stdout)} >= {"python", "torch", "onnx", "vivado"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_told(tmp_path, monkeypatch):
    from ilmpq import files
    from ilmpq.errors import UsageError

    def full(descriptor, mode):
        os.close(descriptor)
        return open("/dev/full", mode)

    monkeypatch.setattr(files.os, "fdopen", full)
    with pytest.raises(UsageError, match="cannot be written: No space left on device"):
        files.write_atomically(tmp_path / "x", b"data" * 10000)
    assert list(tmp_path.iterdir()) == []
