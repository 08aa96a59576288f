"""What mixed rows gain over uniform fixed-point: every design is the best that one search finds under its own restrictions.

Three baselines stand side by side: Fixed8 on DSPs alone; Fixed4 on DSPs alone, at 1, 2 and 4 products a DSP, which the
papers compare with (there with 8-bit weights in the first and the last layer); and Fixed4 on DSPs and in LUTs, the fair one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .device import Part
from .errors import DoesNotFit, ModelError, UsageError
from .files import PathKind, path_kind, write_atomically
from .geometry import MOST_BITS_OF_FOUR
from .ratio import Ratio
from .resources import errors, summary
from .runfolder import SUMMARY, RunFolder
from .schemes import scheme_named
from .search import Found, Goal, fastest, rows_of
from .space import Rules, Space, space
from .strict import percent, real, whole
from .workload import Shapes, shapes_of

if TYPE_CHECKING:
    from .measuring import Accuracy

ROW_BYTES = 9  # of a row's scheme, multiplier and bias
BASELINES = ("fixed8_dsp", "fixed4_dsp1_ends8", "fixed4_dsp4_ends8", "fixed4_fair")


@dataclass(frozen=True)
class Design:
    """A row of the table: its name in JSON, what it is in words, and what its arrays may be."""

    name: str
    title: str
    kinds: str
    uniform: str | None = None
    ends: str | None = None

    def rules(self, act_bits: int) -> Rules:
        return Rules.parse(self.kinds, act_bits, uniform=self.uniform, ends=self.ends)

    def exists(self, act_bits: int) -> bool:
        """Four products take a DSP's width up to so many activation bits."""
        return "dsp4" not in self.name or act_bits <= MOST_BITS_OF_FOUR


def _fixed4(products: int) -> tuple[Design, Design]:
    four, eight = f"fix4@dsp{'' if products == 4 else products}", f"fix8@dsp{1 if products == 1 else ''}"
    what = f"Fixed4, DSPs only, {products} product{'s' if products > 1 else ''} a DSP"
    return (
        Design(f"fixed4_dsp{products}", what, four, "fix4"),
        Design(
            f"fixed4_dsp{products}_ends8", f"{what}, first and last layer Fixed8", f"{four}, {eight}", "fix4", "fix8"
        ),
    )


DESIGNS = (
    Design("fixed8_dsp", "Fixed8, DSPs only, 2 products a DSP", "fix8@dsp", "fix8"),
    *_fixed4(1),
    *_fixed4(2),
    *_fixed4(4),
    Design("fixed4_fair", "Fixed4, DSPs and LUTs: the fair rival", "fix4@dsp, fix4@lut", "fix4"),
    Design("pot4", "PoT4, LUTs only", "pot4@lut", "pot4"),
    Design("mixed", "PoT4, Fixed4, Fixed8: the papers' mix", "pot4@lut, fix4@dsp, fix8@dsp"),
    Design("mixed_pot3", "PoT3, Fixed4, Fixed8", "pot3@lut, fix4@dsp, fix8@dsp"),
)


@dataclass(frozen=True)
class Row:
    """One design for one network on one chip."""

    network: str
    shapes: Shapes
    part: Part
    design: Design
    found: Found
    accuracy: float | None = None
    kl: float | None = None

    def with_accuracy(self, found: Accuracy) -> Row:
        return replace(self, accuracy=found.after, kl=found.kl)

    @property
    def act_bits(self) -> int:
        return self.found.config.geometry.act_bits

    @property
    def rules(self) -> Rules:
        return self.design.rules(self.act_bits)

    @property
    def ratio(self) -> Ratio:
        """Of every layer, or of those between the first and the last."""
        return self.rules.ratio(self.found.config.geometry)

    def to_dict(self) -> dict[str, Any]:
        """As `compare --json` has it."""
        config, frame = self.found.config, self.found.frames[self.network]
        rules = self.rules
        images = self.found.images
        seconds = frame.cycles / (self.part.assumed_clock_mhz * 1e6)  # until all of them are done
        cost = self.found.cost
        bits, size = weights(self.shapes, rows_of(rules, self.shapes, config))
        return {
            "network": self.network,
            "device": self.part.name,
            "design": self.design.name,
            "arrays": ", ".join(map(str, config.geometry.arrays)),
            "tk": config.geometry.tk,
            "tp": config.geometry.tp,
            "act_bits": self.act_bits,
            "ratio": str(self.ratio),
            "ends": rules.ends,
            "clock_mhz": self.part.assumed_clock_mhz,
            "lut": round(cost.lut),
            "ff": round(cost.ff),
            "dsp": round(cost.dsp),
            "bram36": round(float(cost.bram36), 1),
            "mac_per_cycle": config.geometry.macs_per_cycle,
            "lanes_busy": round(frame.busy(convolutions_only=True), 4),
            "cycles": round(frame.cycles),
            "latency_ms": round(1e3 * seconds, 6),
            "batch": images,
            "frames_per_s": round(images / seconds, 2),
            "gops": round(2e-9 * images * sum(self.shapes.macs.values()) / seconds, 2),
            "average_weight_bits": round(bits, 3),
            "parameters_bytes": size,
            "accuracy": self.accuracy,
            "kl_to_float": self.kl,
            "resources_from": "model",
            "cycles_from": "model",
            "config": config.to_dict(),
        }


def compare(
    networks: Mapping[str, Shapes],
    parts: Sequence[Part],
    act_bits: Sequence[int] = (4,),
    designs: Sequence[Design] = DESIGNS,
    batch: int = 1,
    advance: Callable[[], None] = lambda: None,
    refuse: Callable[[str], None] = lambda why: None,
) -> list[Row]:
    """Every design's best for every network on every chip; those that cannot run one are left out, and `refuse` is told why.

    `DoesNotFit` where none is left.
    """
    rows: list[Row] = []
    refused: list[str] = []
    for part in parts:
        for bits in act_bits:
            for design in designs:
                if not design.exists(bits):
                    continue
                rules = design.rules(bits)
                everywhere: Space | None = None
                for name, shapes in networks.items():
                    try:
                        everywhere = everywhere or space(part, rules)
                        found = fastest(Goal({name: shapes}, part, rules, batch), everywhere)
                        rows.append(Row(name, shapes, part, design, found))
                    except (DoesNotFit, UsageError) as why:
                        refused.append(f"{design.name} is left out: {why}")
                        refuse(refused[-1])
                    advance()
    if refused and not rows:
        raise DoesNotFit("; ".join(refused))
    return rows


def weights(shapes: Shapes, rows: Mapping[str, Mapping[str, int]]) -> tuple[float, int]:
    """Bits of a weight on average, and bytes of all parameters: packed codes, and what every row has beside them."""
    bits = weights_ = all_rows = 0
    for name, of_scheme in rows.items():
        columns = shapes.columns[name]
        for scheme, count in of_scheme.items():
            bits += count * columns * scheme_named(scheme).bits
            weights_ += count * columns
            all_rows += count
    return bits / weights_, -(-bits // 8) + ROW_BYTES * all_rows


def speedups(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row with how many times faster it is than every baseline of its network, chip and activation bits."""

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["network"], row["device"], row["act_bits"], row["batch"]

    times = {(key(row), row["design"]): row["latency_ms"] for row in rows}
    return [
        row
        | {
            "speedup": {
                b: round(times[key(row), b] / row["latency_ms"], 3) for b in BASELINES if (key(row), b) in times
            }
        }
        for row in rows
    ]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows as CSV: a column for each figure, and one for each speed-up."""
    figures = [key for key in rows[0] if key not in ("config", "speedup")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*figures, *(f"speedup_over_{b}" for b in BASELINES)])
    for row in rows:
        writer.writerow([*(row[key] for key in figures), *(row["speedup"].get(b, "") for b in BASELINES)])
    write_atomically(path, text.getvalue())


def model_errors() -> dict[str, dict[str, Any]]:
    """Mean and worst relative error of the model of costs, at synthesised engines that it was not fitted to."""
    return {cost: {k: round(v, 4) for k, v in each.items()} for cost, each in summary(errors()).items()}


@dataclass(frozen=True)
class RunAccuracy:
    """A RUN folder's network, and the accuracy that was measured at its ratio and activation bits."""

    name: str
    shapes: Shapes
    ratio: str | None
    act_bits: int | str
    accuracy: float | None
    kl: float | None = None
    accuracy_float: float | None = None
    images: int | None = None  # labelled ones that it was measured on

    def with_accuracy(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row, with the run's accuracy if it has the run's ratio, in every layer, and bits."""
        same = (row["ratio"], row["ends"], row["act_bits"]) == (self.ratio, None, self.act_bits)
        return row | {"accuracy": self.accuracy, "kl_to_float": self.kl} if same else row

    def why_nowhere(self, rows: Sequence[Mapping[str, Any]]) -> str | None:
        """Why the accuracy stands in none of the rows, if it does not."""
        if self.accuracy is None or any(row["accuracy"] is not None for row in rows):
            return None
        mix = f"the ratio {self.ratio}" if self.ratio else "rows by --budget or --assignment"
        return (
            f"{self.name} has {mix} and {self.act_bits} activation bits, which none of these designs has, so its accuracy "
            f"of {self.accuracy:.2f} % stands in no row: give the model itself and --val to measure every design"
        )


def of_run(path: Path) -> RunAccuracy | None:
    """A RUN folder; None where the path is none."""
    if path_kind(path) is not PathKind.FOLDER:
        return None
    run = RunFolder.open(path)
    told = run.summary()
    shapes = shapes_of(run.graph())
    try:
        before, after = (
            None if told.get(key) is None else percent(told[key], key)
            for key in ("accuracy_float", "accuracy_quantized")
        )
        kl = None if told.get("kl_to_float") is None else real(told["kl_to_float"], "kl_to_float")
        images = whole(told.get("images_evaluated", 0), "images_evaluated")
    except ValueError as error:
        raise ModelError(f"{path / SUMMARY} is damaged: {error}; make the run again") from None
    own = told.get("ratio"), told.get("act_bits", 4)
    return RunAccuracy(path.resolve().name, shapes, *own, accuracy=after, kl=kl, accuracy_float=before, images=images)
