"""`compare`: the fastest mixed design beside its rivals, with accuracies where there are labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import (
    Arch,
    Calib,
    CalibImages,
    InputShape,
    Json,
    KeepMeasured,
    Mean,
    MeasuringEffort,
    MeasuringSeed,
    Preset,
    Quiet,
    Std,
    Threads,
    Val,
    ValImages,
    input_options,
    print_json,
    print_table,
    shapes_named,
    use_threads,
    width_of,
)
from .errors import Interrupted, UsageError

if TYPE_CHECKING:
    from .compare import RunAccuracy
    from .measuring import Measuring
    from .reporter import Reporter

MOST_BATCH = 16


def compare(
    model: Annotated[str, typer.Argument(help="a model file, a RUN folder, or an architecture's name")],
    device: Annotated[
        list[str] | None, typer.Option(help="xc7z020 or xc7z045; may be given twice; default: both")
    ] = None,
    act_bits: Annotated[str, typer.Option(help="activation bits, 4 to 8; several with commas")] = "4",
    batch: Annotated[int, typer.Option(help="images of a program, 1 to 16: late layers share their weights")] = 1,
    csv: Annotated[Path | None, typer.Option(help="write the rows as CSV")] = None,
    png: Annotated[Path | None, typer.Option(help="draw frames per second (needs matplotlib)")] = None,
    val: Val = None,
    val_images: ValImages = None,
    calib: Calib = None,
    calib_images: CalibImages = None,
    effort: MeasuringEffort = None,
    out: Annotated[
        Path | None, typer.Option(help="with --val: folder for what is measured; default runs/NAME-compare")
    ] = None,
    resume: KeepMeasured = False,
    seed: MeasuringSeed = None,
    threads: Threads = None,
    arch: Arch = None,
    input_shape: InputShape = None,
    preset: Preset = None,
    mean: Mean = None,
    std: Std = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Set mixed rows beside uniform fixed-point: each the best design that the same search finds under the same limits.

    With --val every mix of rows is quantized and measured, too.
    """
    from .compare import DESIGNS, compare, model_errors, of_run, speedups
    from .console import Terminal
    from .device import PARTS, part_named
    from .files import check_target
    from .options import Effort, Options, choice
    from .runfolder import RunFolder

    parts = [part_named(name) for name in dict.fromkeys(device or PARTS)]
    bits = list(dict.fromkeys(width_of(part) for part in act_bits.split(",")))
    if not 1 <= batch <= MOST_BATCH:
        raise UsageError(f"--batch must be from 1 to {MOST_BATCH}, not {batch}")
    reads = [Path(name) for name in (model, val, calib) if name is not None] + [*RunFolder(Path(model)).results()]
    for option, path in (("--csv", csv), ("--png", png)):
        if path is not None:
            check_target(path, option, reads)
    if csv is not None and png is not None and csv.resolve() == png.resolve():
        raise UsageError(f"--csv and --png must be two files, not {csv} for both")
    run = of_run(Path(model))
    of_measuring = {
        "--val": val,
        "--val-images": val_images,
        "--calib": calib,
        "--calib-images": calib_images,
        "--effort": effort,
        "--out": out,
        "--resume": resume or None,
        "--seed": seed,
        "--threads": threads,
        "--preset": preset,
        "--mean": mean,
        "--std": std,
    }
    _check_given(run, {"--arch": arch, "--input-shape": input_shape}, of_measuring)
    measuring: Measuring | None = None
    if val is not None:
        from .measuring import Measuring

        use_threads(threads)
        options = Options(
            **input_options(arch, input_shape, preset, mean, std),
            calib=calib,
            calib_images=calib_images,
            val=val,
            val_images=val_images,
            effort=choice(Effort, "--effort", effort or "normal"),
            seed=seed or 0,
        )
        measuring = Measuring.open(model, out or Path("runs") / f"{Path(model).stem}-compare", options)
    if measuring is not None:
        from .workload import shapes_of

        name, shapes = measuring.network, shapes_of(measuring.job.graph)
    else:
        name, shapes = (run.name, run.shapes) if run else shapes_named(model, arch, input_shape)
    told: dict[str, Any] = {"accuracy_float": run and run.accuracy_float, "images": run and run.images}
    asked = {"device": [part.name for part in parts], "act_bits": bits, "batch": batch}
    with Terminal(quiet) as terminal, _begun(measuring, asked, resume, terminal):
        terminal.stage("search", len(parts) * sum(design.exists(count) for count in bits for design in DESIGNS))
        rows = compare({name: shapes}, parts, bits, batch=batch, advance=terminal.advance, refuse=terminal.note)
        if measuring is not None:
            from .rivals import measure_rows

            rows, told["accuracy_float"] = measure_rows(rows, measuring, terminal)
            told["images"] = len(measuring.validation)
        found = speedups([run.with_accuracy(row.to_dict()) if run else row.to_dict() for row in rows])
        if run and (why := run.why_nowhere(found)):
            terminal.note(why)
    try:
        _print(found, model_errors(), told, as_json, quiet)
    finally:  # also where the reader of stdout has left
        _write(found, csv, png)


def _check_given(run: RunAccuracy | None, own: Mapping[str, Any], of_measuring: Mapping[str, Any]) -> None:
    """Refuse flags that would be ignored."""
    measured = _given(of_measuring)
    if run and (flags := _given(own)):
        raise UsageError(f"{flags[0]} must not be given with a RUN folder, which has its own")
    if run and measured:
        raise UsageError(
            f"{measured[0]} must not be given with a RUN folder, whose accuracy is known for its own rows: "
            "give the model itself to measure every design's"
        )
    if measured and "--val" not in measured:
        raise UsageError(f"{measured[0]} needs --val, labelled images on which accuracy is measured")


def _given(options: Mapping[str, Any]) -> list[str]:
    return [flag for flag, value in options.items() if value is not None]


@contextmanager
def _begun(measuring: Measuring | None, asked: Mapping[str, Any], resume: bool, reporter: Reporter) -> Iterator[None]:
    """Hold the folder for what is measured, if anything is."""
    if measuring is None:
        yield
        return
    from .rivals import ASSIGNMENTS

    try:
        with measuring.begin(asked, (ASSIGNMENTS,), resume, reporter):
            yield
    except KeyboardInterrupt:
        if measuring.resumable:
            raise Interrupted(
                f"what is measured is kept in {measuring.folder}; the same command with --resume goes on"
            ) from None
        raise


def _print(
    rows: list[dict[str, Any]], errors: dict[str, Any], told: Mapping[str, Any], as_json: bool, quiet: bool
) -> None:
    from .console import comparison_table, fair_notes, float_note, model_note

    if as_json:
        print_json({"rows": rows, **told, "resource_model": errors})
        return
    if not quiet and (notes := fair_notes(rows)):
        print("\n".join(notes), end="\n\n")
    for device, bits in dict.fromkeys((r["device"], r["act_bits"]) for r in rows):
        print_table(comparison_table([r for r in rows if (r["device"], r["act_bits"]) == (device, bits)]))
        print()
    if not quiet:
        if any(r["accuracy"] is not None for r in rows):
            print(float_note(told))
        print(model_note(errors))


def _write(rows: list[dict[str, Any]], csv: Path | None, png: Path | None) -> None:
    from .compare import write_csv
    from .files import given_by

    if csv is not None:
        with given_by("--csv"):
            write_csv(csv, rows)
    if png is not None:
        from .plot import draw_comparison

        with given_by("--png"):
            draw_comparison(png, rows)
