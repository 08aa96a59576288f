"""Accuracies beside the designs of `compare`: each mix measured once, on rows that are the design's own."""

import json
import shutil
from contextlib import contextmanager

import pytest
from test_cli import run_main

from ilmpq import measuring, pipeline
from ilmpq.compare import DESIGNS, RunAccuracy, compare, of_run
from ilmpq.demo import digits_graph
from ilmpq.device import PARTS
from ilmpq.errors import ModelError, UsageError
from ilmpq.measuring import Measuring
from ilmpq.options import Effort, Options
from ilmpq.reporter import Silent
from ilmpq.rivals import ASSIGNMENTS, Mix, measure_rows
from ilmpq.rowsfile import read_assignment
from ilmpq.runfolder import RunFolder
from ilmpq.schemes import scheme_named
from ilmpq.search import rows_of
from ilmpq.workload import shapes_of

QUICK = Options(val="digits", effort=Effort.FAST, calib_images=16, val_images=500)
WORDS = ["--val", "digits", "--effort", "fast", "--calib-images", "16", "--val-images", "50", "--device", "xc7z020"]
FEW = [d for d in DESIGNS if d.name in ("fixed4_dsp1", "fixed4_dsp1_ends8", "fixed4_dsp4", "fixed4_fair", "mixed")]


@pytest.fixture(scope="module")
def rows():
    shapes = {"digits": shapes_of(digits_graph())}
    found = compare(shapes, [PARTS["xc7z020"]], designs=FEW)
    return found + compare(shapes, [PARTS["xc7z020"]], (6,), [d for d in FEW if d.name == "fixed4_fair"])


@pytest.fixture(scope="module")
def measured(rows, tmp_path_factory):
    found = Measuring.open("digits", tmp_path_factory.mktemp("compare") / "out", QUICK)
    with found.begin({}, (ASSIGNMENTS,), False, Silent()):
        return found, *measure_rows(rows, found, Silent())


def test_designs_of_one_mix_share_an_accuracy_that_a_run_folder_proves(rows, measured):
    folder, found, before = measured
    assert [row.design for row in found] == [row.design for row in rows]
    assert len({row.accuracy for row in found}) > 1
    named = {Mix.of(row).name(row) for row in rows}
    assert len(named) == 4 == len({Mix.of(row) for row in rows})
    assert {path.name for path in (folder.folder / "points").iterdir()} == {
        Mix.of(row).name(next(r for r in rows if Mix.of(r) == Mix.of(row))) for row in rows
    }
    for row in found:
        first = next(r for r in rows if Mix.of(r) == Mix.of(row))
        told = RunFolder.open(folder.path(Mix.of(row).name(first))).summary()
        assert (told["accuracy_quantized"], told["accuracy_float"]) == (row.accuracy, before)
        assert told["kl_to_float"] == row.kl
        assert (told["images_evaluated"], told["act_bits"]) == (500, row.act_bits)
    assert {row.act_bits for row in found} == {4, 6}


def test_every_row_of_what_is_measured_has_the_designs_scheme(rows, measured):
    folder, _, _ = measured
    graph = digits_graph()
    for row in rows:
        first = next(r for r in rows if Mix.of(r) == Mix.of(row))
        schemes = read_assignment(folder.path(Mix.of(row).name(first)) / "rows.csv", graph)
        for layer, counts in rows_of(row.rules, row.shapes, row.found.config).items():
            for scheme, count in counts.items():
                assert (schemes[layer] == scheme_named(scheme).ident).sum() == count, (row.design.name, layer, scheme)


def test_what_is_measured_is_not_measured_twice(rows, measured, monkeypatch):
    folder, found, _ = measured
    calls = []

    def counted(*words):
        calls.append(words)
        return pipeline.quantize(*words)

    monkeypatch.setattr(measuring, "quantize", counted)
    with folder.begin({}, (ASSIGNMENTS,), True, Silent()):
        assert measure_rows(rows, folder, Silent())[0] == found
    assert calls == []
    with (
        pytest.raises(UsageError, match="begun with another act_bits"),
        folder.begin({"act_bits": [5]}, (), True, Silent()),
    ):
        pass


def test_names_tell_mixes_apart(rows):
    """Of the same arrays in other numbers, and at other widths."""
    assert {Mix.of(row).name(row) for row in rows if row.design.name == "fixed4_fair"} == {"fix4_act4", "fix4_act6"}
    (mixed,) = (row for row in rows if row.design.name == "mixed")
    counts = mixed.found.config.geometry.schemes()
    assert Mix.of(mixed).name(mixed) == "_".join([f"{s.name}-{n}" for s, n in counts.items()] + ["act4"])


def test_a_new_measurement_deletes_what_an_earlier_one_left(tmp_path):
    found = Measuring.open("digits", tmp_path / "out", QUICK)
    left = [found.path("old"), found.folder / ASSIGNMENTS]

    def begin(resume):
        with found.begin({}, (ASSIGNMENTS,), resume, Silent()):
            return [path.exists() for path in left]

    begin(False)
    for path in left:
        path.mkdir(parents=True)
    assert begin(True) == [True, True]
    assert begin(False) == [False, False]


def test_a_quantization_that_was_stopped_is_finished_and_another_begun_anew(tmp_path, monkeypatch):
    found = Measuring.open("digits", tmp_path / "out", QUICK)
    calls = []

    def stopped(source, path, own, resume, reporter):
        calls.append(resume)
        with RunFolder.begin(path, {}, resume):
            (path / "stray").mkdir(exist_ok=True)
            raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "quantize", stopped)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            found.measure("p", QUICK, Silent())
    assert calls == [False, True]
    shutil.rmtree(found.path("p") / ".partial")
    with pytest.raises(KeyboardInterrupt):
        found.measure("p", QUICK, Silent())
    assert calls == [False, True, False]


def test_what_is_asked_of_the_command_reaches_the_measurement(tmp_path, monkeypatch, capsys):
    asked = []

    @contextmanager
    def begun(found, words, made, resume, reporter):
        asked.append((found.folder.name, found.options.seed, found.options.calib_images, words, tuple(made), resume))
        yield

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Measuring, "begin", begun)
    monkeypatch.setattr("ilmpq.rivals.measure_rows", lambda rows, found, reporter: (rows, 99.0))
    words = ["--val", "digits", "--calib-images", "16", "--device", "xc7z020", "--act-bits", "5", "--batch", "2"]
    assert run_main(monkeypatch, "compare", "digits", *words, "--seed", "3", "--json") == 0
    told = {"device": ["xc7z020"], "act_bits": [5], "batch": 2}
    assert asked == [("digits-compare", 3, 16, told, (ASSIGNMENTS,), False)]
    assert json.loads(capsys.readouterr().out)["images"] == 500  # all of them, where no number is given


def test_the_command_puts_accuracies_into_every_row_and_goes_on(tmp_path, monkeypatch, capsys):
    words = ["compare", "digits", *WORDS, "--out", tmp_path / "out"]
    assert run_main(monkeypatch, *words, "--json", "--csv", tmp_path / "rows.csv") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 50
    assert 90 < told["accuracy_float"] <= 100
    assert all(50 < row["accuracy"] <= 100 for row in told["rows"])
    assert ",accuracy," in (tmp_path / "rows.csv").read_text()

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ilmpq.rivals.measure_rows", stopped)
    assert run_main(monkeypatch, *words, "--resume") == 130
    assert "the same command with --resume goes on" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(measuring, "quantize", stopped)  # nothing is quantized again
    assert run_main(monkeypatch, *words, "--resume") == 0
    assert f"on 50 images; the float network's is {told['accuracy_float']:.2f} %" in capsys.readouterr().out
    monkeypatch.setattr("ilmpq.compare.compare", stopped)  # what cannot go on is refused before the search
    assert run_main(monkeypatch, *words, "--resume", "--act-bits", "5") == 2
    assert "begun with another act_bits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits", "--effort", "fast"], "--effort needs --val"),
        (["digits", "--resume"], "--resume needs --val"),
        (["resnet18", "--out", "x"], "--out needs --val"),
        (["resnet18", "--mean", "0.5"], "--mean needs --val"),
        (["resnet18", "--val", "digits"], "resnet18 is an architecture and has no weights to measure"),
        (["digits", "--val", "nowhere"], "nowhere"),
        (["digits", "--val", "digits", "--effort", "more"], "--effort must be one of fast, normal, high"),
        (["digits", "--val", "digits", "--out", "x.json"], "--out must be a folder"),
        (["digits", "--val", "digits", "--threads", "0"], "--threads must be at least 1"),
        (["digits", "--csv", "x", "--png", "./x"], "--csv and --png must be two files, not x for both"),
    ],
)
def test_what_cannot_be_compared_is_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_main(monkeypatch, "compare", *words, "--device", "xc7z020") == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_a_run_whose_mix_no_design_has_is_told_of(measured, tmp_path, monkeypatch, capsys):
    folder, _, _ = measured
    pipeline.quantize("digits", tmp_path / "run", QUICK)
    assert run_main(monkeypatch, "compare", tmp_path / "run", "--device", "xc7z020") == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "run has the ratio 60:35:5 and 4 activation bits, which none of these designs has" in told
    assert run_main(monkeypatch, "compare", tmp_path / "run", "--val", "digits") == 2
    assert "--val must not be given with a RUN folder" in capsys.readouterr().err
    for option, name in (("--csv", "rows.csv"), ("--png", "model.safetensors")):
        assert run_main(monkeypatch, "compare", tmp_path / "run", option, tmp_path / "run" / name) == 2
        assert f"it is read here; choose another place with {option}" in " ".join(capsys.readouterr().err.split())
    uniform = folder.path("fix4_act4")
    assert run_main(monkeypatch, "compare", uniform, "--device", "xc7z020", "--json") == 0
    printed = capsys.readouterr()
    assert "which none of these" not in printed.err
    accuracies = {row["design"]: row["accuracy"] for row in json.loads(printed.out)["rows"]}
    assert (accuracies["fixed4_dsp1_ends8"], accuracies["mixed"]) == (None, None)
    assert accuracies["fixed4_fair"] == RunFolder.open(uniform).summary()["accuracy_quantized"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("accuracy_quantized", value) for value in ("NaN", '"91"', "-1", "101", "[]", "true")),
        ("images_evaluated", '"many"'),
        ("images_evaluated", "1.5"),
    ],
)
def test_a_run_with_a_damaged_accuracy_is_refused(key, value, measured, tmp_path):
    shutil.copytree(measured[0].path("fix4_act4"), tmp_path, dirs_exist_ok=True)
    summary = tmp_path / "summary.json"
    told = json.loads(summary.read_text())
    assert isinstance(of_run(tmp_path), RunAccuracy)
    summary.write_text(json.dumps(told | {key: "X"}).replace('"X"', value))
    with pytest.raises(ModelError, match=rf"summary.json is damaged: {key} must be"):
        of_run(tmp_path)
