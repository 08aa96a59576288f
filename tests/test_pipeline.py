"""The pipeline end to end: determinism, resumption, given assignments, budgets, every kind of layer."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from nets import concat_net, images, parameters, residual_net

from ilmpq import pipeline
from ilmpq.assign import Rule
from ilmpq.calibrate import Streams
from ilmpq.emulate import Emulator, float_logits
from ilmpq.errors import AccuracyMissed, ModelError, UsageError
from ilmpq.graph import Graph, Node, Op, Window
from ilmpq.graphfile import save_graph
from ilmpq.job import Job
from ilmpq.lower import lower
from ilmpq.options import Effort, Options
from ilmpq.preprocess import Preprocess
from ilmpq.reporter import Silent
from ilmpq.rowquant import QuantModel, least_row_scale
from ilmpq.runfolder import RunFolder
from ilmpq.scales import Scales
from ilmpq.schemes import FIX8, scheme_named
from ilmpq.tune import Student, tune

RESULTS = ("model.safetensors", "float.safetensors", "rows.csv", "summary.json", "config.json")
QUICK = Options(effort=Effort.FAST, calib_images=32, val_images=50)


class Interrupting(Silent):
    """A reporter that is interrupted after some steps."""

    def __init__(self, steps):
        self.steps = steps

    def advance(self, steps=1):
        self.steps -= 1
        if self.steps < 0:
            raise KeyboardInterrupt


def model_bytes(path):
    return (path / "model.safetensors").read_bytes()


def quantize_graph(graph, tmp_path, options, dataset=None):
    """Run the layers of a graph that no loader makes."""
    _, *_size = graph.input_shape
    job = Job(
        graph,
        "test",
        "test",
        None,
        Preprocess(graph.input_shape, None, (0.0,) * 3, (1.0,) * 3),
        None,
        (),
        None,
        None,
        options,
    )
    run = RunFolder.begin(tmp_path / "run", job.identity(), False)
    x = torch.from_numpy(images(graph) if dataset is None else dataset)
    plan = pipeline.make_plan(job, x, run.assignment, Silent())
    model, rows = pipeline.quantize_layers(job, x, plan, run, Silent())
    lower(model)  # takes whatever is quantized here
    return x, model, rows


@pytest.mark.parametrize("effort", list(Effort))
def test_the_same_seed_gives_the_same_bytes(tmp_path, effort, monkeypatch):
    monkeypatch.setattr("ilmpq.tune.LEAST_STEPS", 1)
    monkeypatch.setattr("ilmpq.tune.MOST_STEPS", 3)
    monkeypatch.setattr("ilmpq.tune.SAVE_SECONDS", -1)
    options = replace(QUICK, effort=effort, seed=3)
    for name in ("a", "b"):
        pipeline.quantize("digits", tmp_path / name, options)
    assert model_bytes(tmp_path / "a") == model_bytes(tmp_path / "b")
    pipeline.quantize("digits", tmp_path / "c", replace(options, seed=4))
    assert model_bytes(tmp_path / "a") != model_bytes(tmp_path / "c")


@pytest.mark.parametrize(
    ("effort", "steps"), [(Effort.FAST, 0), (Effort.FAST, 4), (Effort.FAST, 7), (Effort.HIGH, 1), (Effort.HIGH, 9)]
)
def test_an_interrupted_run_goes_on_to_the_same_result(tmp_path, effort, steps, monkeypatch):
    monkeypatch.setattr("ilmpq.tune.LEAST_STEPS", 1)
    monkeypatch.setattr("ilmpq.tune.MOST_STEPS", 3)
    monkeypatch.setattr("ilmpq.tune.SAVE_SECONDS", -1)
    options = replace(QUICK, effort=effort)
    pipeline.quantize("digits", tmp_path / "whole", options)
    with pytest.raises(KeyboardInterrupt):
        pipeline.quantize("digits", tmp_path / "run", options, reporter=Interrupting(steps))
    assert not (tmp_path / "run" / "summary.json").exists()
    assert not (tmp_path / "run" / "model.safetensors").exists()
    pipeline.quantize("digits", tmp_path / "run", options, resume=True)
    assert model_bytes(tmp_path / "run") == model_bytes(tmp_path / "whole")
    assert not (tmp_path / "run" / ".partial").exists()


def test_an_interrupted_run_leaves_an_earlier_result_alone(tmp_path):
    pipeline.quantize("digits", tmp_path, QUICK)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name in RESULTS}
    with pytest.raises(KeyboardInterrupt):
        pipeline.quantize("digits", tmp_path, replace(QUICK, seed=9), reporter=Interrupting(2))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name in RESULTS} == before


def test_resuming_with_other_options_or_nothing_begun_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be resumed: nothing was begun"):
        pipeline.quantize("digits", tmp_path / "new", QUICK, resume=True)
    with pytest.raises(KeyboardInterrupt):
        pipeline.quantize("digits", tmp_path / "run", QUICK, reporter=Interrupting(2))
    with pytest.raises(UsageError, match="another ratio"):
        pipeline.quantize("digits", tmp_path / "run", replace(QUICK, ratio="50:45:5"), resume=True)


def test_an_edited_assignment_is_followed_to_the_row(tmp_path):
    pipeline.quantize("digits", tmp_path / "a", QUICK)
    lines = (tmp_path / "a" / "rows.csv").read_text().splitlines()
    assert lines[0] == "layer,row,scheme,sensitivity,error"
    edited = [line.replace("fix8", "pot3") for line in lines]
    edited[1] = "conv1,0,fix6,0,0"
    (tmp_path / "rows.csv").write_text("\n".join(edited))
    options = replace(QUICK, assignment=str(tmp_path / "rows.csv"))
    model = pipeline.quantize("digits", tmp_path / "b", options).model
    found = [s for layer in model.layers.values() for s in layer.rows.scheme]
    assert found == [scheme_named(line.split(",")[2]).ident for line in edited[1:]]


@pytest.mark.parametrize("granularity", ["row", "layer"])
def test_a_budget_of_bits_is_kept(tmp_path, granularity):
    options = replace(QUICK, budget="avg-bits=4.5", granularity=granularity)
    results = pipeline.quantize("digits", tmp_path, options)
    assert 4.0 <= results.model.average_weight_bits() <= 4.5
    kinds = [len(set(layer.rows.scheme) & {FIX8.ident}) for layer in results.model.layers.values()]
    assert any(kinds)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["ratio"] is None
    assert summary["budget"] == "avg-bits=4.5"


def test_the_ratio_is_met_in_every_layer(tmp_path):
    for rule in Rule:
        results = pipeline.quantize("digits", tmp_path / rule.value, replace(QUICK, assign=rule))
        for layer in results.model.layers.values():
            counts = np.bincount(layer.rows.scheme, minlength=3)
            assert tuple(counts) == {16: (10, 5, 1), 32: (19, 11, 2), 10: (6, 4, 0)}[layer.rows.rows]


def test_a_missed_accuracy_is_told_after_the_results_are_written(tmp_path):
    options = replace(QUICK, ratio="fix2:100", max_drop=1.0)
    with pytest.raises(AccuracyMissed, match="accuracy drops by"):
        pipeline.quantize("digits", tmp_path, options)
    assert RunFolder.open(tmp_path).summary()["accuracy_quantized"] < 95


@pytest.mark.parametrize("effort", [Effort.FAST, Effort.NORMAL])
@pytest.mark.parametrize("make", [residual_net, concat_net])
def test_every_kind_of_layer_comes_close_to_float_in_eight_bits(tmp_path, make, effort):
    graph = make()
    options = Options(effort=effort, ratio="fix8:100", act_bits="8")
    x, model, _ = quantize_graph(graph, tmp_path, options)
    exact, logits = float_logits(graph, x).flatten(1), Emulator(model)(x).flatten(1)
    noise = ((exact - logits) ** 2).mean() / exact.var()
    assert noise < 0.003  # 8 bits everywhere: a few quantization steps


@pytest.mark.parametrize("make", [residual_net, concat_net])
def test_error_feedback_is_better_than_nearest_levels(tmp_path, make):
    noise = {}
    for effort in (Effort.FAST, Effort.NORMAL):
        graph = make()
        x, model, _ = quantize_graph(
            graph, tmp_path / effort.value, Options(effort=effort, ratio="60:35:5", act_bits="8")
        )
        noise[effort] = float(((float_logits(graph, x) - Emulator(model)(x)) ** 2).mean())
    assert noise[Effort.NORMAL] < noise[Effort.FAST]


@pytest.mark.parametrize("effort", list(Effort))
@pytest.mark.parametrize("choice", [{"assign": rule} for rule in Rule] + [{"budget": "avg-bits=4.5", "act_bits": "5"}])
def test_powers_of_two_stay_so_in_every_kind_of_run(tmp_path, choice, effort, monkeypatch):
    monkeypatch.setattr("ilmpq.tune.LEAST_STEPS", 1)
    monkeypatch.setattr("ilmpq.tune.MOST_STEPS", 3)
    options = replace(QUICK, effort=effort, scales=Scales.POWER_OF_TWO, **choice)
    assert pipeline.quantize("digits", tmp_path, options).model.power_of_two
    assert RunFolder.open(tmp_path).summary()["scales"] == RunFolder.open(tmp_path).config()["scales"] == "power-of-two"


def test_powers_of_two_are_interrupted_and_resumed_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr("ilmpq.tune.LEAST_STEPS", 1)
    monkeypatch.setattr("ilmpq.tune.MOST_STEPS", 3)
    monkeypatch.setattr("ilmpq.tune.SAVE_SECONDS", -1)
    options = replace(QUICK, effort=Effort.NORMAL, scales=Scales.POWER_OF_TWO)
    pipeline.quantize("digits", tmp_path / "whole", options)
    with pytest.raises(KeyboardInterrupt):
        pipeline.quantize("digits", tmp_path / "run", options, reporter=Interrupting(9))
    with pytest.raises(UsageError, match="another scales"):
        pipeline.quantize("digits", tmp_path / "run", replace(options, scales=Scales.FREE), resume=True)
    pipeline.quantize("digits", tmp_path / "run", options, resume=True)
    assert model_bytes(tmp_path / "run") == model_bytes(tmp_path / "whole")


@pytest.mark.parametrize("make", [residual_net, concat_net])
@pytest.mark.parametrize("effort", [Effort.FAST, Effort.NORMAL])
def test_powers_of_two_come_close_to_float_in_eight_bits(tmp_path, make, effort):
    graph = make()
    options = Options(effort=effort, ratio="fix8:100", act_bits="8", scales=Scales.POWER_OF_TWO)
    x, model, _ = quantize_graph(graph, tmp_path, options)
    assert model.power_of_two
    exact, logits = float_logits(graph, x).flatten(1), Emulator(model)(x).flatten(1)
    assert ((exact - logits) ** 2).mean() / exact.var() < 0.006  # steps are up to twice as long


@pytest.mark.parametrize("scales", list(Scales))
@pytest.mark.parametrize("effort", [Effort.FAST, Effort.NORMAL])
def test_rows_of_any_size_have_multipliers_of_enough_bits(tmp_path, effort, scales, monkeypatch):
    """What is chosen, and what distillation makes of it: lowering would refuse rows below the bound."""
    graph = residual_net()
    for values in graph.parameters.values():
        for weight, size in zip(values.weight, np.geomspace(1, 1e-9, len(values.weight)), strict=True):
            weight *= size
    x, model, _ = quantize_graph(graph, tmp_path, Options(effort=effort, scales=scales))
    monkeypatch.setattr("ilmpq.tune.RATES", {"step": 0.1, "scale": 0.5, "bias": 0.01})
    monkeypatch.setattr("ilmpq.tune.LEAST_STEPS", 1)
    monkeypatch.setattr("ilmpq.tune.MOST_STEPS", 10)
    tuned = tune(graph, model, x, 1e12, 0, tmp_path / "state", Silent())
    assert tuned.power_of_two == (scales is Scales.POWER_OF_TWO)
    lower(tuned)
    for found in (model, tuned):
        for name, layer in found.layers.items():
            least = least_row_scale(layer.rows.scale, found.input_scale(name), found.skip_scale(name))
            assert layer.rows.scale.min() >= least


def test_an_untaught_student_is_the_model_itself(tmp_path):
    for scales in Scales:
        _, model, _ = quantize_graph(residual_net(), tmp_path / scales.value, Options(scales=scales))
        same = Student(model).result()
        assert same.tensors == model.tensors
        for name, layer in model.layers.items():
            np.testing.assert_array_equal(same.layers[name].rows.scale, layer.rows.scale)


def test_dead_rows_survive(tmp_path):
    graph = residual_net()
    for name, row in (("conv1", 3), ("depthwise", 0), ("fc", 2)):
        graph.parameters[name].weight[row] = 0
    graph.parameters["conv2"].weight[...] = 0
    _, model, _ = quantize_graph(graph, tmp_path, Options(effort=Effort.NORMAL))
    for name, row in (("conv1", 3), ("depthwise", 0), ("fc", 2)):
        assert not model.layers[name].rows.codes[row].any()
        step = model.layers[name].rows.scale[row] * model.input_scale(name)  # biases are whole steps of the accumulator
        assert abs(model.layers[name].bias[row] - graph.parameters[name].bias[row]) <= 0.51 * step
    assert not model.layers["conv2"].rows.codes.any()


def test_a_tiny_row_with_a_large_bias_fits_the_accumulator(tmp_path):
    graph = residual_net()
    graph.parameters["fc"].weight[1] *= 1e-12
    graph.parameters["fc"].bias[1] = 5.0
    x, model, _ = quantize_graph(graph, tmp_path, Options())
    np.testing.assert_allclose(Emulator(model)(x)[:, 1].numpy(), 5.0, rtol=1e-4)


def test_images_that_are_all_black_are_survived(tmp_path):
    graph = residual_net()
    x, model, _ = quantize_graph(graph, tmp_path, Options(), np.zeros((8, 3, 8, 8), np.float32))
    assert np.isfinite(Emulator(model)(x).numpy()).all()


@pytest.mark.parametrize("effort", [Effort.FAST, Effort.NORMAL])
def test_inputs_that_never_vary_leave_the_weights_as_they_are(tmp_path, effort):
    graph = residual_net()
    graph.parameters["conv3"].weight[...] = 0
    graph.parameters["conv3"].bias[...] = -99
    graph.parameters["conv1"].weight[...] = graph.parameters["conv1"].bias[...] = 0
    options = Options(effort=effort, ratio="fix8:100", act_bits="8")
    _, model, _ = quantize_graph(graph, tmp_path, options, np.ones((4, 3, 8, 8), np.float32))
    weight = graph.parameters["fc"].weight
    np.testing.assert_allclose(model.layers["fc"].rows.values(), weight, atol=0.01 * np.abs(weight).max())


@pytest.mark.parametrize("effort", [Effort.FAST, Effort.NORMAL])
def test_weights_that_overflow_are_refused_by_layer(tmp_path, effort):
    graph = residual_net()
    graph.parameters["conv2"].weight[...] *= 1e22
    graph.parameters["conv3"].weight[...] *= 1e22
    with pytest.raises(ModelError, match=r"conv. .*float32"):
        quantize_graph(graph, tmp_path, Options(effort=effort))


def test_activations_of_hardly_any_size_are_survived(tmp_path):
    graph = residual_net()
    for name in ("conv1", "conv2"):
        graph.parameters[name].weight[...] *= 1e-36
        graph.parameters[name].bias[...] = 0
    x, model, _ = quantize_graph(graph, tmp_path, Options())
    assert np.isfinite(Emulator(model)(x).numpy()).all()


def test_an_output_that_a_layer_reads_too_is_stored(tmp_path):
    rng = np.random.default_rng(0)
    nodes = (
        Node("input", Op.INPUT),
        Node("c", Op.CONV, ("input",), Window((1, 1)), relu=True),
        Node("d", Op.CONV, ("c",), Window((1, 1)), relu=True),
        Node("join", Op.CONCAT, ("c", "d")),
    )
    graph = Graph("joined", (3, 4, 4), nodes, {"c": parameters(rng, 4, 3, 1, 1), "d": parameters(rng, 5, 4, 1, 1)})
    x, model, _ = quantize_graph(graph.verify(), tmp_path, Options(act_bits="8", ratio="fix8:100"))
    assert set(model.tensors) == {"input", "c"}
    exact, found = float_logits(graph, x), Emulator(model)(x)
    assert float((exact - found).abs().max()) < 0.05 * float(exact.max())


def test_permuting_a_layers_rows_permutes_its_codes(tmp_path):
    graph = residual_net()
    _, model, _ = quantize_graph(graph, tmp_path / "a", Options())
    order = np.random.default_rng(0).permutation(5)
    values = graph.parameters["fc"]
    permuted = type(values)(values.weight[order].copy(), values.bias[order].copy())
    other = replace(graph, parameters={**graph.parameters, "fc": permuted})
    _, again, _ = quantize_graph(other, tmp_path / "b", Options())
    np.testing.assert_array_equal(again.layers["fc"].rows.codes, model.layers["fc"].rows.codes[order])


def test_the_streams_agree_with_the_emulator(tmp_path):
    """Calibration carries codes node by node; the emulator runs the whole network: same logits inputs, same scales."""
    for make in (residual_net, concat_net):
        graph = make()
        x, model, _ = quantize_graph(graph, tmp_path / graph.name, Options())
        bits = {k: v.input_bits for k, v in model.layers.items()}
        streams = Streams(graph, x, bits)
        seen = {}
        Emulator(model)(x, lambda node, value, seen=seen: seen.__setitem__(node.name, value))
        for node in graph.nodes:
            streams.advance(node, model.layers.get(node.name))
            if node.name in streams._codes and node.weighted:
                stored = model.tensor(node.name)
                assert stored == streams.tensors[streams.group[node.name]]
                codes = (seen[node.name] / stored.scale).round()
                off = (codes - streams._codes[node.name].float()).abs()
                assert off.max() <= 1
                assert (off > 0).float().mean() < 0.002  # sums within float rounding of a tie


def test_a_run_folder_evaluates_without_the_checkpoint(tmp_path):
    results = pipeline.quantize("digits", tmp_path, QUICK)
    evaluation, summary = pipeline.evaluate_run(tmp_path, None, None)
    assert evaluation.images == 500
    assert summary["accuracy_quantized"] == evaluation.accuracy_quantized
    assert QuantModel.load(tmp_path / "model.safetensors").graph.to_json() == results.model.graph.to_json()
    again, _ = pipeline.evaluate_run(tmp_path, "digits", 50)
    assert again.kl_to_float == pytest.approx(results.evaluation.kl_to_float, rel=1e-3)  # batches of another size


def test_a_run_folder_that_cannot_be_written_is_evaluated_all_the_same(tmp_path, monkeypatch):
    pipeline.quantize("digits", tmp_path, QUICK)
    before = (tmp_path / "summary.json").read_bytes()

    def refused(path, value):
        raise UsageError(f"{path} cannot be written: Read-only file system")

    monkeypatch.setattr(pipeline, "write_json", refused)
    notes = []
    reporter = Silent()
    monkeypatch.setattr(reporter, "note", notes.append)
    evaluation, _ = pipeline.evaluate_run(tmp_path, None, 50, reporter)
    assert evaluation.images == 50
    assert any("cannot be written: its summary.json stays as it was" in note for note in notes)
    assert (tmp_path / "summary.json").read_bytes() == before


def test_a_second_run_in_the_same_folder_is_told_to_wait(tmp_path):
    pipeline.quantize("digits", tmp_path, QUICK)
    with (
        RunFolder.begin(tmp_path, {}, resume=False),
        pytest.raises(UsageError, match="another run is working here"),
    ):
        pipeline.quantize("digits", tmp_path, QUICK)
    pipeline.quantize("digits", tmp_path, QUICK)


def test_a_folder_with_anothers_config_is_left_alone(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["ResNet"]}')
    (tmp_path / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(UsageError, match="holds other files"):
        pipeline.quantize("digits", tmp_path, QUICK)
    assert (tmp_path / "model.safetensors").read_bytes() == b"precious"


def test_a_file_that_the_run_reads_is_not_replaced(tmp_path):
    pipeline.quantize("digits", tmp_path, QUICK)
    with pytest.raises(UsageError, match="holds rows.csv, which this run reads"):
        pipeline.quantize("digits", tmp_path, replace(QUICK, assignment=str(tmp_path / "rows.csv")))


def test_a_failed_write_at_the_end_leaves_the_earlier_result_and_can_be_resumed(tmp_path, monkeypatch):
    pipeline.quantize("digits", tmp_path, QUICK)
    before = {name: (tmp_path / name).read_bytes() for name in RESULTS}
    other = replace(QUICK, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr("ilmpq.results.save_graph", lambda graph, path: (_ for _ in ()).throw(UsageError("disk is full")))
        with pytest.raises(UsageError, match="disk is full"):
            pipeline.quantize("digits", tmp_path, other)
    assert {name: (tmp_path / name).read_bytes() for name in RESULTS} == before
    pipeline.quantize("digits", tmp_path, other, resume=True)
    assert model_bytes(tmp_path) != before["model.safetensors"]


def test_resuming_with_other_weights_of_the_same_shape_is_refused(tmp_path):
    def module(seed):
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5)
        )

    options = Options(effort=Effort.FAST, input_shape=(3, 8, 8), calib_images=16, preset="none")
    with pytest.raises(KeyboardInterrupt):
        pipeline.quantize(module(0), tmp_path, options, reporter=Interrupting(0))
    with pytest.raises(UsageError, match="another network"):
        pipeline.quantize(module(1), tmp_path, options, resume=True)
    pipeline.quantize(module(0), tmp_path, options, resume=True)


def test_files_of_two_runs_in_one_folder_are_refused(tmp_path):
    pipeline.quantize("digits", tmp_path, QUICK)
    save_graph(residual_net(), tmp_path / "float.safetensors")
    with pytest.raises(ModelError, match="must hold one network"):
        pipeline.evaluate_run(tmp_path, None, None)


def test_the_configuration_means_the_same_from_every_folder(tmp_path, monkeypatch):
    x = np.random.default_rng(0).integers(0, 17, (20, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(20) % 10)
    monkeypatch.chdir(tmp_path)
    pipeline.quantize("digits", "run", replace(QUICK, calib="x.npz", val="x.npz", calib_images=None, val_images=None))
    monkeypatch.chdir("/")
    evaluation, _ = pipeline.evaluate_run(tmp_path / "run", None, None)
    assert evaluation.images == 20
    config = RunFolder.open(tmp_path / "run").config()
    assert (config["calib_images"], config["input_shape"]) == (20, [1, 8, 8])
