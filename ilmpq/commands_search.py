"""The commands that weigh designs: `search` finds the fastest, `compare` sets it beside its rivals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .arguments import Arch, Device, InputShape, Json, Quiet, Schemes, print_json, print_table
from .errors import UsageError, printable
from .space import DEFAULT_SCHEMES

if TYPE_CHECKING:
    from .workload import Shapes

Bits = Annotated[int, typer.Option(help="activation bits, 4 to 8")]


def search(
    models: Annotated[
        list[str], typer.Argument(help="model files or architectures' names: one design serves all of them")
    ],
    device: Device = None,
    schemes: Schemes = DEFAULT_SCHEMES,
    act_bits: Bits = 4,
    out: Annotated[Path, typer.Option(help="file to write")] = Path("geometry.json"),
    arch: Arch = None,
    input_shape: InputShape = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the design that computes the networks fastest on a chip, and write it as geometry.json."""
    from .console import Terminal, design_lines
    from .designfile import describe, save_design
    from .device import part_named
    from .search import Found, Goal, fastest
    from .space import Rules

    part = part_named(_needed(device))
    rules = Rules.parse(schemes, act_bits)
    networks = {name: shapes for model in models for name, shapes in [_shapes(model, arch, input_shape)]}
    if len(networks) < len(models):
        raise UsageError(f"networks must be different, not {', '.join(models)}")
    with Terminal(quiet) as terminal:
        terminal.stage("search", 1)

        def keep(found: Found) -> None:
            save_design(out, describe(found, part, schemes, rules))

        found = fastest(Goal(networks, part, rules), better=keep)
        terminal.advance()
    described = describe(found, part, schemes, rules)
    save_design(out, described)
    if as_json:
        print_json(described)
    elif quiet:
        print(printable(str(out)))
    else:
        print("\n".join(design_lines(described)))
        print(f"written to   {printable(str(out))}")


def compare(
    model: Annotated[str, typer.Argument(help="a model file, a RUN folder, or an architecture's name")],
    device: Annotated[
        list[str] | None, typer.Option(help="xc7z020 or xc7z045; may be given twice; default: both")
    ] = None,
    act_bits: Annotated[str, typer.Option(help="activation bits, 4 to 8; several with commas")] = "4",
    csv: Annotated[Path | None, typer.Option(help="write the rows as CSV")] = None,
    png: Annotated[Path | None, typer.Option(help="draw frames per second (needs matplotlib)")] = None,
    arch: Arch = None,
    input_shape: InputShape = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Set mixed rows beside uniform fixed-point: each the best design that the same search finds under the same limits."""
    from .compare import DESIGNS, compare, model_errors, of_run, speedups, write_csv
    from .console import Terminal, comparison_notes, comparison_table
    from .device import PARTS, part_named

    parts = [part_named(name) for name in dict.fromkeys(device or PARTS)]
    bits = [_bits(part) for part in act_bits.split(",")]
    run = of_run(Path(model))
    name, shapes = (run.name, run.shapes) if run else _shapes(model, arch, input_shape)
    with Terminal(quiet) as terminal:
        terminal.stage("search", len(parts) * sum(design.exists(count) for count in bits for design in DESIGNS))
        rows = compare({name: shapes}, parts, bits, advance=terminal.advance, refuse=terminal.note)
    found = speedups([run.with_accuracy(row.to_dict()) if run else row.to_dict() for row in rows])
    if csv is not None:
        write_csv(csv, found)
    if png is not None:
        from .plot import draw_comparison

        draw_comparison(png, found)
    errors = model_errors()
    if as_json:
        print_json({"rows": found, "resource_model": errors})
        return
    for part in parts:
        for count in bits:
            print_table(comparison_table([r for r in found if (r["device"], r["act_bits"]) == (part.name, count)]))
            print()
    if not quiet:
        print("\n".join(comparison_notes(found, errors)))


def _needed(device: str | None) -> str:
    if device is None:
        raise UsageError("--device must be given: xc7z020 (PYNQ-Z1, PYNQ-Z2, ZedBoard) or xc7z045 (ZC706)")
    return device


def _bits(text: str) -> int:
    if text.strip() not in {"4", "5", "6", "7", "8"}:
        raise UsageError(f"--act-bits must be from 4 to 8, several with commas, not {text.strip()!r}")
    return int(text)


def _shapes(model: str, arch: str | None, input_shape: str | None) -> tuple[str, Shapes]:
    """A network's name and shapes."""
    from .inspection import network_of
    from .options import Options
    from .preprocess import parse_shape
    from .workload import shapes_of

    options = Options(arch=arch, input_shape=None if input_shape is None else parse_shape(input_shape))
    graph, _ = network_of(model, options)
    return Path(model).stem if Path(model).suffix else model, shapes_of(graph)
