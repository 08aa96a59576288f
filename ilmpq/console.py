"""What the terminal shows: progress with the time left, the tables, and messages; nothing but text where it is no terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .backends import Name
from .errors import printable
from .evaluate import Evaluation
from .graph import Graph, Node, Op
from .results import Results, accuracy_drop
from .rowquant import LayerQuant
from .schemes import BY_IDENT
from .verify import Verdict


class _Screen(Console):
    """A console whose reader may leave: work goes on without being shown."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Terminal:
    """A `Reporter` that draws to stderr; stdout stays free for results."""

    def __init__(self, quiet: bool) -> None:
        self.console = _Screen(stderr=True, highlight=False, quiet=quiet)
        self._progress = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Terminal:
        if not self._progress.disable:
            self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._progress.disable:
            self._progress.stop()

    def stage(self, title: str, total: float) -> None:
        if not self.console.is_terminal:
            self.console.print(f"{title} …")
        self._task = self._progress.add_task(title, total=total)

    def advance(self, steps: float = 1) -> None:
        if self._task is not None:
            self._progress.advance(self._task, steps)

    def note(self, text: str) -> None:
        self.console.print(f"note: {printable(text)}", style="yellow", markup=False)


def _name(text: str) -> Text:
    """A name from a file as a table's cell: shown as it is, whatever markup or control characters it holds."""
    return Text(printable(text).replace("\n", "\\n"))


def _mix(layer: LayerQuant) -> str:
    counts = {BY_IDENT[int(i)].name: int((layer.rows.scheme == i).sum()) for i in sorted(set(layer.rows.scheme))}
    return " ".join(f"{name}:{count}" for name, count in counts.items())


def layers_table(results: Results) -> Table:
    """Per layer: rows, mix, bits and signal-to-noise."""
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    table.add_column("layer")
    for title in ("rows", "weights"):
        table.add_column(title, justify="right")
    table.add_column("rows by scheme")
    for title in ("bits/weight", "act bits", "SNR dB"):
        table.add_column(title, justify="right")
    for name, layer in results.model.layers.items():
        weights = layer.rows.codes.size
        table.add_row(
            _name(name),
            str(layer.rows.rows),
            f"{weights:,}",
            _mix(layer),
            f"{layer.rows.bits() / weights:.2f}",
            str(layer.input_bits),
            f"{results.evaluation.snr_db[name]:.1f}",
        )
    return table


def verdicts_table(verdicts: Sequence[Verdict]) -> Table:
    """What `verify` found, one line per backend."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("backend", "images", "result", "top-1 same", "first difference"):
        table.add_column(title, justify="right" if title in ("images", "top-1 same") else "left")
    for v in verdicts:
        result = "exact" if v.exact else "ties only" if v.passed else "DIFFERS"
        if v.name == Name.INTEGER:
            result = "reference"
        elif v.exact is None:
            result = "not installed"
        agreement = "" if v.agreement_top1 is None else f"{v.agreement_top1:.2f} %"
        table.add_row(v.name, str(v.images), result, agreement, _name(str(v.first_difference or "")))
    return table


def totals(results: Results) -> str:
    """The lines below the table."""
    summary = results.summary()
    packed, full = summary["parameters_bytes_packed"], summary["parameters_bytes_float"]
    lines = []
    if results.job.validation is not None:
        lines += accuracy_lines(results.evaluation)
    else:
        lines.append(
            "accuracy     not measured: give labelled images with --val; SNR is that of the calibration images"
        )
    calibrated = "synthetic images" if results.job.images is None else "images"
    lines += [
        f"weights      {summary['average_weight_bits']:.2f} bits on average",
        f"parameters   {_bytes(full)} float32 → {_bytes(packed)} packed ({full / packed:.2f} × smaller)",
        f"calibration  {results.images_calibration} {calibrated}, {results.cpu_seconds:.1f} CPU s, "
        f"peak memory {summary['peak_memory_mb']:,.0f} MB",
        f"written to   {printable(str(results.path))}",
    ]
    return "\n".join(lines)


def accuracy_lines(evaluation: Evaluation) -> list[str]:
    """Accuracy before and after, and closeness to the float network."""
    drop = accuracy_drop(evaluation)
    lines = []
    if drop is not None:
        lines.append(
            f"accuracy     {evaluation.accuracy_float:.2f} % float → {evaluation.accuracy_quantized:.2f} % quantized "
            f"({round(-drop, 2) + 0.0:+.2f}), {evaluation.images:,} images"
        )
    lines.append(f"to float     KL {evaluation.kl_to_float:.4f} nats, same answer for {evaluation.agreement:.2f} %")
    return lines


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def network_table(rows: list[dict[str, Any]]) -> Table:
    """What `inspect` found, one line per node."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("node", "operation"):
        table.add_column(title)
    for title in ("output", "weights", "MACs"):
        table.add_column(title, justify="right")
    table.add_column("what will happen")
    for row in rows:
        shape = "×".join(map(str, row["shape"]))
        table.add_row(
            _name(row["node"]),
            row["operation"],
            shape,
            f"{row['weights']:,}" if row["weights"] else "",
            f"{row['macs']:,}" if row["macs"] else "",
            row["plan"],
        )
    return table


def operation(graph: Graph, node: Node) -> str:
    """An operation in words, for example `conv 3×3 /2 + residual, ReLU`."""
    text = node.op.value.replace("_", " ")
    if node.window is not None and node.op is not Op.SUBSAMPLE:
        text += f" {node.window.kernel[0]}×{node.window.kernel[1]}"
    if node.window is not None and max(node.window.stride) > 1:
        text += f" /{max(node.window.stride)}"
    if node.groups > 1:
        text += " depthwise" if node.groups == graph.shapes[node.inputs[0]][0] else f" {node.groups} groups"
    if node.skip is not None:
        text += " + residual"
    if node.relu:
        text += ", ReLU" if node.relu_max is None else f", ReLU{node.relu_max:g}"
    return text


def design_lines(design: Mapping[str, Any]) -> list[str]:
    """A design in words: arrays, what it costs, what networks do on it."""
    config, most = design["config"], design["usable"]
    costs = (("LUT", "lut"), ("FF", "ff"), ("DSP", "dsp"), ("BRAM36", "bram36"))
    lines = [
        f"device       {design['device']}, {design['clock_mhz']:g} MHz assumed",
        f"arrays       {design['arrays']}; tk {config['tk']}, tp {config['tp']}, {config['act_bits']}-bit activations",
        f"ratio        {short_ratio(design['ratio'])}",
        f"MAC/cycle    {design['mac_per_cycle']:,}",
        "resources    " + ", ".join(f"{design['resources'][key]:,g} of {most[key]:,g} {label}" for label, key in costs),
    ]
    for name, told in design["networks"].items():
        lines.append(
            f"{printable(name):<12} {told['frames_per_s']:,.1f} frames/s, {told['cycles']:,} cycles, "
            f"{100 * told['lanes_busy']:.1f} % of the lanes busy"
        )
    return lines


def short_ratio(text: str) -> str:
    """A ratio with two decimals.

    >>> short_ratio("pot3:77.272727272728,fix4:18.181818181818,fix8:4.545454545454")
    'pot3:77.27,fix4:18.18,fix8:4.55'
    """
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)


def front_table(front: Mapping[str, Any]) -> Table:
    """The points that were measured, the fastest first; a star marks the Pareto front."""
    title = f"{front['network']} on {front['device']} at {front['clock_mhz']:g} MHz (assumed)"
    table = Table(title=printable(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("arrays")
    for name in ("tk × tp", "act bits"):
        table.add_column(name, justify="right")
    table.add_column("ratio")
    for name in ("frames/s", "top-1 %", "drop"):
        table.add_column(name, justify="right")
    for p in front["points"]:
        if p["accuracy"] is not None:
            table.add_row(
                "*" if p["on_front"] else "",
                p["arrays"],
                f"{p['tk']} × {p['tp']}",
                str(p["act_bits"]),
                short_ratio(p["ratio"]).replace(",", ", "),  # where a narrow terminal may break it
                f"{p['frames_per_s']:,.1f}",
                f"{p['accuracy']:.2f}",
                f"{p['drop']:.2f}",
            )
    return table


def front_lines(front: Mapping[str, Any]) -> list[str]:
    """How far a search came, and the design that it was for."""
    images, float_accuracy = front["images"], front["accuracy_float"]
    lines = [
        f"measured     {front['measured']} of {len(front['points'])} designs on {images:,} images; "
        f"{float_accuracy:.2f} % in float",
    ]
    for p in front["points"]:
        if p["name"] == front["best"]:
            lines.append(
                f"best         {p['arrays']}, {p['act_bits']}-bit activations: {p['frames_per_s']:,.1f} frames/s, "
                f"{p['accuracy']:.2f} % (drop {p['drop']:.2f}, allowed {front['max_drop']:g})"
            )
    return lines


@dataclass(frozen=True)
class Fitted:
    """One table where the terminal is wide enough for it, or else several below each other."""

    whole: Table
    parts: Sequence[Table]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wanted = Measurement.get(console, options.update_width(sys.maxsize), self.whole).maximum
        if wanted <= options.max_width:
            yield self.whole
            return
        for number, part in enumerate(self.parts):
            yield from ("", part) if number else (part,)


SPEEDUPS = {
    "fixed8_dsp": "over\nFixed8",
    "fixed4_dsp1_ends8": "papers'\nbase",
    "fixed4_dsp4_ends8": "same,\npacked",
    "fixed4_fair": "fair\nFixed4",
}


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> Fitted:
    """Designs for one network on one chip."""
    first = rows[0]
    title = f"{first['network']} on {first['device']} at {first['clock_mhz']:g} MHz (assumed), {first['act_bits']}-bit activations"
    title += f", batch {first['batch']}" if first["batch"] > 1 else ""
    arrays = {"arrays; tk × tp": [f"{r['arrays']}; {r['tk']} × {r['tp']}" for r in rows]}
    costs = {
        "LUT": [f"{r['lut']:,}" for r in rows],
        "DSP": [str(r["dsp"]) for r in rows],
        "BRAM": [f"{r['bram36']:g}" for r in rows],
        "MAC/cycle": [f"{r['mac_per_cycle']:,}" for r in rows],
        "busy %": [f"{100 * r['lanes_busy']:.1f}" for r in rows],
        "GOP/s": [f"{r['gops']:,.1f}" for r in rows],
        "bits": [f"{r['average_weight_bits']:.2f}" for r in rows],
        "MB": [_three_digits(r["parameters_bytes"] / 1e6) for r in rows],
    }
    speed = {
        "ms": [_three_digits(r["latency_ms"]) for r in rows],
        "frames/s": [f"{r['frames_per_s']:,.1f}" for r in rows],
        "top-1 %": ["–" if r["accuracy"] is None else f"{r['accuracy']:.2f}" for r in rows],
    }
    for baseline, name in SPEEDUPS.items():
        speed[name] = [f"{r['speedup'][baseline]:.2f}×" if baseline in r["speedup"] else "–" for r in rows]

    def table(columns: Mapping[str, Sequence[str]], title: str = "") -> Table:
        found = Table(
            title=printable(title) or None, title_justify="left", box=None, pad_edge=False, header_style="bold"
        )
        found.add_column("design", vertical="bottom")
        for name in columns:
            found.add_column(
                name, justify="left" if columns is arrays or name in arrays else "right", vertical="bottom"
            )
        for design, *cells in zip((r["design"] for r in rows), *columns.values(), strict=True):
            found.add_row(design, *cells)
        return found

    return Fitted(table(arrays | costs | speed, title), [table(speed, title), table(costs), table(arrays)])


def _three_digits(value: float) -> str:
    """
    >>> _three_digits(0.02357), _three_digits(11.7034)
    ('0.0236', '11.70')
    """
    return f"{value:.2f}" if value >= 1 else f"{value:#.3g}"


def fair_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The fair comparison in words."""
    return [
        f"{r['device']}, {r['act_bits']} bits: {r['design']} is {r['speedup']['fixed4_fair']:.2f} × as fast as the fair Fixed4, "
        "which uses DSPs and LUTs too"
        for r in rows
        if r["design"] in ("mixed", "mixed_pot3") and "fixed4_fair" in r["speedup"]
    ]


def float_note(told: Mapping[str, Any]) -> str:
    """What accuracies are to be held against."""
    return f"Accuracy is the integer program's on {told['images']:,} images; the float network's is {told['accuracy_float']:.2f} %."


def model_note(errors: Mapping[str, Mapping[str, float]]) -> str:
    """What the table assumes."""
    whole, around = ([100 * errors[cost][key] for key in ("mean", "worst")] for cost in ("lut", "lut around"))
    return (
        f"Resources are from a model: its LUTs are {whole[0]:.1f} % off on average, {whole[1]:.1f} % at worst, on "
        f"{errors['lut']['points']:.0f} synthesised engines it was not fitted to ({around[0]:.1f} % and {around[1]:.1f} % of "
        "what is around the arrays, which are counted). Cycles are from the cycle model; the clock is an assumption."
    )
