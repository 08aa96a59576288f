"""Proof that every backend computes the same integers: the same images through all of them, compared node by node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .backends import (
    ENGINES,
    NO_ENGINES,
    Backend,
    IntegerBackend,
    Name,
    Opener,
    Outcome,
    all_names,
    available,
    open_backend,
)
from .data import open_data
from .errors import DoesNotFit, Mismatch, ModelError, ToolMissing, UsageError
from .graph import FloatArray, Graph, Node, Op
from .integer import Executor
from .lower import lower
from .preprocess import Preprocess
from .program import Program
from .reporter import Reporter, Silent
from .runfolder import EXPORTS, MODEL, PROGRAM, RunFolder
from .storage import MOVES

LEAST_AGREEMENT = 99.0  # percent of answers that a backend that may round must share
FEW = 20  # images: where fewer are real, all count; where fewer count, all answers must be shared
MOST_IMAGES = 100_000
BATCH_VALUES = 1 << 22  # values of all nodes held at once for a batch
KINDS = 3  # random, extreme, real
FLOAT_ERROR = 2.0**-20  # of the sum of its terms' sizes: more than float32 loses in any order of summation seen


@dataclass(frozen=True)
class Difference:
    """The first value that a backend has otherwise: image, channel and position within the output of a layer.

    A value of a stored tensor is a code, of the last layer a real logit.
    """

    layer: str
    image: int
    channel: int
    position: tuple[int, ...]
    expected: float
    found: float

    def __str__(self) -> str:
        place = f" position {'×'.join(map(str, self.position))}" if self.position else ""
        expected, found = (f"{x:.0f}" if x.is_integer() else repr(x) for x in (self.expected, self.found))
        return (
            f"{self.layer} channel {self.channel}{place} of image {self.image}: {found}, the reference has {expected}"
        )


@dataclass(frozen=True)
class Verdict:
    """What a backend did. `agreement_top1` is in percent, on real images where there are enough; None: not available.

    A backend that may round passes with differences that a tie explains.
    """

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
    engines: Mapping[Name, Opener] = NO_ENGINES,
) -> list[Verdict]:
    """Compare the backends on a RUN folder; all that are there, or those named, which then must be."""
    if not 0 <= seed < 2**63:
        raise UsageError(f"--seed must be from 0 to 2^63 - 1, not {seed}")
    run = RunFolder.open(Path(path))
    program = run.program()
    if lower(run.model()).to_bytes() != program.to_bytes():
        raise ModelError(
            f"{path} must hold one network: its {PROGRAM} is not what its {MODEL} gives; make the run again"
        )
    chosen = [
        n for n in dict.fromkeys(names or all_names()) if n is not Name.INTEGER and (names or available(n, engines))
    ]
    if not chosen:
        raise UsageError("--backend integer is the reference: name another to compare it with")
    backends = []
    for name in chosen:
        try:
            backends.append(open_backend(name, program, run.path / EXPORTS, engines))
        except (ModelError, DoesNotFit) as error:
            if names or name not in ENGINES:
                raise
            reporter.note(f"not compared on {name.value}: {error}")
    inputs = make_inputs(program, val or run.data(), run.preprocess(), images, seed, reporter)
    found = verify(program, inputs, backends, reporter)
    missing = [] if names else [n for n in all_names() if n.value not in {b.name for b in backends}]
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
    if not KINDS <= count <= MOST_IMAGES:
        raise UsageError(f"--images must be at least {KINDS} and at most {MOST_IMAGES:,}, not {count}")
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
    same: list[NDArray[np.bool_]] = []
    differences: list[Difference] = []
    unexplained: list[Difference] = []
    executor = Executor(program)
    for part in _batches(program.graph, count):
        images = inputs.images[part]
        expected, found = reference.run(images), _run(backend, images)
        same.append(_answers(expected) == _answers(found))
        new = _first_difference(program, expected, found, part.start)
        differences += new
        if new and not backend.exact:
            unexplained += _unexplained(executor, expected, found, part.start)
        reporter.advance(len(images))
    agreed, real = np.concatenate(same), inputs.real[:count]
    agreed = agreed[real] if int(real.sum()) >= FEW else agreed
    order = {n.name: i for i, n in enumerate(program.graph.nodes)}
    first = min(unexplained or differences, key=lambda d: (order[d.layer], d.image), default=None)
    passed = first is None or (not backend.exact and not unexplained and _close(agreed))
    return Verdict(backend.name, count, not differences, 100 * float(agreed.mean()), first, passed)


def _run(backend: Backend, images: FloatArray) -> Outcome:
    """What a backend gives; whatever goes wrong inside it is said in its name."""
    try:
        return backend.run(images)
    except Exception as error:
        text = str(error).strip().splitlines() or ["no message"]
        raise ToolMissing(f"{backend.name} failed: {type(error).__name__}: {text[0][:300]}") from error


def _answers(outcome: Outcome) -> NDArray[np.intp]:
    return np.asarray(outcome.logits.reshape(len(outcome.logits), -1).argmax(axis=1))


def _close(agreed: NDArray[np.bool_]) -> bool:
    """Whether enough answers are the same; one may differ where there are some."""
    allowed = max(1, int((1 - LEAST_AGREEMENT / 100) * len(agreed))) if len(agreed) >= FEW else 0
    return len(agreed) - int(agreed.sum()) <= allowed


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
        raise Mismatch(f"{name} output must have shape {expected.shape}, but a backend gives {found.shape}")
    return _first(name, ~(expected == found), expected, found, start)


def _first(
    name: str, wrong: NDArray[np.bool_], expected: NDArray[Any], found: NDArray[Any], start: int
) -> Difference | None:
    places = np.argwhere(wrong)
    if not len(places):
        return None
    at = tuple(int(i) for i in places[0])
    return Difference(name, start + at[0], at[1], at[2:], float(expected[at]), float(found[at]))


def _unexplained(executor: Executor, expected: Outcome, found: Outcome, start: int) -> list[Difference]:
    """The first node whose values do not follow from the backend's own inputs, up to ties within float32's error.

    So one wrong constant is found in its own layer, however many harmless ties came before.
    """
    program = executor.program
    codes: dict[str, torch.Tensor] = {}
    for node in program.graph.nodes:
        given = found.codes.get(node.name)
        if node.name == program.graph.output.name:
            given = found.logits / program.logits_scale
        if node.op is Op.INPUT:
            value, slack = torch.from_numpy(expected.codes[node.name]), torch.zeros(())
        else:
            value, slack = _allowed(executor, node, [codes[i] for i in node.inputs])
        if given is not None:
            wrong = ~(np.abs(given - value.numpy()) <= slack.numpy())
            if program.tensor(node.name) is not None:
                wrong |= given != np.rint(given)
            place = _first(node.name, wrong, value.numpy(), given, start)
            if place is not None:
                return [place]
        stored = program.tensor(node.name)
        taken = value.round() if given is None else torch.from_numpy(np.rint(given))
        codes[node.name] = taken.to(
            torch.int64 if stored is None else torch.int8 if stored.format.signed else torch.uint8
        )
    return []


def _allowed(executor: Executor, node: Node, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """What a node's values must be near to, and how near."""
    if node.op in MOVES:
        moved = executor.run_node(node, inputs).double()
        logits = executor.program.tensor(node.name) is None
        return moved, 1 + FLOAT_ERROR * moved.abs() if logits else torch.zeros(())
    a = executor.program.arithmetic[node.name]
    value, size = executor.before_rounding(node, inputs)
    rounding = 0.0 if executor.program.tensor(node.name) is None else 0.5
    return value.clamp(a.low, a.high), rounding + FLOAT_ERROR * size
