"""`search`: the fastest design of a chip, also one that keeps the accuracy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .arguments import (
    Arch,
    Calib,
    CalibImages,
    Device,
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
from .errors import Interrupted, UsageError, printable

if TYPE_CHECKING:
    from .device import Part
    from .front import Front
    from .options import Options
    from .points import Question
    from .reporter import Reporter


def search(
    models: Annotated[
        list[str], typer.Argument(help="model files or architectures' names: one design serves all of them")
    ],
    device: Device = None,
    schemes: Annotated[
        str | None,
        typer.Option(
            help="arrays that a design may have, as pot3,fix4@dsp,fix4@lut,fix8@dsp; default: the mission's three, "
            "and with --max-drop or --front also with PoT3, and Fixed4 and Fixed8 alone"
        ),
    ] = None,
    act_bits: Annotated[
        str | None,
        typer.Option(help="activation bits, 4 to 8; default 4. With --max-drop or --front several; default: all"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="file to write, default geometry.json; with --max-drop or --front a folder, default runs/NAME-front"
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="find the fastest design whose accuracy drops by no more points; else exit code 4"),
    ] = None,
    front: Annotated[
        bool, typer.Option("--front", help="measure every design: the Pareto front of accuracy and frames per second")
    ] = False,
    val: Val = None,
    val_images: ValImages = None,
    calib: Calib = None,
    calib_images: CalibImages = None,
    effort: MeasuringEffort = None,
    time_budget: Annotated[
        str | None, typer.Option(help="begin no design after so long: seconds, or as 10m or 2h")
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
    """Find the design that computes the networks fastest on a chip, and write it as geometry.json.

    With --max-drop or --front accuracy counts too: designs are quantized and measured, the fastest first.
    """
    from .device import part_named
    from .options import Effort, Options, choice
    from .points import SCHEMES, Question
    from .space import DEFAULT_SCHEMES

    part = part_named(_needed(device))
    asked = {
        "--max-drop": max_drop,
        "--front": front or None,
        "--effort": effort,
        "--time-budget": time_budget,
        "--resume": resume or None,
        "--val": val,
        "--val-images": val_images,
        "--calib": calib,
        "--calib-images": calib_images,
        "--seed": seed,
        "--threads": threads,
        "--preset": preset,
        "--mean": mean,
        "--std": std,
    }
    if not _measures(models, [flag for flag, value in asked.items() if value is not None]):
        if "," in (act_bits or ""):
            raise UsageError(
                f"--act-bits must be one number from 4 to 8, several only with --max-drop or --front, not {act_bits!r}"
            )
        rules = DEFAULT_SCHEMES if schemes is None else schemes
        _search(
            models,
            part,
            rules,
            width_of(act_bits or "4"),
            out or Path("geometry.json"),
            arch,
            input_shape,
            as_json,
            quiet,
        )
        return
    bits = (int(b) for b in "45678") if act_bits is None else (width_of(b) for b in act_bits.split(","))
    question = Question(
        part,
        SCHEMES if schemes is None else (schemes,),
        tuple(sorted(set(bits))),
        front,
        None if time_budget is None else _seconds(time_budget),
    )
    options = Options(
        **input_options(arch, input_shape, preset, mean, std),
        calib=calib,
        calib_images=calib_images,
        val=val,
        val_images=val_images,
        device=part.name,
        schemes=question.schemes[0],
        effort=choice(Effort, "--effort", effort or "normal"),
        max_drop=max_drop,
        seed=seed or 0,
    )
    use_threads(threads)
    folder = out or Path("runs") / f"{Path(models[0]).stem}-front"
    _explore(models[0], folder, options, question, resume, as_json, quiet)


def _measures(models: list[str], flags: list[str]) -> bool:
    """Whether accuracy is to be measured; flags that would be ignored are refused."""
    if not flags:
        return False
    if not {"--max-drop", "--front"} & set(flags):
        raise UsageError(f"{flags[0]} needs --max-drop or --front, which say what is to be measured")
    if len(models) > 1:
        raise UsageError(f"accuracy is measured for one network, not for {len(models)}: give one model")
    if "--val" not in flags and models != ["digits"]:
        raise UsageError(f"{flags[0]} needs labelled images: give them with --val")
    return True


def _search(
    models: list[str],
    part: Part,
    schemes: str,
    act_bits: int,
    out: Path,
    arch: str | None,
    input_shape: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    from .console import Terminal, design_lines
    from .designfile import describe, save_design
    from .files import check_target
    from .search import Found, Goal, fastest
    from .space import Rules

    check_target(out, reads=[Path(model) for model in models])
    rules = Rules.parse(schemes, act_bits)
    networks = {name: shapes for model in models for name, shapes in [shapes_named(model, arch, input_shape)]}
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


def _explore(
    model: str, folder: Path, options: Options, question: Question, resume: bool, as_json: bool, quiet: bool
) -> None:
    from .console import Terminal, front_lines, front_table
    from .front import check_answer, explore
    from .runfolder import RunFolder

    try:
        with Terminal(quiet) as terminal:
            found = explore(model, folder, options, question, resume, terminal)
            if question.whole:
                _draw(found, folder, terminal)
    except KeyboardInterrupt:
        if RunFolder(folder).resumable:
            raise Interrupted(f"what is measured is kept in {folder}; the same command with --resume goes on") from None
        raise
    told = found.to_dict()
    if as_json:
        print_json(told)
    elif quiet:
        print(printable(str(folder)))
    else:
        print_table(front_table(told))
        print()
        print("\n".join(front_lines(told)))
        print(f"written to   {printable(str(folder))}")
    check_answer(found, folder)


def _draw(found: Front, folder: Path, reporter: Reporter) -> None:
    """The picture, for which a package may be missing."""
    from .front import PICTURE

    try:
        from .plot import draw_front
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        reporter.note(f"no {PICTURE}: the package matplotlib is missing (pip install matplotlib)")
        return
    draw_front(folder / PICTURE, found.to_dict())


def _needed(device: str | None) -> str:
    if device is None:
        raise UsageError("--device must be given: xc7z020 (PYNQ-Z1, PYNQ-Z2, ZedBoard) or xc7z045 (ZC706)")
    return device


def _seconds(text: str) -> float:
    """A time of `90`, `90s`, `10m` or `2h`."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smh]?)", text.strip(), re.ASCII)
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if seconds <= 0:
        raise UsageError(f"--time-budget must be a time like 90 (seconds), 10m or 2h, not {text!r}")
    return seconds
