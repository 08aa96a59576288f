"""Whole networks on the engine at the chips' design points, as `scripts/simulate.py` measures them: every integer, and cycles.

RTL: ResNet-20 on three images with a memory that stalls at random, every tensor; ResNet-18 at 224 × 224, every tensor of
one image. HLS: ResNet-18 at 224 × 224 on two images; other families at small sizes (the script runs them whole).
"""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from accel.engine.compile import compile_program
from accel.engine.points import POINTS
from accel.engine.rtl_engine import RtlEngine, Timing
from accel.engine.simulate import EngineBackend, hls_backend
from accel.engine.work import layer_cycles, works_of
from ilmpq import naive
from ilmpq.backends import IntegerBackend, Name
from ilmpq.perf import frame
from ilmpq.work import Memory, machine_of

PATH = Path(__file__).parents[1] / "scripts" / "simulate.py"
MODELLED = [
    ("cifar_resnet20", "xc7z020-pot4"),
    ("squeezenet1_1", "xc7z020-pot4"),
    ("tincy_yolo", "xc7z020-pot4"),
    ("resnet18", "xc7z045-pot4"),
]  # the smallest, and one with a ring that holds the next layers' weights
POT4 = next(p for p in POINTS if p.name == "xc7z020-pot4")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("simulate_script", PATH)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(PATH.parent)  # it uses the script beside it
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rtl(verilator):
    return RtlEngine(POT4.config)


def require_equal(program, backend, images):
    """Every layer's codes and the logits, image by image."""
    reference = IntegerBackend(program)
    computed = {n.name for n in program.graph.nodes if n.weighted or "POOL" in n.op.name}
    for image in images:
        expected, found = reference.run(image[None]), backend.run(image[None])
        assert computed - set(found.codes) <= {program.graph.output.name}
        for name, codes in found.codes.items():
            assert np.array_equal(codes.ravel(), expected.codes[name].ravel()), name
        assert np.array_equal(found.logits.ravel(), expected.logits.ravel())


def on_rtl(program, rtl, timing):
    def run(*arguments):
        return rtl.run(*arguments, timing).require()

    return EngineBackend(Name.RTL, program, POT4.config, run, 0.0)


def test_resnet20_on_rtl_with_a_memory_that_stalls(script, rtl):
    program = script.program_of(script.graph_of("cifar_resnet20", 32), POT4)
    timing = Timing(latency=40, bytes_per_cycle=32, stall=0.3, words_first=0.5, seed=5)
    require_equal(program, on_rtl(program, rtl, timing), script.random_images(program, 3))


def test_resnet18_on_rtl(script, rtl):
    program = script.program_of(script.graph_of("resnet18", 224), POT4)
    require_equal(program, on_rtl(program, rtl, Timing(latency=40)), script.random_images(program, 1))


@pytest.mark.parametrize(("latency", "rate"), [(40, 32.0), (60, 16.0), (20, 16.0)])
def test_cycles_of_resnet20_are_those_of_the_model(script, rtl, latency, rate):
    """Within 2 % on the whole and on every layer."""
    program = script.program_of(script.graph_of("cifar_resnet20", 32), POT4)
    image = compile_program(program, POT4.config)
    model = frame(works_of(image, {}), machine_of(POT4.config), Memory(rate, latency))
    codes = naive.input_codes(program, script.random_images(program, 1))[0]
    parts = [part.tobytes() for part in image.weights]
    given = image.encode_input(codes).tobytes()
    timing = Timing(latency, rate)
    result = rtl.run(image.words, parts, image.scratch_bytes, given, image.output_bytes, timing).require()
    assert result.counters["CYCLES"] == pytest.approx(model.cycles, rel=0.02)
    for layer, (real, modelled) in layer_cycles(image, result.completed, model).items():
        assert modelled == pytest.approx(real, rel=0.02), layer


@pytest.mark.parametrize(("images", "rate"), [(2, 32.0), (4, 16.0)])
def test_a_batch_of_resnet20_on_rtl(script, rtl, images, rate):
    """Images that share weights: every output, and the model within 2 % on the whole and on every layer."""
    program = script.program_of(script.graph_of("cifar_resnet20", 32), POT4)
    image = compile_program(program, POT4.config, images=images)
    assert sum(bool(getattr(s.operation, "image_rows", 0)) for s in image.operations) > 10
    model = frame(works_of(image, {}), machine_of(POT4.config), Memory(rate, 40))
    given = script.random_images(program, images)
    region = image.encode_input(*naive.input_codes(program, given)).tobytes()
    parts = [part.tobytes() for part in image.weights]
    timing = Timing(40, rate)
    result = rtl.run(image.words, parts, image.scratch_bytes, region, image.output_bytes, timing).require()
    expected = IntegerBackend(program).run(given).logits
    for each in range(images):
        output = image.decode_output(np.frombuffer(result.output, np.uint8), each) * program.logits_scale
        assert np.array_equal(output.ravel(), expected[each].ravel())
    assert result.counters["CYCLES"] == pytest.approx(model.cycles, rel=0.02)
    for layer, (real, modelled) in layer_cycles(image, result.completed, model).items():
        assert modelled == pytest.approx(real, rel=0.02), layer


def test_cycles_of_resnet18_with_half_the_memory(script, rtl):
    """Bound by weights in its last layers."""
    program = script.program_of(script.graph_of("resnet18", 224), POT4)
    cycles, worst = script.rtl_cycles(program, POT4, 0.5, rtl)
    assert worst < 2
    assert cycles > 1_090_000


def test_resnet18_on_hls(script):
    program = script.program_of(script.graph_of("resnet18", 224), POT4)
    require_equal(program, hls_backend(program, POT4.config), script.random_images(program, 2))


@pytest.mark.parametrize(
    ("network", "size"),
    [("resnet50", 64), ("vgg16", 64), ("mobilenet_v2", 64), ("squeezenet1_1", 64), ("tincy_yolo", 96)],
)
def test_other_networks_on_hls(script, network, size):
    program = script.program_of(script.graph_of(network, size), POT4)
    require_equal(program, hls_backend(program, POT4.config), script.random_images(program, 1))


@pytest.mark.parametrize(("network", "point"), MODELLED, ids=lambda v: v)
def test_what_the_model_says_is_what_is_recorded(script, network, point):
    """Whatever changes it: `python scripts/simulate.py --model-only` records it again."""
    case = next(c for c in script.CASES if (c.network, c.point) == (network, point))
    found = script.measure_model(script.subject_of(case))
    recorded = json.loads(script.RECORD.read_text())[case.key]
    assert {key: recorded[key] for key in found} == found


def test_figures_are_stale_when_what_they_were_measured_with_changes(script, monkeypatch, tmp_path):
    """Each part by its own sources, all by the image; and without a fingerprint."""
    subject = script.subject_of(script.CASES[0])
    first = script.fingerprints(subject)
    parts = list(script.MEASURE)
    assert script.stale_parts({}, first, parts) == parts
    assert script.stale_parts({"fingerprints": first}, script.fingerprints(subject), parts) == []

    def after(name, changed):
        with monkeypatch.context() as patched:
            patched.setattr(script, name, changed)
            return script.stale_parts({"fingerprints": first}, script.fingerprints(subject), parts)

    other = tmp_path / "other"
    other.write_text("")
    assert after("included", lambda _: [other]) == ["hls"]
    assert after("rtl_sources", lambda: [other]) == ["rtl"]
    assert after("DRIVER", (other,)) == ["rtl"]
    assert after("MODEL", (other,)) == ["model", "rtl"]  # the worst layer is told beside the model
    image = dataclasses.replace(subject.image, words=(*subject.image.words[:-1], 1))
    changed = script.fingerprints(dataclasses.replace(subject, image=image))
    assert script.stale_parts({"fingerprints": first}, changed, parts) == parts


def test_only_what_is_stale_is_measured(script, monkeypatch, tmp_path, capsys):
    """What else is known stays."""
    measured = []
    for part in script.MEASURE:
        monkeypatch.setitem(script.MEASURE, part, lambda subject, part=part: measured.append(part) or {})
    monkeypatch.setattr(script, "summary", str)
    monkeypatch.setattr(script, "table", str)
    monkeypatch.setattr(script, "replace_part", lambda *_: None)
    monkeypatch.setattr(script, "RECORD", tmp_path / "networks.json")
    script.RECORD.write_text(json.dumps({script.CASES[0].key: {"cycles_rtl": 1}}))

    def run(*words):
        measured.clear()
        monkeypatch.setattr("sys.argv", ["simulate.py", "--only", "cifar", *words])
        return script.main(), list(measured)

    assert run("--stale") == (1, [])
    assert "stale: model, hls, rtl" in capsys.readouterr().err
    assert run("--model-only") == (0, ["model"])
    assert run() == (0, ["hls", "rtl"])
    assert run() == (0, [])
    assert run("--stale") == (0, [])
    row = json.loads(script.RECORD.read_text())[script.CASES[0].key]
    assert row["cycles_rtl"] == 1
    assert set(row["fingerprints"]) == {"model", "hls", "rtl"}
