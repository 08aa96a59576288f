"""The accuracy of the designs that `compare` sets side by side: each mix of rows, at each width of activations, is measured once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .compare import Row
from .measuring import Accuracy, Measuring
from .options import Options
from .reporter import OneBar, Reporter
from .rowsfile import write_schemes
from .schemes import scheme_named
from .search import rows_of

ASSIGNMENTS = "assignments"  # the folder of the rows.csv of networks whose first and last layer differ


@dataclass(frozen=True)
class Mix:
    """Which row gets which scheme, and how wide activations are: what an accuracy depends on."""

    ratio: str
    ends: str | None
    act_bits: int

    @staticmethod
    def of(row: Row) -> Mix:
        return Mix(str(row.ratio), row.design.ends, row.act_bits)

    def name(self, row: Row) -> str:
        """A folder's name, by the arrays of a design that has the mix."""
        arrays = row.found.config.geometry.schemes()
        if len(row.ratio.schemes) == 1:
            schemes = row.ratio.schemes[0].name
        else:
            schemes = "_".join(f"{scheme.name}-{count}" for scheme, count in arrays.items())
        return "_".join([schemes, *([f"ends-{self.ends}"] if self.ends else []), f"act{self.act_bits}"])


def measure_rows(rows: Sequence[Row], measuring: Measuring, reporter: Reporter) -> tuple[list[Row], float]:
    """The rows with their accuracy, and that of the float network; the folder of `measuring` is begun."""
    first: dict[Mix, Row] = {}
    for row in rows:
        first.setdefault(Mix.of(row), row)
    reporter.stage("measure", len(first))
    bar = OneBar(reporter, measuring.stages)
    found: dict[Mix, Accuracy] = {}
    for mix, row in first.items():
        name = mix.name(row)
        accuracy = measuring.known(name, reporter)
        if accuracy is None:
            accuracy = measuring.measure(name, _options(mix, row, name, measuring), bar)
            reporter.note(f"{name}: {accuracy.after:.2f} % ({accuracy.after - accuracy.before:+.2f})")
        found[mix] = accuracy
        bar.next()
    return [row.with_accuracy(found[Mix.of(row)]) for row in rows], next(iter(found.values())).before


def _options(mix: Mix, row: Row, name: str, measuring: Measuring) -> Options:
    own = replace(measuring.options, act_bits=str(mix.act_bits))
    if mix.ends is None:
        return replace(own, ratio=mix.ratio)
    path = measuring.folder / ASSIGNMENTS / f"{name}.csv"
    write_schemes(path, _uniform_layers(row))
    return replace(own, assignment=str(path.resolve()))


def _uniform_layers(row: Row) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
    """The scheme of every row of a network that has one in each layer."""
    layers = rows_of(row.rules, row.shapes, row.found.config)
    return {
        layer: np.full(count, scheme_named(scheme).ident, np.uint8)
        for layer, [(scheme, count)] in ((name, list(rows.items())) for name, rows in layers.items())
    }
