"""START HERE: the stages from a checkpoint to a RUN folder, in order.

    load → calibrate → score → assign → quantize → lower → evaluate

The network is walked once, node by node, with the calibration images travelling through its float and its quantized
form side by side; every layer is scored, assigned and quantized where the stream stands. Each finished layer is saved,
so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .calibrate import Streams
from .errors import AccuracyMissed, ModelError, UsageError
from .evaluate import Evaluation, evaluate
from .files import write_json
from .job import Job, make_images, open_job, open_validation, validation_batch
from .lower import lower
from .options import Options
from .plan import Plan, make_plan
from .program import Program
from .quantize import quantize_layer
from .reporter import Reporter, Silent
from .results import Results, evaluation_summary, save_results
from .rowquant import LayerQuant, QuantModel
from .rowsfile import LayerRows
from .runfolder import FLOAT, PROGRAM, SUMMARY, RunFolder, Stopwatch
from .score import score_layer, wants_full_statistics
from .storage import layer_bits
from .tune import tune

if TYPE_CHECKING:
    from torch import nn

SNR_IMAGES = 256


def quantize(
    source: str | Path | nn.Module,
    out: str | Path,
    options: Options = Options(),  # noqa: B008 (frozen)
    resume: bool = False,
    reporter: Reporter = Silent(),  # noqa: B008 (stateless)
) -> Results:
    """Quantize a network and write the RUN folder `out`.

    `source` is a checkpoint, an exported program, an ONNX file, an nn.Module or the word `digits`.
    """
    started = time.monotonic()
    job = open_job(source, options)
    RunFolder(Path(out)).verify_alone()
    with RunFolder.begin(Path(out), job.identity(), resume, job.files()) as run:
        run.log(f"quantize {job.source} ({job.architecture}) with {job.options.to_dict()}")
        with Stopwatch(run) as watch:
            images = calibration_images(job, run, reporter)
            plan = make_plan(job, images, run.assignment, reporter)
            model, rows = quantize_layers(job, images, plan, run, reporter)
            macs, seed = job.options.settings.tune_macs, job.options.seed
            model = tune(job.graph, model, images, macs, seed, run.tuning_state, reporter)
        program = lower(model)
        evaluation = evaluate_on(job, program, images, reporter)
        wall_seconds = time.monotonic() - started
        results = Results(run.path, job, model, rows, program, evaluation, len(images), watch.cpu_seconds, wall_seconds)
        save_results(run, results)
    check_drop(results)
    return results


def check_drop(results: Results) -> None:
    """Raise `AccuracyMissed` if accuracy fell by more than the user allows; the results are written by then."""
    drop, allowed = results.accuracy_drop, results.job.options.max_drop
    if allowed is not None and drop is not None and drop > allowed:
        raise AccuracyMissed(
            f"accuracy drops by {drop:.2f} points, more than --max-drop {allowed:g}; the results are in {results.path}: "
            "try --effort high, more --act-bits or a ratio with more fix8"
        )


def calibration_images(job: Job, run: RunFolder, reporter: Reporter) -> torch.Tensor:
    """The calibration images: the user's, or made from batch-norm statistics."""
    for note in job.calibration_notes:
        reporter.note(note)
    if job.images is not None:
        return torch.from_numpy(job.images)
    images = run.saved_images()
    if images is None:
        images = make_images(job, reporter)
        run.save_images(images)
    return torch.from_numpy(images)


def quantize_layers(
    job: Job, images: torch.Tensor, plan: Plan, run: RunFolder, reporter: Reporter
) -> tuple[QuantModel, dict[str, LayerRows]]:
    """Calibrate, score, assign and quantize every layer, or take it from where an interrupted run had saved it."""
    graph, options = job.graph, job.options
    general, overrides = options.layer_act_bits(n.name for n in graph.weighted)
    bits = layer_bits(graph, general, overrides)
    streams = Streams(graph, images, bits, options.scales)
    layers: dict[str, LayerQuant] = {}
    rows: dict[str, LayerRows] = {}
    reporter.stage("quantize", len(graph.weighted))
    for index, node in enumerate(graph.nodes):
        layer = None
        if node.weighted:
            saved = run.saved_layer(node.name, index)
            if saved is not None:
                result, sensitivity = saved
            else:
                rng = np.random.default_rng([options.seed, 2, index])
                statistics = streams.statistics(node, rng, full=wants_full_statistics(graph, node, options.settings))
                candidates = score_layer(graph, node, statistics, plan.schemes, options.settings)
                chosen = plan.assign(node, candidates, rng)
                scales = streams.input_scale(node), streams.skip_scale(node)
                result = quantize_layer(candidates, chosen, statistics, *scales, options.settings)
                sensitivity = candidates.sensitivity()
                run.save_layer(node.name, index, result, sensitivity)
            layer = LayerQuant(result.rows, result.bias, bits[node.name], streams.input_shift(node))
            layers[node.name] = layer
            rows[node.name] = LayerRows(result.rows.scheme, sensitivity, result.error)
            reporter.advance()
        streams.advance(node, layer)
    model = QuantModel(graph.structure(), layers, streams.tensors, job.metadata())
    return model.verify(), rows


def evaluate_on(job: Job, program: Program, images: torch.Tensor, reporter: Reporter) -> Evaluation:
    """Evaluate on the labelled set; without one, on the calibration images, for the layers' signal-to-noise only."""
    batch = validation_batch(job.graph)
    if job.validation is not None:
        for note in job.validation.notes:
            reporter.note(note)
        reporter.stage("evaluate", len(job.validation))
        return evaluate(job.graph, program, job.validation.batches(batch), reporter.advance)
    parts = [(images[i : i + batch].numpy(), None) for i in range(0, min(len(images), SNR_IMAGES), batch)]
    return evaluate(job.graph, program, parts)


def evaluate_run(
    path: str | Path,
    val: str | None,
    val_images: int | None,
    reporter: Reporter = Silent(),  # noqa: B008 (stateless)
) -> tuple[Evaluation, dict[str, Any]]:
    """Measure a RUN folder on labelled images (by default those it was made with); updates its summary if it may."""
    run = RunFolder.open(Path(path))
    config, graph, program, summary = run.config(), run.graph(), run.program(), run.summary()
    if graph.to_json() != program.graph.to_json():
        raise ModelError(f"{path} must hold one network: its {FLOAT} and {PROGRAM} are of different ones")
    spec = val or config.get("val")
    if not isinstance(spec, str):
        raise UsageError(f"{path} was made without labelled images: give some with --val")
    validation = open_validation(spec, run.preprocess(), graph, val_images)
    for note in validation.notes:
        reporter.note(note)
    reporter.stage("evaluate", len(validation))
    evaluation = evaluate(graph, program, validation.batches(validation_batch(graph)), reporter.advance)
    summary |= evaluation_summary(evaluation, labelled=True)
    try:
        write_json(run.path / SUMMARY, summary)
        run.log(f"evaluate on {validation.description}: {evaluation}")
    except UsageError:
        reporter.note(f"{path} cannot be written: its {SUMMARY} stays as it was")
    return evaluation, summary
