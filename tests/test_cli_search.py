"""`search`, `compare`, and `quantize` for a device, as a user meets them: exit codes, messages, JSON, files."""

from __future__ import annotations

import errno
import json
import os
import re
import sys

import pytest

from ilmpq import cli
from ilmpq.design import EngineConfig
from ilmpq.device import PARTS
from ilmpq.geometry import Geometry
from ilmpq.job import open_job
from ilmpq.options import Options
from ilmpq.ratio import Ratio
from ilmpq.resources import resources, usable

LARGE = EngineConfig(Geometry.parse("pot4@lut:40, fix4@dsp:8, fix8@dsp:2", 16, 4, acc_bits=24), table_depth=512)
FITTING = EngineConfig(Geometry.parse("pot4@lut:14, fix4@dsp:4, fix8@dsp:2", 16, 4, acc_bits=24), table_depth=512)


def run(monkeypatch, capsys, *words):
    """Exit code, stdout and stderr of the program in this process."""
    monkeypatch.setattr(sys, "argv", ["ilmpq", *map(str, words)])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    printed = capsys.readouterr()
    return leaving.value.code, printed.out, printed.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good and bad design files."""
    folder = tmp_path_factory.mktemp("designs")
    (folder / "large.json").write_text(json.dumps({"config": LARGE.to_dict()}))
    (folder / "fitting.json").write_text(json.dumps({"config": FITTING.to_dict()}))
    (folder / "broken.json").write_text("{")
    (folder / "text.pt").write_text("hello")
    (folder / "none").mkdir()
    os.mkfifo(folder / "pipe")
    return folder


BAD = [
    (["search", "cifar_resnet8"], 2, "--device must be given"),
    (["search"], 2, "Missing argument"),
    (["search", "cifar_resnet8", "--device", "xc7z010"], 2, "device must be one of xc7z020, xc7z045, not 'xc7z010'"),
    (["search", "cifar_resnet8", "--device", "xc7z020", "--schemes", "pot9"], 2, "scheme"),
    (["search", "cifar_resnet8", "--device", "xc7z020", "--schemes", "pot4@dsp"], 2, "schemes must be among pot4@lut"),
    (["search", "cifar_resnet8", "--device", "xc7z020", "--schemes", ""], 2, "must be"),
    (
        ["search", "cifar_resnet8", "--device", "xc7z020", "--act-bits", "3"],
        2,
        "--act-bits must be from 4 to 8",
    ),
    (
        ["search", "cifar_resnet8", "--device", "xc7z020", "--act-bits", "9"],
        2,
        "--act-bits must be from 4 to 8",
    ),
    (["search", "cifar_resnet8", "--device", "xc7z020", "--act-bits", "four"], 2, "--act-bits must be from 4 to 8"),
    (["search", "cifar_resnet8", "cifar_resnet8", "--device", "xc7z020"], 2, "networks must be different"),
    (["search", "cifar_resnet8", "--device", "xc7z020", "--out", "/proc/geometry.json"], 2, "/proc"),
    (["search", "cifar_resnet8", "--device", "xc7z020", "--out", "none"], 2, "none"),
    (["search", "nowhere.pt", "--device", "xc7z020"], 2, "nowhere.pt does not exist: check the path\n"),
    (
        ["search", "resnet17", "--device", "xc7z020"],
        2,
        "resnet17 does not exist: check the path; if it is a name, the architecture must be a known one such as resnet",
    ),
    (["search", "nosuchnet", "--device", "xc7z020"], 2, "such as resnet18, resnet34, resnet50, resnet101, "),
    (["search", "text.pt", "--device", "xc7z020"], 3, "text.pt"),
    (["search", "cifar_resnet8", "--device", "xc7z020", "--out", "pipe"], 2, "choose another place with --out"),
    (["search", "cifar_resnet8", "--device", "xc7z020", "--out", "text.pt/x"], 2, "text.pt is a file; choose"),
    (["search", "text.pt", "--device", "xc7z020", "--out", "text.pt"], 2, "text.pt cannot be written: it is read here"),
    (["search", "vgg11", "--device", "xc7z020", "--input-shape", "3,x,3"], 2, "--input-shape"),
    (["compare", "cifar_resnet8", "--device", "zynq"], 2, "device must be one of"),
    (
        ["compare", "cifar_resnet8", "--act-bits", "4,9"],
        2,
        "--act-bits must be from 4 to 8, several with commas, not '9'",
    ),
    (["compare", "cifar_resnet8", "--act-bits", ""], 2, "--act-bits"),
    (["compare", "nowhere"], 2, "nowhere"),
    (["compare", "none"], 2, "not a"),
    (["compare", "digits", "--arch", "resnet18"], 2, "--arch must not be given with digits, which has its own"),
    (["search", "digits", "--device", "xc7z020", "--input-shape", "1,9,9"], 2, "--input-shape must not be given with"),
    (["compare", "cifar_resnet8", "--csv", "none"], 2, "it is a folder; choose another place with --csv"),
    (["compare", "cifar_resnet8", "--csv", "pipe"], 2, "it is a device or a pipe; choose another place with --csv"),
    (["compare", "cifar_resnet8", "--png", "pipe"], 2, "it is a device or a pipe; choose another place with --png"),
    (["quantize", "digits", "--ratio", "auto"], 2, "--ratio auto needs --device or --geometry"),
    (["quantize", "digits", "--device", "xc7z010"], 2, "device must be one of"),
    (["quantize", "digits", "--device", "xc7z020", "--schemes", "pot9"], 2, "scheme"),
    (["quantize", "digits", "--schemes", "pot3"], 2, "--schemes needs --device and --ratio auto"),
    (["quantize", "digits", "--geometry", "fitting.json", "--schemes", "pot3"], 2, "--schemes needs --device"),
    (["quantize", "digits", "--geometry", "nowhere.json"], 2, "nowhere.json must be a geometry.json, not nothing"),
    (["quantize", "digits", "--geometry", "broken.json"], 2, "broken.json must be a geometry.json as"),
    (["quantize", "digits", "--geometry", "pipe"], 2, "pipe must be a geometry.json, not a device or a pipe"),
    (["quantize", "digits", "--geometry", "none"], 2, "none must be a geometry.json, not a folder"),
    (
        ["quantize", "digits", "--geometry", "fitting.json", "--act-bits", "5"],
        2,
        "--act-bits must be 4, as fitting.json has it, not 5: leave --act-bits out, or make another design with "
        "`ilmpq search … --act-bits 5`",
    ),
    (["quantize", "digits", "--geometry", "large.json", "--device", "xc7z020", "--act-bits", "8,linear=4"], 2, "not 8"),
    (
        ["quantize", "digits", "--geometry", "large.json", "--device", "xc7z020"],
        5,
        "the nearest that fits is pot4@lut:",
    ),
]


@pytest.mark.parametrize(("words", "code", "message"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else None)
def test_a_mistake_gets_its_exit_code_and_a_message(folder, words, code, message, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    found, printed, told = run(monkeypatch, capsys, *words)
    assert found == code, told
    assert message in told
    assert printed == ""
    assert "Traceback" not in told
    assert not list(folder.glob("geometry.json"))
    assert (folder / "pipe").is_fifo()


@pytest.mark.parametrize(("command", "option"), [("search", "--out"), ("compare", "--csv"), ("compare", "--png")])
def test_where_nothing_can_be_written_nothing_is_searched_for(folder, command, option, monkeypatch, capsys):
    def searched(*_, **__):
        raise AssertionError("nothing was to be searched")

    monkeypatch.setattr("ilmpq.search.fastest", searched)
    monkeypatch.setattr("ilmpq.compare.compare", searched)
    words = [command, "cifar_resnet8", "--device", "xc7z020", option, folder / "none"]
    assert run(monkeypatch, capsys, *words)[0] == 2


def test_a_table_is_printed_even_if_it_cannot_be_written(tmp_path, monkeypatch, capsys):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("ilmpq.files.os.fsync", full)
    words = ["compare", "cifar_resnet8", "--device", "xc7z020", "--csv", tmp_path / "rows.csv"]
    code, printed, told = run(monkeypatch, capsys, *words)
    assert code == 2
    assert "rows.csv cannot be written: No space left on device; choose another place with --csv" in told
    assert "mixed_pot3" in printed


def test_a_design_that_does_not_fit_is_told_by_how_much(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    _, _, told = run(monkeypatch, capsys, "quantize", "digits", "--geometry", "large.json", "--device", "xc7z020")
    cost, most = resources(LARGE), usable(PARTS["xc7z020"])
    assert f"it takes {cost.lut:,.0f} LUTs, {cost.lut - most.lut:,.0f} more than may be used" in told


def test_search_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    out = tmp_path / "mine.json"
    words = ["search", "cifar_resnet8", "squeezenet1_1", "--input-shape", "3,64,64", "--device", "xc7z020"]
    code, printed, told = run(monkeypatch, capsys, *words, "--out", out, "--json")
    assert code == 0, told
    found = json.loads(printed)
    assert found == json.loads(out.read_text())
    assert list(found["networks"]) == ["cifar_resnet8", "squeezenet1_1"]
    assert resources(EngineConfig.from_dict(found["config"])).over(usable(PARTS["xc7z020"])) == {}
    code, printed, _ = run(monkeypatch, capsys, *words, "--out", out)
    assert code == 0
    assert all(text in printed for text in ("device       xc7z020, 100 MHz assumed", "cifar_resnet8 ", "written to"))
    code, printed, told = run(monkeypatch, capsys, *words, "--out", out, "--quiet")
    assert (code, printed, told) == (0, f"{out}\n", "")


def test_no_network_that_no_design_runs_is_passed_over(tmp_path, monkeypatch, capsys):
    words = ["search", "squeezenet1_1", "--input-shape", "3,512,512", "--device", "xc7z020", "--out", tmp_path / "g"]
    code, printed, told = run(monkeypatch, capsys, *words)
    assert (code, printed) == (5, "")
    assert re.search(
        "squeezenet1_1 must run on some design of xc7z020, but none .* words of the activation memory", told
    )
    assert len(told) < 400
    assert not (tmp_path / "g").exists()


def test_compare_prints_rows_and_writes_files(tmp_path, monkeypatch, capsys):
    words = ["compare", "cifar_resnet8", "--device", "xc7z020", "--act-bits", "8,4,8"]
    code, printed, told = run(
        monkeypatch, capsys, *words, "--json", "--csv", tmp_path / "rows.csv", "--png", tmp_path / "rows.png"
    )
    assert code == 0, told
    found = json.loads(printed)
    tables = [(row["device"], row["act_bits"], row["design"]) for row in found["rows"]]
    assert list(dict.fromkeys(table[:2] for table in tables)) == [("xc7z020", 8), ("xc7z020", 4)]
    assert len(set(tables)) == len(tables)  # each once, though 8 is asked for twice
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1 + len(found["rows"])
    assert (tmp_path / "rows.png").stat().st_size > 1000
    assert found["resource_model"]["lut"]["points"] > 0
    code, printed, _ = run(monkeypatch, capsys, *words)
    assert code == 0
    assert printed.count("cifar_resnet8 on xc7z020 at 100 MHz (assumed), 8-bit activations") == 1
    assert "as fast as the fair Fixed4, which uses DSPs and LUTs too" in printed


def test_a_run_for_a_device_has_its_ratio_and_its_accuracy_in_the_comparison(tmp_path, monkeypatch, capsys):
    """Quantized for the fastest design of the chip; compare knows the accuracy of exactly that mix."""
    folder = tmp_path / "digits"
    words = ["quantize", "digits", "--device", "xc7z020", "--effort", "fast", "--out", folder, "--json"]
    code, printed, told = run(monkeypatch, capsys, *words)
    assert code == 0, told
    summary = json.loads(printed)
    assert summary["device"] == "xc7z020"
    assert sorted(scheme.name for scheme in Ratio.parse(summary["ratio"]).schemes) == ["fix4", "fix8", "pot4"]
    code, printed, told = run(monkeypatch, capsys, "compare", folder, "--device", "xc7z020", "--json")
    assert code == 0, told
    found = {row["design"]: row for row in json.loads(printed)["rows"]}
    assert found["mixed"]["ratio"] == summary["ratio"]
    assert found["mixed"]["accuracy"] == summary["accuracy_quantized"]
    assert found["fixed8_dsp"]["accuracy"] is None
    for option, value in (("--arch", "resnet18"), ("--input-shape", "1,9,9")):
        code, printed, told = run(monkeypatch, capsys, "compare", folder, option, value)
        assert (code, printed) == (2, "")
        assert f"{option} must not be given with a RUN folder, which has its own" in told


def test_a_geometry_gives_its_ratio(folder):
    job = open_job("digits", Options(geometry=str(folder / "fitting.json"), device="xc7z020", ratio="auto"))
    assert (job.design, job.options.ratio) == (FITTING, "70:20:10")
    job = open_job("digits", Options(geometry=str(folder / "fitting.json"), ratio="auto", act_bits="4,linear=8"))
    assert job.design == FITTING


def test_a_ratio_that_is_given_is_not_searched_for(monkeypatch):
    def searched(*_):
        raise AssertionError("nothing was to be searched")

    monkeypatch.setattr("ilmpq.job.fastest", searched)
    job = open_job("digits", Options(device="xc7z020", ratio="60:35:5"))
    assert (job.design, job.options.ratio) == (None, "60:35:5")


def test_the_schemes_and_bits_that_are_asked_for_are_searched_for():
    job = open_job("digits", Options(device="xc7z020", ratio="auto", schemes="pot3,fix8@dsp", act_bits="5,linear=8"))
    assert job.design is not None
    assert {a.scheme for a in job.design.geometry.arrays} == {"pot3", "fix8"}
    assert job.design.geometry.act_bits == 5
    assert {scheme.name for scheme in Ratio.parse(job.options.ratio).schemes} == {"pot3", "fix8"}
