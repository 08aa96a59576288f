"""Proof that every backend computes the same integers: the same images through all of them, compared node by node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backends import Backend, IntegerBackend, Name, Outcome, all_names, available, open_backend
from .data import open_data
from .errors import Mismatch, ModelError, UsageError
from .graph import FloatArray, Graph
from .lower import lower
from .preprocess import Preprocess
from .program import Program
from .reporter import Reporter, Silent
from .runfolder import MODEL, PROGRAM, RunFolder

EXPORTS = "export"  # the folder of a RUN in which exports lie
LEAST_AGREEMENT = 99.0  # percent of answers that a backend that may round must share; one answer may always differ
BATCH_VALUES = 1 << 22  # values of all nodes held at once for a batch
KINDS = 3  # random, extreme, real


@dataclass(frozen=True)
class Difference:
    """The first value that a backend has otherwise: image, channel and position within the output of a layer."""

    layer: str
    image: int
    channel: int
    position: tuple[int, ...]
    expected: float
    found: float

    def __str__(self) -> str:
        place = f" position {'×'.join(map(str, self.position))}" if self.position else ""
        return (
            f"{self.layer} channel {self.channel}{place} of image {self.image}: "
            f"{self.found:g}, the reference has {self.expected:g}"
        )


@dataclass(frozen=True)
class Verdict:
    """What a backend did. `agreement_top1` is in percent, on real images where there are any; None: not available."""

    name: str
    images: int
    exact: bool | None
    agreement_top1: float | None
    first_difference: Difference | None
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """The entry of `verify --json`."""
        first = self.first_difference
        place = None if first is None else {**vars(first), "position": list(first.position)}
        return {**vars(self), "first_difference": place}


def verify_run(
    path: str | Path,
    val: str | None = None,
    images: int = 256,
    names: Sequence[Name] | None = None,
    seed: int = 0,
    reporter: Reporter = Silent(),  # noqa: B008 (stateless)
) -> list[Verdict]:
    """Compare the backends on a RUN folder; all that are there, or those named, which then must be."""
    run = RunFolder.open(Path(path))
    program, config = run.program(), run.config()
    if lower(run.model()).to_bytes() != program.to_bytes():
        raise ModelError(
            f"{path} must hold one network: its {PROGRAM} is not what its {MODEL} gives; make the run again"
        )
    chosen = list(names) if names else [n for n in all_names() if available(n)]
    backends = [open_backend(n, program, run.path / EXPORTS) for n in chosen if n is not Name.INTEGER]
    spec = val or config.get("val") or config.get("calib")
    inputs = make_inputs(program, spec, Preprocess.from_dict(config["preprocess"]), images, seed, reporter)
    found = verify(program, inputs, backends, reporter)
    missing = [] if names else [n for n in all_names() if not available(n)]
    return found + [Verdict(n.value, 0, None, None, None, True) for n in missing]


def check(verdicts: Sequence[Verdict]) -> None:
    """Raise `Mismatch` if a backend failed."""
    for verdict in verdicts:
        if not verdict.passed:
            raise Mismatch(
                f"{verdict.name} differs from the integer executor: {verdict.first_difference}; "
                f"same answer for {verdict.agreement_top1:.2f} % of the images"
            )


@dataclass(frozen=True)
class Inputs:
    """Images in an order in which every beginning has all kinds; `real` says which are real."""

    images: FloatArray
    real: NDArray[np.bool_]


def make_inputs(
    program: Program, spec: str | None, preprocess: Preprocess, count: int, seed: int, reporter: Reporter
) -> Inputs:
    """Random codes, extreme ones, and real images if a data set is named, interleaved; at most `count` in all."""
    if count < KINDS:
        raise UsageError(f"--images must be at least {KINDS}, not {count}")
    graph, rng = program.graph, np.random.default_rng([seed, 7])
    scale = np.float32(program.scale(graph.input.name))
    some = count if spec is None else count // KINDS
    kinds = [_random_codes(graph, some, rng) * scale, _extreme_codes(graph, rng) * scale]
    if spec is None:
        reporter.note("no real images: give some with --val; random and extreme inputs only")
    else:
        kinds.append(open_data(spec, preprocess, labels=False, limit=count - 2, rng=rng).images())
    order = sorted((i, k) for k, kind in enumerate(kinds) for i in range(len(kind)))
    order = order[:count]
    return Inputs(np.stack([kinds[k][i] for i, k in order]), np.array([k == 2 for _, k in order]))


def _random_codes(graph: Graph, count: int, rng: np.random.Generator) -> FloatArray:
    return rng.integers(-127, 128, (count, *graph.input_shape)).astype(np.float32)


def _extreme_codes(graph: Graph, rng: np.random.Generator) -> FloatArray:
    """All largest, all smallest, zero, a chessboard, and both ends at random."""
    shape = graph.input_shape
    board = np.where(np.indices(shape).sum(axis=0) % 2, 127, -127)
    ends = rng.choice([-127, 127], shape)
    return np.stack([np.full(shape, 127), np.full(shape, -127), np.zeros(shape), board, ends]).astype(np.float32)


def verify(
    program: Program,
    inputs: Inputs,
    backends: Sequence[Backend],
    reporter: Reporter = Silent(),  # noqa: B008 (stateless)
) -> list[Verdict]:
    """Run every backend on as many of the inputs as it can take, against the reference."""
    reference = IntegerBackend(program)
    counts = [_affordable(program, inputs, b) for b in backends]
    reporter.stage("verify", sum(counts))
    verdicts = [Verdict(reference.name, len(inputs.images), True, 100.0, None, True)]
    for backend, count in zip(backends, counts, strict=True):
        verdicts.append(_compare(program, reference, backend, inputs, count, reporter))
    return verdicts


def _affordable(program: Program, inputs: Inputs, backend: Backend) -> int:
    macs = sum(program.graph.macs(n) for n in program.graph.weighted)
    return max(min(KINDS, len(inputs.images)), min(len(inputs.images), int(backend.macs / max(macs, 1))))


def _compare(
    program: Program, reference: Backend, backend: Backend, inputs: Inputs, count: int, reporter: Reporter
) -> Verdict:
    graph = program.graph
    same: list[NDArray[np.bool_]] = []
    differences: list[Difference] = []
    for part in _batches(graph, count):
        images = inputs.images[part]
        expected, found = reference.run(images), backend.run(images)
        same.append(expected.logits.argmax(axis=1) == found.logits.argmax(axis=1))
        differences += _first_difference(program, expected, found, part.start)
        reporter.advance(len(images))
    agreed, real = np.concatenate(same), inputs.real[:count]
    agreed = agreed[real] if real.any() else agreed
    close = len(agreed) - int(agreed.sum()) <= max(1, int((1 - LEAST_AGREEMENT / 100) * len(agreed)))
    first = min(differences, key=lambda d: [n.name for n in graph.nodes].index(d.layer), default=None)
    passed = first is None or (close and _may_round(program, backend))
    return Verdict(backend.name, count, first is None, 100 * float(agreed.mean()), first, passed)


def _may_round(program: Program, backend: Backend) -> bool:
    """Whether a backend computes in float with scales that float arithmetic rounds."""
    return backend.name in (Name.ONNXRUNTIME, Name.QONNX) and not program.power_of_two


def _batches(graph: Graph, count: int) -> Iterator[slice]:
    values = sum(int(np.prod(s)) for s in graph.shapes.values())
    size = max(1, min(32, BATCH_VALUES // values))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _first_difference(program: Program, expected: Outcome, found: Outcome, start: int) -> list[Difference]:
    """The first node, in the network's order, with another value; empty if there is none."""
    output = program.graph.output.name
    for node in program.graph.nodes:
        if node.name in found.codes and node.name != output:
            place = _place(node.name, expected.codes[node.name], found.codes[node.name], start)
            if place is not None:
                return [place]
    place = _place(output, expected.logits, found.logits, start)
    return [] if place is None else [place]


def _place(name: str, expected: NDArray[Any], found: NDArray[Any], start: int) -> Difference | None:
    if expected.shape != found.shape:
        raise ModelError(f"{name} output must have shape {expected.shape}, not {found.shape}")
    wrong = np.argwhere(expected != found)
    if not len(wrong):
        return None
    at = tuple(int(i) for i in wrong[0])
    return Difference(name, start + at[0], at[1], at[2:], float(expected[at]), float(found[at]))
