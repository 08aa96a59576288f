"""`rows.csv`: one line per row of the network with its scheme; it can be edited and given back with `--assignment`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .files import path_kind, write_atomically
from .graph import Graph
from .schemes import BY_IDENT, scheme_named

COLUMNS = ("layer", "row", "scheme", "sensitivity", "error")


@dataclass(frozen=True)
class LayerRows:
    """Per row of a layer: scheme identifier, sensitivity (see docs/method.md) and the error that remained."""

    scheme: NDArray[np.uint8]
    sensitivity: NDArray[np.float64]
    error: NDArray[np.float32]


def write_rows(path: Path, layers: Mapping[str, LayerRows]) -> None:
    """Write the file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for layer, rows in layers.items():
        for i, ident in enumerate(rows.scheme):
            name = BY_IDENT[int(ident)].name
            writer.writerow([layer, i, name, f"{rows.sensitivity[i]:.6g}", f"{rows.error[i]:.6g}"])
    write_atomically(path, text.getvalue())


def write_schemes(path: Path, schemes: Mapping[str, NDArray[np.uint8]]) -> None:
    """Write a file with schemes only, in the same form."""
    write_rows(path, {k: LayerRows(v, np.zeros(len(v)), np.zeros(len(v), np.float32)) for k, v in schemes.items()})


def read_assignment(path: Path, graph: Graph) -> dict[str, NDArray[np.uint8]]:
    """The scheme of every row of `graph`; only the columns layer, row and scheme are read."""
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    try:
        return _checked_rows(path, reader, graph)
    except csv.Error as error:
        raise UsageError(f"{path} line {reader.line_num}: {error}; it must be in the form of rows.csv") from None


def _text(path: Path) -> str:
    path_kind(path)  # refuses what cannot be a name
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets begin a file with a byte order mark
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} must be a text file in UTF-8, in the form of rows.csv") from None


def _checked_rows(path: Path, reader: csv.DictReader[str], graph: Graph) -> dict[str, NDArray[np.uint8]]:
    header = list(reader.fieldnames or ())
    missing = [c for c in COLUMNS[:3] if c not in header]
    if missing:
        what = "must be separated by commas" if any(c in "".join(header) for c in ";\t") else "are needed"
        raise UsageError(f"{path} first line: the columns layer, row and scheme {what}; {missing[0]} is missing")
    rows = {n.name: graph.weight_shape(n)[0] for n in graph.weighted}
    result = {name: np.full(count, -1, np.int16) for name, count in rows.items()}
    for record in reader:
        where = f"{path} line {reader.line_num}"
        layer, scheme = record["layer"], scheme_named_at(where, record["scheme"])
        if layer not in rows:
            raise UsageError(f"{where}: layer must be one of the network's, not {layer!r}")
        try:
            row = int(record["row"])
        except (TypeError, ValueError):
            raise UsageError(f"{where}: row must be a number, not {record['row']!r}") from None
        if not 0 <= row < rows[layer]:
            raise UsageError(f"{where}: row of {layer} must be from 0 to {rows[layer] - 1}, not {row}")
        if result[layer][row] >= 0:
            raise UsageError(f"{where}: row {row} of {layer} is there twice")
        result[layer][row] = scheme
    for layer, schemes in result.items():
        if (schemes < 0).any():
            raise UsageError(f"{path} must name every row, but row {int(np.argmin(schemes))} of {layer} is missing")
    return {name: schemes.astype(np.uint8) for name, schemes in result.items()}


def scheme_named_at(where: str, name: str | None) -> int:
    """The identifier of a scheme named in a file."""
    try:
        return scheme_named(name or "").ident
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
