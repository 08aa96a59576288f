"""A run before it starts: the network, its preprocessing and its data, opened and checked against one another."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import __version__, demo
from .assign import check_budget
from .data import Dataset, open_data
from .design import EngineConfig
from .designfile import check_fits, load_design
from .device import part_named
from .errors import UsageError
from .graph import FloatArray, Graph
from .load import Loaded, load
from .options import AUTO, Options, parse_act_bits
from .preprocess import Preprocess, resolve
from .ratio import Ratio
from .reporter import Reporter
from .rowsfile import read_assignment
from .search import Goal, fastest
from .space import Rules
from .synthesize import has_statistics, synthesize
from .workload import shapes_of

if TYPE_CHECKING:
    from torch import nn

LARGEST_TENSOR = 1 << 26  # values of the largest activation over all calibration images (256 MB in float32)
VAL_BATCH_VALUES = 1 << 22  # values of the largest activation of a batch (16 MB), of which several live


@dataclass(frozen=True)
class Job:
    """Everything a run works on. `options` are resolved: what the network or the demonstration implies is filled in."""

    graph: Graph
    architecture: str
    source: str
    checksum: str | None
    preprocess: Preprocess
    images: FloatArray | None  # for calibration; None: to be synthesised
    calibration_notes: tuple[str, ...]
    validation: Dataset | None
    assignment: dict[str, NDArray[np.uint8]] | None
    options: Options
    design: EngineConfig | None = None  # the engine that the network is meant for

    @property
    def calibration_count(self) -> int:
        """How many calibration images will be used."""
        if self.images is not None:
            return len(self.images)
        return self.options.calib_images or default_images(self.graph, self.options)

    def metadata(self) -> dict[str, Any]:
        """What the model file says of its origin."""
        options = self.options
        return {
            "source": Path(self.source).name,
            "source_checksum": self.checksum,
            "architecture": self.architecture,
            "ratio": options.ratio if options.budget is None and options.assignment is None else None,
            "seed": options.seed,
            "version": __version__,
            "preprocess": self.preprocess.to_dict(),
        }

    def files(self) -> tuple[Path, ...]:
        """The user's files that the run reads."""
        named = (self.source, self.options.calib, self.options.val, self.options.assignment, self.options.geometry)
        return tuple(Path(name) for name in named if name is not None)

    def identity(self) -> dict[str, Any]:
        """What a resumed run must have in common with its beginning: options, contents of files, and this program."""
        ignored = {"val", "val_images", "max_drop"}
        chosen = {k: v for k, v in self.options.to_dict().items() if k not in ignored}
        chosen = {k: list(v) if isinstance(v, tuple) else v for k, v in chosen.items()}
        given = None if self.assignment is None else digest(*(self.assignment[n.name] for n in self.graph.weighted))
        contents = {
            "network": digest(*(a for p in self.graph.parameters.values() for a in (p.weight, p.bias))),
            "calibration images": None if self.images is None else digest(self.images),
            "contents of the assignment": given,
            "version of ilmpq": __version__,
        }
        return {**chosen, "model": self.source, **contents}


def default_images(graph: Graph, options: Options) -> int:
    """The effort's number of calibration images, fewer where the network's activations are large."""
    largest = max(int(np.prod(s)) for s in graph.shapes.values())
    return max(16, min(options.settings.images, LARGEST_TENSOR // largest))


def open_job(source: str | Path | nn.Module, options: Options) -> Job:
    """Load the network, resolve its preprocessing and open its data."""
    options.verify().verify_source(source)
    loaded, preprocess, options = _load(source, options)
    graph = loaded.graph
    design = _design(graph, loaded.architecture, options)
    if design is not None and options.ratio == AUTO:
        options = replace(options, ratio=str(Ratio.of_rows(design.geometry.schemes())))
    if graph.input_shape != preprocess.input_shape:
        raise UsageError(
            f"the network takes {graph.input_shape} but the preprocessing gives {preprocess.input_shape}: give --input-shape"
        )
    options.layer_act_bits([n.name for n in graph.weighted])
    if options.average_bits is not None:
        check_budget(Ratio.parse(options.ratio).schemes, options.average_bits)
    assignment = None if options.assignment is None else read_assignment(Path(options.assignment), graph)
    images, validation = None, None
    notes: tuple[str, ...] = ()
    if options.val is not None:
        validation = open_validation(options.val, preprocess, graph, options.val_images)
    if options.calib is not None:
        count = options.calib_images or default_images(graph, options)
        rng = np.random.default_rng([options.seed, 0])
        data = open_data(options.calib, preprocess, labels=False, limit=count, rng=rng)
        images, notes = data.images(), data.notes
    source, checksum = loaded.source, loaded.checksum
    return Job(
        graph, loaded.architecture, source, checksum, preprocess, images, notes, validation, assignment, options, design
    )


def _design(graph: Graph, name: str, options: Options) -> EngineConfig | None:
    """The engine of --geometry, or else the fastest one on --device."""
    general, _ = parse_act_bits(options.act_bits, None)
    if options.geometry is not None:
        design = load_design(Path(options.geometry))
        own = design.geometry.act_bits
        if own != general:
            raise UsageError(
                f"--act-bits must be {own}, as {options.geometry} has it, not {general}: leave --act-bits out, or make "
                f"another design with `ilmpq search … --act-bits {general}`"
            )
        if options.device is not None:
            check_fits(design, part_named(options.device))
        return design
    if options.device is None or options.ratio != AUTO:
        return None
    rules = Rules.parse(options.schemes, general)
    return fastest(Goal({name: shapes_of(graph)}, part_named(options.device), rules)).config


def digest(*arrays: NDArray[Any]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _load(source: str | Path | nn.Module, options: Options) -> tuple[Loaded, Preprocess, Options]:
    if isinstance(source, str) and source == demo.NAME:
        options = replace(options, calib=options.calib or demo.NAME, val=options.val or demo.NAME, preset=demo.NAME)
        return Loaded(demo.digits_graph(), demo.NAME, demo.NAME, demo.NAME, None), demo.PREPROCESS, options
    loaded = load(source, arch=options.arch, input_shape=options.input_shape)
    preset = options.preset or loaded.preset
    shape = loaded.graph.input_shape
    return loaded, resolve(preset, input_shape=shape, mean=options.mean, std=options.std), options


def open_validation(spec: str, preprocess: Preprocess, graph: Graph, limit: int | None) -> Dataset:
    """Labelled images; with a limit, a fixed random choice of them."""
    return open_data(spec, preprocess, labels=True, limit=limit, rng=np.random.default_rng(0), classes=graph.classes)


def validation_batch(graph: Graph) -> int:
    """Images per batch of an evaluation, bounded by memory."""
    largest = max(int(np.prod(s)) for s in graph.shapes.values())
    return max(1, min(128, VAL_BATCH_VALUES // largest))


def make_images(job: Job, reporter: Reporter) -> FloatArray:
    """Calibration images out of batch-norm statistics, for a job without any."""
    reporter.note(
        "no --calib: calibration images are made from the network's batch-norm statistics; "
        "a few hundred real images give better accuracy"
        if has_statistics(job.graph)
        else "no --calib, and the network has no batch norm to tell what its images were like: calibration uses "
        "synthetic shapes; real images (--calib FOLDER) give better accuracy"
    )
    done = 0.0

    def tell(share: float) -> None:
        nonlocal done
        reporter.advance(100 * (share - done))
        done = share

    reporter.stage("synthesise", 100)
    return synthesize(
        job.graph, job.preprocess, job.calibration_count, np.random.default_rng([job.options.seed, 1]), tell
    )
