"""`ilmpq verify`: exact backends are said to be exact, and one changed code is found, named, and exit code 7."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from networks import random_model
from test_cli import ilmpq

from accel.hls import missing
from ilmpq import backends
from ilmpq.backends import NaiveBackend, Name, open_backend
from ilmpq.errors import Mismatch, ModelError, ToolMissing, UsageError
from ilmpq.export import Format, export_bytes, file_name
from ilmpq.lower import lower
from ilmpq.preprocess import Preprocess
from ilmpq.program import Program
from ilmpq.reporter import Silent
from ilmpq.runfolder import PROGRAM
from ilmpq.verify import check, make_inputs, verify, verify_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A quickly made RUN folder of the digits demonstration."""
    path = tmp_path_factory.mktemp("verify") / "digits"
    done = ilmpq("quantize", "digits", "--effort", "fast", "--calib-images", 32, "--val-images", 50, "--out", path)
    assert done.returncode == 0, done.stderr
    return path


def preprocess_of(graph):
    channels = graph.input_shape[0]
    return Preprocess(graph.input_shape, None, (0.0,) * channels, (1.0,) * channels)


def changed_copy(program, layer):
    """The program with one code of a layer changed to another that its row's scheme has."""
    matrix = program.matrices[layer]
    codes = matrix.codes.copy()
    row, column = np.argwhere(codes != 0)[0]
    codes[row, column] = -codes[row, column]
    return replace(program, matrices={**program.matrices, layer: replace(matrix, codes=codes)}), int(row)


def test_every_backend_passes_on_a_fresh_run_and_the_integers_are_exact(run):
    done = ilmpq("verify", run, "--images", 40, "--json", "-q")
    assert done.returncode == 0, done.stderr
    found = {entry.pop("name"): entry for entry in json.loads(done.stdout)["backends"]}
    assert set(found) == {"integer", "naive", "onnxruntime", "qonnx", "hls"}
    if missing():  # g++ or the headers
        assert found.pop("hls")["exact"] is None
    for name, entry in found.items():
        assert set(entry) == {"images", "exact", "agreement_top1", "first_difference", "passed"}
        assert entry["images"] == 40
        assert entry["passed"]
        assert entry["agreement_top1"] >= 99
        if name in ("integer", "naive", "hls"):
            assert entry["exact"]
            assert entry["first_difference"] is None


@pytest.mark.usefixtures("verilator")
def test_the_engines_pass_on_a_fresh_run(run):
    """The demonstration on the engine in C++ and, cycle by cycle with a stalling memory, in SystemVerilog."""
    done = ilmpq("verify", run, "--backend", "hls,rtl", "--images", 12, "--json", "-q")
    assert done.returncode == 0, done.stderr
    found = {entry["name"]: entry for entry in json.loads(done.stdout)["backends"]}
    assert set(found) == {"integer", "hls", "rtl"}
    assert all(entry["exact"] and entry["images"] == 12 for entry in found.values())


@pytest.mark.parametrize("layer", ["conv1", "layer2.0.conv2", "linear"])
def test_one_changed_code_in_one_backend_is_found_and_named(run, layer, monkeypatch):
    copy, row = changed_copy(Program.load(run / PROGRAM), layer)
    monkeypatch.setattr(backends, "NaiveBackend", lambda program: NaiveBackend(copy))
    verdicts = verify_run(run, images=12, names=[Name.NAIVE])
    assert not verdicts[1].exact
    assert verdicts[1].first_difference.layer == layer
    assert verdicts[1].first_difference.channel == row
    with pytest.raises(Mismatch, match=rf"naive differs from the integer executor: {layer} channel {row}") as caught:
        check(verdicts)
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("layer", ["conv1", "layer2.0.conv1", "layer2.0.conv2", "linear"])
@pytest.mark.parametrize(("name", "form"), [(Name.ONNXRUNTIME, Format.QDQ), (Name.QONNX, Format.QONNX)])
def test_one_changed_code_in_an_onnx_copy_is_found_among_harmless_ties(run, layer, name, form, monkeypatch):
    program = Program.load(run / PROGRAM)
    copy, row = changed_copy(program, layer)
    data = export_bytes(copy, form)
    monkeypatch.setattr("ilmpq.export.export_bytes", lambda *_: data)
    verdicts = verify_run(run, images=12, names=[name])
    assert not verdicts[1].passed
    assert verdicts[1].first_difference.layer == layer
    assert verdicts[1].first_difference.channel == row


def test_a_backend_that_breaks_down_is_named(run, monkeypatch):
    def broken(self, images):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(backends.OnnxRuntime, "run", broken)
    with pytest.raises(ToolMissing, match="onnxruntime failed: RuntimeError: no such kernel"):
        verify_run(run, images=3, names=[Name.ONNXRUNTIME])


@pytest.mark.parametrize(("codes", "found"), [(np.nan, "nan"), (2.5, "2.5"), (np.inf, "inf")])
def test_what_is_no_code_is_never_exact(run, codes, found, monkeypatch):
    def spoil(self, images):
        outcome = NaiveBackend.run(self, images)
        return backends.Outcome(
            {**outcome.codes, "conv1": np.full_like(outcome.codes["conv1"], codes, np.float64)}, outcome.logits
        )

    monkeypatch.setattr(backends, "NaiveBackend", type("Spoilt", (NaiveBackend,), {"run": spoil, "exact": False}))
    verdict = verify_run(run, images=3, names=[Name.NAIVE])[1]
    assert not verdict.exact
    assert not verdict.passed
    assert str(verdict.first_difference).startswith("conv1 channel 0 position 0×0 of image 0: " + found)


def test_the_command_ends_with_7_and_still_prints_its_table(run, monkeypatch, capsys):
    from ilmpq import cli

    copy, _ = changed_copy(Program.load(run / PROGRAM), "conv1")
    monkeypatch.setattr(backends, "NaiveBackend", lambda program: NaiveBackend(copy))
    monkeypatch.setattr("sys.argv", ["ilmpq", "verify", str(run), "--backend", "naive", "--images", "6", "-q"])
    monkeypatch.setattr(cli, "_let_go_of_stdout", lambda: None)
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    assert leaving.value.code == 7
    printed = capsys.readouterr()
    assert "DIFFERS" in printed.out
    assert "error: naive differs from the integer executor: conv1 channel" in printed.err


def test_a_flipped_bit_in_the_program_is_exit_code_3(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    content = bytearray((copy / PROGRAM).read_bytes())
    content[-5] ^= 1
    (copy / PROGRAM).write_bytes(content)
    done = ilmpq("verify", copy, "-q")
    assert done.returncode == 3
    assert "is damaged: its checksum does not match; copy it again, or run again what wrote it" in done.stderr


@pytest.mark.parametrize("text", ["{}", '{"preprocess": 3}', "[]"])
def test_a_damaged_config_is_exit_code_3(run, tmp_path, text):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "config.json").write_text(text)
    with pytest.raises(ModelError, match="damaged"):
        verify_run(copy)


def test_a_run_of_an_earlier_version_is_told_apart(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / PROGRAM).unlink()
    with pytest.raises(UsageError, match="was made by an earlier ilmpq: it has no program.safetensors; quantize again"):
        verify_run(copy)


def test_a_program_that_is_not_of_the_model_is_refused(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    changed_copy(Program.load(run / PROGRAM), "conv1")[0].save(copy / PROGRAM)
    with pytest.raises(ModelError, match=r"its program.safetensors is not what its model.safetensors gives"):
        verify_run(copy)


def test_an_export_of_another_program_is_refused(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "export").mkdir()
    other = changed_copy(Program.load(run / PROGRAM), "conv1")[0]
    (copy / "export" / file_name(Format.QDQ)).write_bytes(export_bytes(other, Format.QDQ))
    with pytest.raises(ModelError, match="another program"):
        verify_run(copy, images=3, names=[Name.ONNXRUNTIME])


def test_a_backend_that_is_not_installed_is_listed_and_an_error_only_when_asked_for(run, monkeypatch):
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    verdicts = {v.name: v for v in verify_run(run, images=3)}
    assert verdicts["qonnx"].exact is None
    assert verdicts["qonnx"].passed
    assert verdicts["naive"].exact
    with pytest.raises(ToolMissing, match="pip install qonnx"):
        verify_run(run, images=3, names=[Name.QONNX])


def test_inputs_have_every_kind_from_the_beginning():
    program = lower(random_model(np.random.default_rng(2)))
    inputs = make_inputs(program, None, preprocess_of(program.graph), 20, 0, Silent())
    assert len(inputs.images) == 20
    assert not inputs.real.any()
    codes = np.rint(inputs.images / np.float32(program.scale("input")))
    assert (codes[1] == 127).all()
    assert abs(codes).max() == 127
    assert len(np.unique(codes[0])) > 5
    with pytest.raises(UsageError, match="--images must be at least 3 and"):
        make_inputs(program, None, preprocess_of(program.graph), 2, 0, Silent())


@pytest.mark.parametrize("seed", range(6))
def test_a_network_without_real_images_is_exact_too(seed, tmp_path):
    program = lower(random_model(np.random.default_rng(seed)))
    inputs = make_inputs(program, None, preprocess_of(program.graph), 16, seed, Silent())
    verdicts = verify(program, inputs, [open_backend(Name.NAIVE, program, tmp_path)])
    assert [v.exact for v in verdicts] == [True, True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--backend", "fpga"), "--backend must be one of integer, naive, onnxruntime, qonnx, hls, rtl, not 'fpga'"),
        (("--images", 1), "--images must be at least 3 and at most 100,000, not 1"),
        (("--images", 10**20), "--images must be at least 3 and at most 100,000, not"),
        (("--seed", -1), "--seed must be from 0"),
        (("--backend", "integer"), "--backend integer is the reference"),
        (("--val", "nowhere"), "nowhere"),
    ],
)
def test_bad_options_say_what_was_expected(run, words, message):
    done = ilmpq("verify", run, "-q", *words)
    assert done.returncode == 2
    assert message in done.stderr
