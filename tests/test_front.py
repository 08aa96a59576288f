"""Accuracy in the loop of the search: which points there are, in what order they are measured, what is kept of them."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from test_cli import run_main

from ilmpq import front, measuring, pipeline
from ilmpq.demo import digits_graph
from ilmpq.designfile import load_design
from ilmpq.device import PARTS
from ilmpq.errors import AccuracyMissed, UsageError
from ilmpq.front import Front, check_answer, explore, measure_all
from ilmpq.measuring import Accuracy
from ilmpq.options import Effort, Options
from ilmpq.points import Point, Question, candidates
from ilmpq.reporter import OneBar, Silent
from ilmpq.runfolder import FRONT, POINTS, RunFolder
from ilmpq.search import Goal, fastest
from ilmpq.space import Rules
from ilmpq.workload import shapes_of

FEW = Question(PARTS["xc7z020"], ("fix4@dsp,fix4@lut,fix8@dsp",), (4,))
QUICK = Options(effort=Effort.FAST, calib_images=16, val_images=50)


class Told(Silent):
    """What a reporter was told."""

    def __init__(self):
        self.steps, self.notes = 0.0, []

    def advance(self, steps=1):
        self.steps += steps

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def design():
    return candidates({"digits": shapes_of(digits_graph())}, FEW, Silent())[0].design


@pytest.fixture
def make(design):
    """A front of points with these frames per second."""

    def make(speeds, **other):
        named = [
            Point(f"p{n}", design | {"networks": {"net": {"frames_per_s": f, "cycles": 1, "lanes_busy": 1.0}}})
            for n, f in enumerate(speeds)
        ]
        return Front(FEW, "net", 100, tuple(named), **other)

    return make


def measured_as(*accuracies, calls=None):
    """A measurement that gives points these accuracies by their number; 90 % in float."""

    def measure(point, reporter):
        reporter.stage("quantize", 4)
        reporter.advance(4)
        reporter.note("about calibration")
        if calls is not None:
            calls.append(point.name)
        accuracy = accuracies[int(point.name[1:])]
        if accuracy is None:
            raise KeyboardInterrupt
        return Accuracy(90.0, accuracy, 0.1)

    return measure


def measure(found, folder, function, deadline=None, reporter=None):
    return measure_all(found, folder, function, deadline, 2, reporter or Silent())


def test_points_are_the_fastest_under_each_rule_in_falling_order_and_once():
    networks = {"digits": shapes_of(digits_graph())}
    question = replace(FEW, schemes=("pot4@lut,fix4@dsp,fix8@dsp", *FEW.schemes))
    found = candidates(networks, question, Silent())
    speeds = [p.frames_per_s for p in found]
    assert speeds == sorted(speeds, reverse=True)
    kinds = [(p.design["ratio"], p.design["act_bits"]) for p in found]
    assert len(set(kinds)) == len(kinds) == len({p.name for p in found})
    for schemes in question.schemes:
        for share in (5, 10, 20):
            best = fastest(Goal(networks, question.part, Rules.parse(schemes, 4, least_fix8=share)))
            assert any(p.design["config"] == best.config.to_dict() for p in found), (schemes, share)


def test_a_width_without_designs_is_told_of_and_none_at_all_is_refused():
    networks, told = {"digits": shapes_of(digits_graph())}, Told()
    small = replace(FEW.part, lut=3000, dsp=4)
    with pytest.raises(UsageError, match="no design with"):
        candidates(networks, replace(FEW, part=small), told)
    assert len(told.notes) == 1


def test_the_front_is_what_no_faster_point_equals(make, tmp_path):
    whole = replace(make([9, 8, 8, 7, 6]), question=replace(FEW, whole=True))
    found = measure(whole, tmp_path, measured_as(80.0, 80.0, 85.0, 85.0, 86.0))
    assert found.names() == ["p0", "p2", "p4"]
    assert [p["on_front"] for p in found.to_dict()["points"]] == [True, False, True, False, True]


def test_the_search_stops_at_the_first_that_keeps_the_drop(make, tmp_path):
    calls = []
    found = measure(make([9, 8, 7], max_drop=0.3), tmp_path, measured_as(89.0, 89.7, 90.0, calls=calls))
    assert (calls, found.best.name) == (["p0", "p1"], "p1")
    assert load_design(tmp_path / "geometry.json").to_dict() == found.best.design["config"]
    told = json.loads((tmp_path / "front.json").read_text())
    assert (told["measured"], told["best"], told["points"][1]["drop"]) == (2, "p1", 0.3)
    check_answer(found, tmp_path)


def test_a_drop_that_none_keeps_is_a_miss_and_an_earlier_answer_goes(make, tmp_path):
    (tmp_path / "geometry.json").write_text("earlier")
    found = measure(make([9, 8], max_drop=0.3), tmp_path, measured_as(89.0, 89.5))
    assert not (tmp_path / "geometry.json").exists()
    with pytest.raises(AccuracyMissed, match=r"each of 2 designs \(of 2\), least by 0.50 on p1"):
        check_answer(found, tmp_path)


def test_time_that_is_over_still_measures_one_point(make, tmp_path):
    told, calls = Told(), []
    whole = replace(make([9, 8, 7]), question=replace(FEW, whole=True))
    found = measure(whole, tmp_path, measured_as(80.0, 85.0, 86.0, calls=calls), deadline=0.0, reporter=told)
    assert "1 of 3 points are measured; the same command with --resume" in told.notes[-1]
    found = measure(found, tmp_path, measured_as(80.0, 85.0, 86.0, calls=calls), deadline=0.0)
    assert calls == ["p0", "p1"]


def test_what_was_measured_is_on_the_disk_when_the_search_is_interrupted(make, tmp_path):
    whole = replace(make([9, 8, 7]), question=replace(FEW, whole=True))
    with pytest.raises(KeyboardInterrupt):
        measure(whole, tmp_path, measured_as(80.0, None))
    told = json.loads((tmp_path / "front.json").read_text())
    assert [p["accuracy"] for p in told["points"]] == [80.0, None, None]


def test_every_point_is_one_step_and_a_note_is_told_once(make, tmp_path):
    told = Told()
    whole = replace(make([9, 8, 7]), question=replace(FEW, whole=True))
    measure(whole, tmp_path, measured_as(80.0, 85.0, 86.0), reporter=told)
    assert told.steps == pytest.approx(3)  # floats: sums of shares
    assert told.notes.count("about calibration") == 1
    bar = OneBar(told, 1)
    bar.stage("more steps than were said", 1)
    bar.advance(5)
    bar.next()
    assert told.steps == pytest.approx(4)


def test_digits_are_measured_and_a_search_that_goes_on_measures_nothing_twice(tmp_path, monkeypatch):
    found = explore("digits", tmp_path / "out", QUICK, replace(FEW, whole=True))
    assert len(found.measured) == len(found.points) >= 2
    for point in found.points:
        run = RunFolder.open(tmp_path / "out" / "points" / point.name)
        assert run.summary()["accuracy_quantized"] == point.accuracy
        assert run.config()["design"] == point.design["config"]
    whole = (tmp_path / "out" / "front.json").read_text()

    last = tmp_path / "out" / "points" / found.points[-1].name / "summary.json"
    last.unlink()
    calls = []

    def counted(*words):
        calls.append(words)
        return pipeline.quantize(*words)

    monkeypatch.setattr(measuring, "quantize", counted)
    explore("digits", tmp_path / "out", QUICK, replace(FEW, whole=True), resume=True)
    assert len(calls) == 1
    assert (tmp_path / "out" / "front.json").read_text() == whole

    told = Told()
    last.write_text("")
    (last.parent / "config.json").write_text("{")
    explore("digits", tmp_path / "out", QUICK, replace(FEW, whole=True), resume=True, reporter=told)
    assert len(calls) == 2
    assert (tmp_path / "out" / "front.json").read_text() == whole
    assert f"{found.points[-1].name} is measured again: its summary.json" in told.notes[0]

    with pytest.raises(UsageError, match="begun with another val_images"):
        explore("digits", tmp_path / "out", replace(QUICK, val_images=51), FEW, resume=True)
    with pytest.raises(UsageError, match="begun with another act_bits"):
        explore("digits", tmp_path / "out", QUICK, replace(FEW, act_bits=(5,)), resume=True)
    with pytest.raises(UsageError, match="is a RUN folder"):
        explore("digits", tmp_path / "out" / "points" / found.points[0].name, QUICK, FEW)


@pytest.mark.parametrize("max_drop", [None, 1.0])
def test_a_search_goes_on_only_with_the_same_images_and_labels(max_drop, tmp_path, monkeypatch):
    """In a file of the same name, and as many of them."""
    monkeypatch.setattr(front, "candidates", lambda *_: [])
    rng, path = np.random.default_rng(0), tmp_path / "val.npz"
    x, y = rng.integers(0, 17, (300, 1, 8, 8), np.uint8), rng.integers(0, 10, 300)

    def search(x, y, resume=True):
        np.savez(path, x=x, y=y)
        options = replace(QUICK, val=str(path), val_images=None, max_drop=max_drop)
        explore("digits", tmp_path / "out", options, replace(FEW, whole=max_drop is None), resume)

    search(x, y, resume=False)
    search(x, y)
    for pixels, labels in ((x, np.roll(y, 1)), (x[::-1], y), (np.minimum(x, 15), y)):
        with pytest.raises(UsageError, match="begun with another content of the labelled images"):
            search(pixels, labels)


def test_an_accuracy_of_other_images_is_measured_again(tmp_path):
    told = Told()
    path = tmp_path / "p"
    assert measuring.read_back(path, 50, told) is None
    path.mkdir()
    told_there = {"accuracy_float": 90.0, "accuracy_quantized": 89.0, "kl_to_float": 0.1, "images_evaluated": 50}
    (path / "summary.json").write_text(json.dumps(told_there))
    assert measuring.read_back(path, 50, told) == Accuracy(90.0, 89.0, 0.1)
    assert told.notes == []
    assert measuring.read_back(path, 51, told) is None
    assert told.notes == ["p is measured again: its summary.json tells no accuracy on 51 images"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"images_evaluated": 50}'),
        *(
            f'{{"accuracy_float": 90.0, "accuracy_quantized": {value}, "kl_to_float": 0.1, "images_evaluated": 50}}'
            for value in ("NaN", "-Infinity", "1e30", "-0.5", "100.5", "null", '"89.0"', "[]")
        ),
    ],
)
def test_a_damaged_summary_is_no_accuracy(text, tmp_path):
    told = Told()
    (tmp_path / "summary.json").write_text(text)
    assert measuring.read_back(tmp_path, 50, told) is None
    assert told.notes == [f"{tmp_path.name} is measured again: its summary.json tells no accuracy on 50 images"]


@pytest.mark.parametrize("name", [FRONT, POINTS])
def test_a_run_leaves_a_folder_with_a_front_alone(make, tmp_path, name):
    with RunFolder.begin(tmp_path / "out", {}, resume=False):  # as `explore` does
        measure(make([9, 8], max_drop=0.3), tmp_path / "out", measured_as(89.0, 89.7))
    (tmp_path / "out" / POINTS / "p0").mkdir(parents=True)
    other = {FRONT: POINTS, POINTS: FRONT}[name]
    (tmp_path / "out" / other).rename(tmp_path / other)
    before = {p: p.is_file() and p.read_bytes() for p in (tmp_path / "out").rglob("*")}
    with pytest.raises(
        UsageError, match=f"out holds {name} of an `ilmpq search` or `ilmpq compare`: choose a new folder with --out"
    ):
        pipeline.quantize("digits", tmp_path / "out", QUICK)
    assert {p: p.is_file() and p.read_bytes() for p in (tmp_path / "out").rglob("*")} == before


def test_the_folder_must_not_hold_what_is_read(tmp_path):
    (tmp_path / "data.npz").write_bytes(b"")
    with pytest.raises(UsageError, match="holds data.npz, which is read here"):
        measuring._check_folder(tmp_path, [tmp_path / "data.npz"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resnet18", "--max-drop", "1"], "--max-drop needs labelled images: give them with --val"),
        (["resnet18", "--front"], "--front needs labelled images"),
        (["resnet18", "--effort", "fast"], "--effort needs --max-drop or --front"),
        (["resnet18", "--time-budget", "10m"], "--time-budget needs --max-drop or --front"),
        (["resnet18", "--resume"], "--resume needs --max-drop or --front"),
        (["resnet18", "--front", "--val", "digits"], "resnet18 is an architecture and has no weights"),
        (["digits", "resnet18", "--front", "--val", "digits"], "for one network, not for 2"),
        (["digits", "resnet18", "--front"], "for one network, not for 2"),
        (["digits", "--val", "digits"], "--val needs --max-drop or --front"),
        (["digits", "--front", "--time-budget", "soon"], "--time-budget must be a time like 90 (seconds), 10m or 2h"),
        (["digits", "--front", "--time-budget", "0m"], "--time-budget must be a time"),
        (["digits", "--front", "--act-bits", "4,9"], "--act-bits must be from 4 to 8"),
        (["digits", "--front", "--schemes", "fix5@dsp"], "must be among"),
        (["digits", "--front", "--effort", "more"], "--effort must be one of fast, normal, high"),
        (["digits", "--front", "--out", "geometry.json"], "--out must be a folder"),
        (["digits", "--max-drop", "-1"], "--max-drop must be a number of points"),
        (["digits", "--act-bits", "4,5"], "--act-bits must be one number from 4 to 8, several only with"),
    ],
)
def test_what_cannot_be_measured_is_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_main(monkeypatch, "search", *words, "--device", "xc7z020") == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_the_command_draws_and_tells_and_does_without_matplotlib(tmp_path, monkeypatch, capsys):
    words = ["search", "digits", "--device", "xc7z020", "--schemes", FEW.schemes[0], "--act-bits", "4", "--front"]
    words += ["--effort", "fast", "--calib-images", "16", "--val-images", "50", "--out", tmp_path / "out"]
    assert run_main(monkeypatch, *words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "out" / "front.json").read_text())
    assert (tmp_path / "out" / "front.png").read_bytes()[:4] == b"\x89PNG"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "ilmpq.plot", raising=False)
    assert run_main(monkeypatch, *words, "--resume", "--max-drop", "0") in (0, 4)
    printed = capsys.readouterr()
    assert "matplotlib is missing" in printed.err
    assert "top-1 %" in printed.out

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(front, "measure_all", stopped)
    assert run_main(monkeypatch, *words, "--resume") == 130
    assert "--resume goes on" in capsys.readouterr().err
