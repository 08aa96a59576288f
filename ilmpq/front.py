"""Accuracy in the loop: what a chip's fastest designs cost in accuracy, measured in the order of falling frames per second.

A point is the fastest design for some schemes, activation bits and least share of Fixed8. Each is quantized into a RUN
folder of its own, and `front.json` tells after every one what is known so far, so that an interrupted search goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import __version__
from .designfile import NAME as GEOMETRY
from .designfile import save_design
from .errors import AccuracyMissed
from .files import write_json
from .measuring import Accuracy, Measuring
from .options import AUTO, Options
from .points import Point, Question, candidates
from .reporter import OneBar, Reporter, Silent
from .runfolder import FRONT
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


Measure = Callable[[Point, Reporter], Accuracy]


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
    measuring = Measuring.open(source, folder, options)

    def measure(point: Point, told: Reporter) -> Accuracy:
        geometry = folder.resolve() / DESIGNS / f"{point.name}.json"
        save_design(geometry, point.design)
        bits = str(point.design["act_bits"])
        own = replace(options, ratio=AUTO, geometry=str(geometry), act_bits=bits, max_drop=None)
        return measuring.measure(point.name, own, told)

    asked = {"schemes": list(question.schemes), "act_bits": list(question.act_bits), "device": question.part.name}
    with measuring.begin(asked, (DESIGNS, PICTURE), resume, reporter):
        found = candidates({measuring.network: shapes_of(measuring.job.graph)}, question, reporter)
        points = tuple(p.with_accuracy(measuring.known(p.name, reporter)) for p in found)
        front = Front(question, measuring.network, len(measuring.validation), points, options.max_drop)
        deadline = None if question.seconds is None else started + question.seconds
        return measure_all(front, folder, measure, deadline, measuring.stages, reporter)


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
            found = measure(point, bar)
            point = point.with_accuracy(found)
            front = front.with_point(point)
            front.save(folder)
            reporter.note(
                f"{point.name}: {point.frames_per_s:,.1f} frames/s, {found.after:.2f} % ({found.after - found.before:+.2f})"
            )
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
