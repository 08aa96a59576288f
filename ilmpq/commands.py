"""The commands of `ilmpq`: options to pipeline, results to stdout. No logic of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import __version__, commands_compare, commands_search
from .arguments import (
    ActBits,
    Arch,
    Calib,
    CalibImages,
    Device,
    InputShape,
    Json,
    Mean,
    Model,
    Preset,
    Quiet,
    RatioOption,
    Run,
    Schemes,
    Std,
    Threads,
    Val,
    ValImages,
    input_options,
    print_json,
    print_table,
    use_threads,
)
from .errors import Interrupted, UsageError, printable
from .space import DEFAULT_SCHEMES

if TYPE_CHECKING:
    from .backends import Name, Opener

app = typer.Typer(
    help="Turn a trained CNN into a network whose every row has its own number scheme.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def quantize(
    model: Model,
    out: Annotated[Path | None, typer.Option(help="RUN folder; default runs/NAME")] = None,
    calib: Calib = None,
    calib_images: CalibImages = None,
    val: Val = None,
    val_images: ValImages = None,
    arch: Arch = None,
    input_shape: InputShape = None,
    preset: Preset = None,
    mean: Mean = None,
    std: Std = None,
    ratio: RatioOption = None,
    act_bits: Annotated[
        str | None, typer.Option(help="activation bits 4…8; per layer: 4,fc=8,layer3.*=5; default 4, or --geometry's")
    ] = None,
    device: Device = None,
    geometry: Annotated[Path | None, typer.Option(help="a geometry.json that `ilmpq search` made: its ratio")] = None,
    schemes: Schemes = DEFAULT_SCHEMES,
    effort: Annotated[str, typer.Option(help="fast, normal or high")] = "normal",
    scales: Annotated[
        str, typer.Option(help="free, or power-of-two: requantization is shifts alone, exact in every executor")
    ] = "free",
    assign: Annotated[
        str | None, typer.Option(help="exact (default), cluster, hessian, output-error, variance or random")
    ] = None,
    assignment: Annotated[Path | None, typer.Option(help="a rows.csv with the scheme of every row")] = None,
    budget: Annotated[str | None, typer.Option(help="avg-bits=4.3: free ratio per layer under average bits")] = None,
    granularity: Annotated[str, typer.Option(help="with --budget: row or layer")] = "row",
    max_drop: Annotated[float | None, typer.Option(help="exit code 4 if accuracy drops by more points")] = None,
    seed: Annotated[int, typer.Option(help="same seed, same result")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run")] = False,
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Quantize a trained network and write a RUN folder."""
    from . import pipeline
    from .assign import Rule
    from .console import Terminal, layers_table, totals
    from .designfile import load_design
    from .options import AUTO, DEFAULT_RATIO, Effort, Options, check_exclusive, choice
    from .runfolder import RunFolder
    from .scales import Scales

    use_threads(threads)
    choices = {
        "--ratio": ratio,
        "--assign": assign,
        "--assignment": None if assignment is None else str(assignment),
        "--budget": budget,
        "--device": device,
        "--geometry": None if geometry is None else str(geometry),
    }
    check_exclusive({flag: value for flag, value in choices.items() if value is not None})
    usual = DEFAULT_RATIO if device is None and geometry is None else AUTO
    options = Options(
        **input_options(arch, input_shape, preset, mean, std),
        calib=calib,
        calib_images=calib_images,
        val=val,
        val_images=val_images,
        ratio=ratio or usual,
        device=device,
        geometry=None if geometry is None else str(geometry),
        schemes=schemes,
        budget=budget,
        granularity=granularity,
        act_bits=act_bits or (str(load_design(geometry).geometry.act_bits) if geometry else "4"),
        effort=choice(Effort, "--effort", effort),
        scales=choice(Scales, "--scales", scales),
        assign=Rule.EXACT if assign is None else choice(Rule, "--assign", assign),
        assignment=None if assignment is None else str(assignment),
        max_drop=max_drop,
        seed=seed,
    )
    if schemes != DEFAULT_SCHEMES and (device is None or geometry is not None or options.ratio != AUTO):
        raise UsageError("--schemes needs --device and --ratio auto: it says which arrays are searched through")
    folder = out or Path("runs") / Path(model).stem
    try:
        with Terminal(quiet) as terminal:
            results = pipeline.quantize(model, folder, options, resume, terminal)
    except KeyboardInterrupt:
        if RunFolder(folder).resumable:
            raise Interrupted("finished layers are kept; the same command with --resume goes on") from None
        raise
    if as_json:
        print_json(results.summary())
    else:
        print_table(layers_table(results))
        print("\n" + totals(results))


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="a model file, an architecture's name, or digits")],
    arch: Arch = None,
    input_shape: InputShape = None,
    ratio: RatioOption = None,
    act_bits: ActBits = "4",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what was recognised and what will happen to it, before any work."""
    from .console import network_table
    from .inspection import inspect as look
    from .options import DEFAULT_RATIO, Options

    given = input_options(arch, input_shape, None, None, None)
    options = Options(**given, ratio=DEFAULT_RATIO if ratio is None else ratio, act_bits=act_bits)
    found = look(model, options)
    if as_json:
        print_json(found)
        return
    shape = "×".join(map(str, found["input_shape"]))
    print(f"{printable(found['model'])}: {found['architecture']}, input {shape}, {found['classes']} classes\n")
    if not quiet:
        print_table(network_table(found["nodes"]))
        print()
    print(
        f"{found['layers']} layers, {found['parameters']:,} parameters, {found['macs']:,} MACs; "
        f"{found['calibration_images']} calibration images by default"
    )


@app.command()
def evaluate(
    run: Run,
    val: Val = None,
    val_images: ValImages = None,
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a RUN folder's accuracy and closeness to the float network; the figures go into its summary.json."""
    from .console import Terminal, accuracy_lines
    from .pipeline import evaluate_run

    use_threads(threads)
    with Terminal(quiet) as terminal:
        evaluation, summary = evaluate_run(run, val, val_images, terminal)
    if as_json:
        print_json(summary)
    else:
        print("\n".join(accuracy_lines(evaluation)))
        worst = sorted(evaluation.snr_db.items(), key=lambda item: item[1])[:5]
        print("noisiest     " + ", ".join(f"{printable(name)} {value:.1f} dB" for name, value in worst))


@app.command()
def verify(
    run: Run,
    backend: Annotated[
        str | None,
        typer.Option(
            help="only these, with commas: naive,onnxruntime,qonnx,hls,rtl; default: all that are there but rtl"
        ),
    ] = None,
    val: Annotated[str | None, typer.Option(help="real images; default: those that the run was made with")] = None,
    images: Annotated[int, typer.Option(help="at most so many inputs; slower backends take fewer")] = 256,
    seed: Annotated[int, typer.Option(help="of the random inputs")] = 0,
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prove that other executors compute the same integers; exit code 7 if one does not."""
    from .backends import Name
    from .console import Terminal, verdicts_table
    from .options import choice
    from .verify import check, verify_run

    use_threads(threads)
    names = None if backend is None else [choice(Name, "--backend", part.strip()) for part in backend.split(",")]
    with Terminal(quiet) as terminal:
        verdicts = verify_run(run, val, images, names, seed, terminal, _engines())
    if as_json:
        print_json({"backends": [v.to_dict() for v in verdicts]})
    else:
        print_table(verdicts_table(verdicts))
    check(verdicts)


def _engines() -> dict[Name, Opener]:
    """The simulated engines that can be built here."""
    from accel.hls import missing
    from accel.verilated import available

    from .backends import Name

    found: dict[Name, Opener] = {}
    if not missing():
        from accel.engine.simulate import hls_backend

        found[Name.HLS] = hls_backend
    if available():
        from accel.engine.simulate import rtl_backend

        found[Name.RTL] = rtl_backend
    return found


@app.command()
def export(
    run: Run,
    form: Annotated[str, typer.Option("--format", help="qdq (standard ONNX) or qonnx (Quant nodes)")],
    out: Annotated[Path | None, typer.Option(help="file to write; default RUN/export/model.FORMAT.onnx")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the quantized network as an ONNX file for other tools."""
    from .export import Format, describe, export_bytes, file_name
    from .files import check_target, write_atomically
    from .options import choice
    from .runfolder import EXPORTS, RunFolder

    chosen = choice(Format, "--format", form)
    folder = RunFolder.open(run)
    path = run / EXPORTS / file_name(chosen) if out is None else out
    check_target(path, reads=folder.results())
    program = folder.program()
    data = export_bytes(program, chosen)
    write_atomically(path, data)
    if as_json:
        print_json({"path": str(path), "format": chosen.value, "bytes": len(data)})
    elif quiet:
        print(printable(str(path)))
    else:
        print(f"{printable(str(path))}: {len(data):,} bytes, {describe(chosen)}")


@app.command()
def doctor(as_json: Json = False, quiet: Quiet = False) -> None:
    """Show which tools are there, and what works without the missing ones."""
    from dataclasses import asdict

    from .doctor import examine

    findings = examine()
    missing = [f for f in findings if f.needed and f.version is None]
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        for f in findings:
            if not (quiet and f.version):
                print(f"{f.name:<14} {f.version or 'missing':<12} {'' if f.version else 'without it: no ' + f.use}")
    if missing:
        raise SystemExit(6)


app.command()(commands_search.search)
app.command()(commands_compare.compare)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="print the version and exit", is_eager=True)] = False,
) -> None:
    if show:
        print(f"ilmpq {__version__}")
        raise typer.Exit
