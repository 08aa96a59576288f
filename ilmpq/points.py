"""The points of a search with accuracy: the fastest design for some schemes, activation bits and least share of Fixed8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .designfile import describe
from .device import Part
from .errors import DoesNotFit, UsageError
from .options import MAX_ACT_BITS, MIN_ACT_BITS
from .reporter import Reporter
from .search import Found, Goal, fastest
from .space import DEFAULT_SCHEMES, LEAST_FIX8, Rules
from .workload import Shapes

if TYPE_CHECKING:
    from .measuring import Accuracy

SCHEMES = (DEFAULT_SCHEMES, "pot3@lut,fix4@dsp,fix8@dsp", "fix4@dsp,fix4@lut,fix8@dsp")
SHARES = (LEAST_FIX8, 10, 20)  # least percent of the rows in Fixed8
EXACT = 6  # decimals of points of accuracy: far below one image, far above what a subtraction of floats leaves


@dataclass(frozen=True)
class Question:
    """Which points there are, and when the search has its answer."""

    part: Part
    schemes: tuple[str, ...] = SCHEMES
    act_bits: tuple[int, ...] = tuple(range(MIN_ACT_BITS, MAX_ACT_BITS + 1))
    whole: bool = False  # measure every point, not only until one keeps the drop
    seconds: float | None = None  # after which no point is begun


@dataclass(frozen=True)
class Point:
    """A design as geometry.json describes it, and its accuracy in percent where it was measured."""

    name: str
    design: Mapping[str, Any]
    accuracy_float: float | None = None
    accuracy: float | None = None

    @property
    def frames_per_s(self) -> float:
        return float(next(iter(self.design["networks"].values()))["frames_per_s"])

    @property
    def drop(self) -> float | None:
        """Points of accuracy lost."""
        if self.accuracy is None or self.accuracy_float is None:
            return None
        return round(self.accuracy_float - self.accuracy, EXACT)

    def keeps(self, most: float | None) -> bool:
        """Whether it was measured and loses no more."""
        return most is not None and self.drop is not None and self.drop <= most

    def with_accuracy(self, found: Accuracy | None) -> Point:
        return self if found is None else replace(self, accuracy_float=found.before, accuracy=found.after)

    def to_dict(self) -> dict[str, Any]:
        """As front.json has it."""
        kept = ("schemes", "ratio", "act_bits", "arrays", "mac_per_cycle", "resources")
        shape = {k: self.design["config"][k] for k in ("tk", "tp")}
        figures = next(iter(self.design["networks"].values()))
        accuracy = {"accuracy": self.accuracy, "drop": self.drop}
        return {"name": self.name, **{k: self.design[k] for k in kept}, **shape, **figures, **accuracy}


def candidates(networks: Mapping[str, Shapes], question: Question, reporter: Reporter) -> list[Point]:
    """The fastest design under each of the rules, the fastest of all first.

    Of designs that give a network the same ratio and bits, and so the same accuracy, only the fastest is there.
    """
    found: list[Point] = []
    refusal: Exception | None = None
    reporter.stage("search", len(question.schemes) * len(question.act_bits) * len(SHARES))
    for schemes in question.schemes:
        for bits in question.act_bits:
            last: Found | None = None
            for share in SHARES:
                rules = Rules.parse(schemes, bits, least_fix8=share)
                if last is None or not _has_share(last, share):
                    try:
                        last = fastest(Goal(networks, question.part, rules))
                        found.append(_point(last, question.part, schemes, rules))
                    except (DoesNotFit, UsageError) as error:  # no such design fits, or none runs the network
                        refusal = error
                reporter.advance()
            if last is None:
                reporter.note(str(refusal))
    if not found and refusal is not None:
        raise refusal
    first: dict[tuple[str, int], Point] = {}
    for point in sorted(found, key=lambda p: -p.frames_per_s):
        first.setdefault((point.design["ratio"], point.design["act_bits"]), point)
    return list(first.values())


def _has_share(found: Found, percent: float) -> bool:
    """Whether a design has so much Fixed8: then it is the fastest of those that must have it, too."""
    arrays = found.config.geometry.arrays
    eights = sum(a.rows for a in arrays if a.scheme == "fix8")
    return 100 * eights >= percent * found.config.geometry.rows or not eights


def _point(found: Found, part: Part, schemes: str, rules: Rules) -> Point:
    rows = {scheme.name: n for scheme, n in found.config.geometry.schemes().items()}
    name = "_".join([*(f"{scheme}-{n}" for scheme, n in rows.items()), f"act{rules.act_bits}"])
    return Point(name, describe(found, part, schemes, rules))
