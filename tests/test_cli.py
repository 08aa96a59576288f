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
from ilmpq.errors import Interrupted

ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive", "COLUMNS": "200"}


def heed_interrupts():
    """Ctrl-C reaches the program even where the tests themselves run in a shell's background, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ilmpq(*words, cwd=None, start=False):
    command = [sys.executable, "-m", "ilmpq.cli", *map(str, words)]
    if start:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=cwd, env=ENVIRONMENT, preexec_fn=heed_interrupts, **pipes)
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
    (folder / "spreadsheet.csv").write_bytes(b"\xef\xbb\xbflayer,row,scheme\r\nconv1,0,pot4\r\n")
    (folder / "semicolons.csv").write_text("layer;row;scheme\nconv1;0;pot4\n")
    (folder / "long.csv").write_text(f"layer,row,scheme\n{'x' * 200_000},0,pot4\n")
    (folder / "quoted.csv").write_text('layer,row,scheme\n"con\nv1",0,pot4\n')
    torch.save({**state, "\x1b[31m[red]odd": torch.ones(3)}, folder / "escape.pt")
    os.mkfifo(folder / "pipe")
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
    (["quantize", "x" * 300 + ".pt"], 2, "File name too long"),
    (["quantize", "bad\udcff.pt"], 2, "bad\\udcff.pt must have a name in UTF-8"),
    (["quantize", "pipe"], 2, "must be a file, not a device or a pipe"),
    (["quantize", "escape.pt"], 3, "\\x1b[31m[red]odd is too much"),
    # data
    (["quantize", "good.pt", "--calib", "x" * 300], 2, "File name too long"),
    (["quantize", "good.pt", "--calib", "~no.such.user/x"], 2, "no such user"),
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
    (["quantize", "digits", "--scales", "odd"], 2, "--scales must be one of free, power-of-two"),
    (["quantize", "digits", "--budget", "avg-bits=2"], 2, "between 4 and 8"),
    (["quantize", "digits", "--budget", "4.3"], 2, "avg-bits="),
    (["quantize", "digits", "--granularity", "layer"], 2, "--budget"),
    (["quantize", "digits", "--assignment", "rows.csv"], 2, "row 1 of conv1 is missing"),
    (["quantize", "digits", "--assignment", "nowhere.csv"], 2, "nowhere.csv"),
    (["quantize", "digits", "--seed", "-1"], 2, "--seed"),
    (["quantize", "digits", "--calib-images", "0"], 2, "--calib-images"),
    (["quantize", "digits", "--assignment", "spreadsheet.csv"], 2, "row 1 of conv1 is missing"),
    (["quantize", "digits", "--assignment", "semicolons.csv"], 2, "separated by commas"),
    (["quantize", "digits", "--assignment", "long.csv"], 2, "field larger than field limit"),
    (["quantize", "digits", "--assignment", "quoted.csv"], 2, "'con\\nv1'"),
    (["quantize", "digits", "--assignment", "x" * 300], 2, "File name too long"),
    (["quantize", "digits", "--assignment", "other"], 2, "Is a directory"),
    (["quantize", "digits", "--assignment", "rows.csv", "--ratio", "60:35:5"], 2, "exclude each other"),
    (["quantize", "digits", "--assignment", "rows.csv", "--assign", "exact"], 2, "exclude each other"),
    (["quantize", "digits", "--assignment", "rows.csv", "--budget", "avg-bits=5"], 2, "exclude each other"),
    (["quantize", "digits", "--budget", "avg-bits=5", "--assign", "exact"], 2, "exclude each other"),
    *(
        (["quantize", "digits", "--device", "xc7z020", *words], 2, f"--device would be ignored beside {words[0]}")
        for words in (["--budget", "avg-bits=4.5"], ["--assignment", "rows.csv"], ["--ratio", "60:35:5"])
    ),
    *(
        (["quantize", "digits", "--geometry", "g.json", *words], 2, f"--geometry and {words[0]} exclude each other")
        for words in (["--budget", "avg-bits=4.5"], ["--assignment", "rows.csv"], ["--ratio", "60:35:5"])
    ),
    (["quantize", "digits", "--assignment", "rows.csv", "--ratio", "auto"], 2, "--ratio auto needs --device"),
    (
        ["quantize", "digits", "--device", "xc7z020", "--budget", "avg-bits=4.5", "--ratio", "auto"],
        2,
        "would be ignored",
    ),
    (
        ["quantize", "digits", "--device", "xc7z020", "--geometry", "g.json", "--budget", "avg-bits=4.5"],
        2,
        "--geometry and --budget exclude each other",
    ),
    (["quantize", "digits", "--budget", "avg-bits=nan"], 2, "avg-bits="),
    (["quantize", "digits", "--arch", "vgg16"], 2, "--arch must not be given with digits"),
    (["quantize", "digits", "--input-shape", "1,8,8"], 2, "--input-shape must not be given with digits"),
    (["quantize", "digits", "--preset", "mnist"], 2, "--preset must not be given with digits"),
    (["quantize", "digits", "--mean", "0.5"], 2, "--mean must not be given with digits"),
    (["quantize", "digits", "--std", "0.5"], 2, "--std must not be given with digits"),
    (["quantize", "digits", "--max-drop", "nan"], 2, "--max-drop"),
    (["quantize", "digits", "--max-drop", "-1"], 2, "--max-drop"),
    (["quantize", "good.pt", "--max-drop", "1"], 2, "--max-drop needs labelled images"),
    (["quantize", "good.pt", "--val-images", "9"], 2, "--val-images needs labelled images"),
    (["quantize", "digits", "--calib-images", "1000001"], 2, "at most 1,000,000"),
    (["quantize", "digits", "--val-images", "10000000000"], 2, "at most 1,000,000"),
    (["quantize", "digits", "--threads", "100000"], 2, "at most"),
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
    (["inspect", "resnet18", "--arch", "vgg16"], 2, "--arch must be given with weights"),
    (["inspect", "digits", "--arch", "vgg16"], 2, "--arch must not be given with digits"),
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


def run_main(monkeypatch, *words):
    """The exit code of the program in this process."""
    monkeypatch.setattr(sys, "argv", ["ilmpq", *map(str, words)])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    return leaving.value.code


def raising(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ModuleNotFoundError("No module named 'sklearn'", name="sklearn.datasets"), 6, "pip install scikit-learn"),
        (ModuleNotFoundError("No module named 'onnx'", name="onnx"), 6, "pip install onnx"),
        (ModuleNotFoundError("No module named 'ilmpq.x'", name="ilmpq.x"), 1, "internal error: ModuleNotFoundError"),
        (KeyboardInterrupt(), 130, "interrupted: the command is not finished"),
        (Interrupted("kept"), 130, "interrupted: kept"),
        (BrokenPipeError(), 141, ""),
        (PermissionError(13, "Permission denied", "/place/x"), 2, "error: /place/x cannot be read or written: Perm"),
        (ValueError("odd\x1b"), 1, "internal error: ValueError: odd\\x1b; please report it"),
    ],
)
def test_whatever_goes_wrong_has_a_message_and_a_code(error, code, message, monkeypatch, capsys):
    monkeypatch.setattr(cli, "_run", raising(error))
    assert run_main(monkeypatch) == code
    printed = capsys.readouterr().err
    assert message in printed.replace("\n", " ")
    assert ("Traceback" in printed) == (code == 1)


def test_a_missing_package_is_exit_code_six(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert run_main(monkeypatch, "quantize", "digits") == 6
    assert "the package scikit-learn is missing: pip install scikit-learn" in capsys.readouterr().err


def test_control_c_promises_only_what_was_kept(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ilmpq.inspection.inspect", stopped)
    assert run_main(monkeypatch, "inspect", "digits") == 130
    monkeypatch.setattr("ilmpq.pipeline.quantize", stopped)
    assert run_main(monkeypatch, "quantize", "digits", "--out", tmp_path) == 130
    assert "--resume" not in capsys.readouterr().err
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "state.json").write_text("{}")
    assert run_main(monkeypatch, "quantize", "digits", "--out", tmp_path) == 130
    assert "the same command with --resume goes on" in capsys.readouterr().err


def shell(command, **environment):
    program = f"{sys.executable} -m ilmpq.cli"
    words = ["bash", "-o", "pipefail", "-c", command.replace("ilmpq", program)]
    return subprocess.run(words, env=ENVIRONMENT | environment, capture_output=True, text=True, check=False)


def test_a_reader_who_leaves_is_no_error():
    done = shell("ilmpq inspect resnet152 | head -1")
    assert (done.returncode, done.stderr) == (141, "")
    assert done.stdout.startswith("resnet152: ")


@pytest.mark.parametrize("command", ["ilmpq inspect digits", "ilmpq --help"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="platform: no /dev/full")
def test_a_full_stdout_is_told_in_a_line(command):
    done = shell(f"{command} >/dev/full")
    assert (done.returncode, done.stderr) == (
        2,
        "error: the output cannot be read or written: No space left on device\n",
    )


def test_a_closed_stdout_or_stderr_is_no_error():
    assert shell("ilmpq inspect digits >&-").returncode == 0
    assert shell("ilmpq inspect nowhere.pt 2>&-").returncode == 2


def test_a_terminal_without_unicode_is_served():
    done = shell("ilmpq inspect digits", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "input 1?8?8" in done.stdout
    assert json.loads(shell("ilmpq inspect digits --json", PYTHONIOENCODING="ascii").stdout)["model"] == "digits"


def test_names_from_files_are_shown_as_they_are(monkeypatch, capsys):
    row = {"operation": "conv", "shape": (1,), "weights": 0, "macs": 0, "plan": ""}
    monkeypatch.setattr(
        "ilmpq.inspection.inspect",
        lambda *_: {
            "model": "a\x1b.pt", "architecture": "net", "input_shape": [1], "classes": 2, "layers": 1, "parameters": 1,
            "macs": 1, "calibration_images": 1, "nodes": [row | {"node": n} for n in ("[red]conv", "a\x1b[31m\nb")],
        },
    )  # fmt: skip
    assert run_main(monkeypatch, "inspect", "x") == 0
    shown = capsys.readouterr().out
    assert "[red]conv" in shown
    assert "a\\x1b[31m\\nb" in shown
    assert "\x1b" not in shown


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
        "program.safetensors",
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="platform: no /dev/full")
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
