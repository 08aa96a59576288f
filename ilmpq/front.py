"""Accuracy in the loop: what a chip's fastest designs cost in accuracy, measured in the order of falling frames per second.

A point is the fastest design for some schemes, activation bits and least share of Fixed8. Each is quantized into a RUN
folder of its own, and `front.json` tells after every one what is known so far, so that an interrupted search goes on.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__, zoo
from .data import Dataset
from .designfile import NAME as GEOMETRY
from .designfile import save_design
from .errors import AccuracyMissed, IlmpqError, UsageError
from .files import PathKind, path_kind, write_json
from .job import Job, digest, open_job, validation_batch
from .options import AUTO, Options
from .pipeline import quantize
from .points import Point, Question, candidates
from .reporter import OneBar, Reporter, Silent
from .results import full_path
from .runfolder import CONFIG, FRONT, POINTS, SUMMARY, RunFolder
from .workload import shapes_of

PICTURE = "front.png"
DESIGNS = "designs"  # the folder of every point's geometry.json, as POINTS of its RUN folder


@dataclass(frozen=True)
class Front:
    """Every point, the fastest first, and what was found out."""

    question: Question
    network: str
    images: int  # labelled ones that a point is measured on
    points: tuple[Point, ...]
    max_drop: float | None = None  # points of accuracy

    @property
    def measured(self) -> list[Point]:
        return [p for p in self.points if p.accuracy is not None]

    @property
    def best(self) -> Point | None:
        """The fastest that keeps the drop."""
        return next((p for p in self.points if p.keeps(self.max_drop)), None)

    def names(self) -> list[str]:
        """The Pareto front: points that are more accurate than every faster one."""
        found: list[Point] = []
        for point in sorted(self.measured, key=lambda p: (-p.frames_per_s, p.drop)):
            if not found or (point.accuracy or 0) > (found[-1].accuracy or 0):
                found.append(point)
        return [p.name for p in found]

    def with_point(self, point: Point) -> Front:
        return replace(self, points=tuple(point if p.name == point.name else p for p in self.points))

    def to_dict(self) -> dict[str, Any]:
        """As front.json has it."""
        names, best, measured = self.names(), self.best, self.measured
        return {
            "ilmpq": __version__,
            "network": self.network,
            "device": self.question.part.name,
            "clock_mhz": self.question.part.assumed_clock_mhz,
            "max_drop": self.max_drop,
            "images": self.images,
            "accuracy_float": measured[0].accuracy_float if measured else None,
            "measured": len(measured),
            "best": None if best is None else best.name,
            "front": names,
            "points": [p.to_dict() | {"on_front": p.name in names} for p in self.points],
        }

    def save(self, folder: Path) -> None:
        """Write what is known, and the best design so far."""
        write_json(folder / FRONT, self.to_dict())
        if self.best is None:
            (folder / GEOMETRY).unlink(missing_ok=True)
        else:
            save_design(folder / GEOMETRY, self.best.design)


Measure = Callable[[Path, Point, Reporter], tuple[float, float]]


def explore(
    source: str | Path,
    folder: Path,
    options: Options,
    question: Question,
    resume: bool = False,
    reporter: Reporter = Silent(),  # noqa: B008 (stateless)
) -> Front:
    """Measure designs for a network, by `options` except for ratio and activation bits, and leave all in a folder."""
    started = time.monotonic()
    if path_kind(Path(source)) is PathKind.ABSENT and zoo.is_name(str(source)):
        raise UsageError(f"{source} is an architecture and has no weights to measure: give a checkpoint of it")
    job = open_job(source, options)
    if job.validation is None:
        raise UsageError("accuracy is measured on labelled images: give them with --val")
    _check_folder(folder, job.files())
    images = len(job.validation)

    def measure(path: Path, point: Point, told: Reporter) -> tuple[float, float]:
        geometry = folder.resolve() / DESIGNS / f"{point.name}.json"
        save_design(geometry, point.design)
        bits = str(point.design["act_bits"])
        own = replace(options, ratio=AUTO, geometry=str(geometry), act_bits=bits, max_drop=None)
        begun = RunFolder(path).resumable
        if not begun:  # what else lies there is damaged, or was measured on other images
            shutil.rmtree(path, ignore_errors=True)
        summary = quantize(source, path, own, begun, told).summary()
        return summary["accuracy_float"], summary["accuracy_quantized"]

    identity = _identity(job, question, _contents(job.validation, validation_batch(job.graph), reporter))
    with RunFolder.begin(folder, identity, resume, job.files()):
        if not resume:
            for name in (POINTS, DESIGNS):
                shutil.rmtree(folder / name, ignore_errors=True)
            (folder / PICTURE).unlink(missing_ok=True)
        network = Path(job.source).stem
        found = candidates({network: shapes_of(job.graph)}, question, reporter)
        points = tuple(read_back(folder / POINTS / p.name, p, images, reporter) for p in found)
        front = Front(question, network, images, points, options.max_drop)
        stages = 2 + (job.images is None) + (options.settings.tune_macs > 0)
        deadline = None if question.seconds is None else started + question.seconds
        return measure_all(front, folder, measure, deadline, stages, reporter)


def _check_folder(folder: Path, inputs: Iterable[Path]) -> None:
    """That a search may write and delete here."""
    if folder.suffix == ".json":
        raise UsageError(f"--out must be a folder where accuracy is measured, not {folder}: leave the .json away")
    if (folder / CONFIG).exists():
        raise UsageError(f"{folder} is a RUN folder: choose another --out")
    for read in inputs:
        if read.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{folder} holds {read.name}, which this search reads: choose another --out")


def _contents(data: Dataset, batch: int, reporter: Reporter) -> str:
    """A digest of labelled images, which may be too many to hold at a time."""
    found = []
    reporter.stage("read images", len(data))
    for images, labels in data.batches(batch):
        found.append(digest(images) if labels is None else digest(images, labels))
        reporter.advance(len(images))
    return digest(np.array(found))


def _identity(job: Job, question: Question, labelled: str) -> dict[str, Any]:
    """What a search that goes on must have in common with its beginning."""
    data = {
        "val": full_path(job.options.val),
        "val_images": len(job.validation or ()),
        "content of the labelled images": labelled,
    }
    asked = {"schemes": list(question.schemes), "act_bits": list(question.act_bits), "device": question.part.name}
    return {**job.identity(), **data, **asked}


def read_back(path: Path, point: Point, images: int, reporter: Reporter) -> Point:
    """The point with what its RUN folder tells, if it was measured there on so many images."""
    if not (path / SUMMARY).exists():
        return point
    try:
        told = RunFolder.open(path).summary()
    except IlmpqError:
        told = {}
    before, after = told.get("accuracy_float"), told.get("accuracy_quantized")
    if told.get("images_evaluated") == images and _is_percentage(before) and _is_percentage(after):
        return replace(point, accuracy_float=before, accuracy=after)
    reporter.note(f"{point.name} is measured again: its {SUMMARY} tells no accuracy on {images} images")
    return point


def _is_percentage(value: object) -> bool:
    return isinstance(value, float) and 0 <= value <= 100


def measure_all(
    front: Front, folder: Path, measure: Measure, deadline: float | None, stages: int, reporter: Reporter
) -> Front:
    """Measure one point after the other until the question is answered or its time is over; at least one."""
    front.save(folder)
    begun = 0
    reporter.stage("measure", len(front.points))
    bar = OneBar(reporter, stages)
    for point in front.points:
        if point.accuracy is None:
            if begun and deadline is not None and time.monotonic() >= deadline:
                reporter.note(
                    f"time is over: {len(front.measured)} of {len(front.points)} points are measured; "
                    "the same command with --resume measures the others"
                )
                break
            begun += 1
            before, after = measure(folder / POINTS / point.name, point, bar)
            point = replace(point, accuracy_float=before, accuracy=after)
            front = front.with_point(point)
            front.save(folder)
            reporter.note(f"{point.name}: {point.frames_per_s:,.1f} frames/s, {after:.2f} % ({after - before:+.2f})")
        bar.next()
        if not front.question.whole and point.keeps(front.max_drop):
            break
    return front


def check_answer(front: Front, folder: Path) -> None:
    """Raise `AccuracyMissed` if no point keeps the drop; all is written by then."""
    most = front.max_drop
    if most is None or front.best is not None:
        return
    least = min(front.measured, key=lambda p: p.drop or 0)
    raise AccuracyMissed(
        f"accuracy drops by more than --max-drop {most:g} points on each of {len(front.measured)} designs "
        f"(of {len(front.points)}), least by {least.drop:.2f} on {least.name}; the results are in {folder}: "
        "try --effort high, more --act-bits or other --schemes"
    )
