"""Every choice of a `quantize` run, checked once; `config.json` is this, written out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum, StrEnum
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from .assign import Rule
from .device import part_named
from .errors import UsageError
from .ratio import Ratio
from .scales import Scales
from .space import DEFAULT_SCHEMES, Rules

DEFAULT_RATIO = "60:35:5"
AUTO = "auto"  # the ratio of the geometry that is found for the device, or given
MIN_ACT_BITS, MAX_ACT_BITS = 4, 8
MAX_IMAGES = 1_000_000
EXCLUSIVE = (
    ("--assignment", "--budget"),
    ("--assignment", "--ratio"),
    ("--assignment", "--assign"),
    ("--budget", "--assign"),
    ("--geometry", "--ratio"),
    ("--geometry", "--assignment"),
    ("--geometry", "--budget"),
)
OF_A_FILE = ("arch", "input_shape", "preset", "mean", "std")  # options that say what a model file does not


E = TypeVar("E", bound=Enum)


def choice(kind: type[E], flag: str, text: str) -> E:
    """The member of an enumeration that a flag names."""
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{flag} must be one of {', '.join(m.value for m in kind)}, not {text!r}") from None


def check_exclusive(given: Mapping[str, str]) -> None:
    """Refuse flags, given with these values, of which one would be ignored; `--ratio auto` goes with any design."""
    flags = {flag for flag, value in given.items() if (flag, value) != ("--ratio", AUTO)}
    for one, other in EXCLUSIVE:
        if {one, other} <= flags:
            raise UsageError(f"{one} and {other} exclude each other: both say which row gets which scheme")
    for flag in ("--assignment", "--budget", "--ratio"):
        if {"--device", flag} <= flags:
            raise UsageError(
                f"--device would be ignored beside {flag}, which says which row gets which scheme: leave one out"
            )


class Effort(StrEnum):
    """How much CPU time rounding may take."""

    FAST = "fast"
    NORMAL = "normal"
    HIGH = "high"


@dataclass(frozen=True)
class EffortSettings:
    """What an effort does. `images` is the default number of calibration images."""

    images: int
    feedback: bool  # error feedback and a corrected target, or nearest levels only
    trials: int  # scales tried per row and scheme
    sweeps: int  # coordinate-descent sweeps
    tune_macs: float  # multiplications to spend on distilling scales and biases at the end, forward and backward
    scales: Scales = Scales.FREE  # not the effort's: what `--scales` says


SETTINGS: Mapping[Effort, EffortSettings] = {
    Effort.FAST: EffortSettings(images=128, feedback=False, trials=16, sweeps=0, tune_macs=0),
    Effort.NORMAL: EffortSettings(images=512, feedback=True, trials=24, sweeps=3, tune_macs=1e12),
    Effort.HIGH: EffortSettings(images=512, feedback=True, trials=48, sweeps=6, tune_macs=5e13),
}


@dataclass(frozen=True)
class Options:
    """Resolved options of one run. Text stays as the user wrote it; `verify` has understood it."""

    arch: str | None = None
    input_shape: tuple[int, int, int] | None = None
    preset: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    calib: str | None = None
    calib_images: int | None = None
    val: str | None = None
    val_images: int | None = None
    ratio: str = DEFAULT_RATIO
    device: str | None = None
    geometry: str | None = None
    schemes: str = DEFAULT_SCHEMES
    budget: str | None = None
    granularity: str = "row"
    act_bits: str = "4"
    effort: Effort = Effort.NORMAL
    scales: Scales = Scales.FREE
    assign: Rule = Rule.EXACT
    assignment: str | None = None
    max_drop: float | None = None
    seed: int = 0

    @property
    def settings(self) -> EffortSettings:
        return replace(SETTINGS[self.effort], scales=self.scales)

    @property
    def average_bits(self) -> float | None:
        """The budget in average bits per weight, if one is set."""
        return None if self.budget is None else parse_budget(self.budget)

    def layer_act_bits(self, layers: Iterable[str]) -> tuple[int, dict[str, int]]:
        """Activation bits in general, and of the layers that `--act-bits` names."""
        return parse_act_bits(self.act_bits, layers)

    def verify(self) -> Options:
        """Check everything that can be checked without the network."""
        if self.ratio != AUTO:
            Ratio.parse(self.ratio)
        elif self.device is None and self.geometry is None:
            raise UsageError("--ratio auto needs --device or --geometry, whose arrays say what is fastest")
        if self.device is not None:
            part_named(self.device)
        Rules.parse(self.schemes, 4)
        parse_act_bits(self.act_bits, None)
        if self.budget is not None:
            parse_budget(self.budget)
        usual = Options()
        choices = ("ratio", "assign", "assignment", "budget", "device", "geometry")
        values = {name: getattr(self, name) for name in choices if getattr(self, name) != getattr(usual, name)}
        check_exclusive({f"--{name}": value for name, value in values.items()})
        if self.granularity not in ("row", "layer"):
            raise UsageError(f"--granularity must be row or layer, not {self.granularity!r}")
        if self.granularity == "layer" and self.budget is None:
            raise UsageError("--granularity layer needs --budget: under a ratio every layer has the same mix")
        for flag, count in (("--calib-images", self.calib_images), ("--val-images", self.val_images)):
            if count is not None and not 1 <= count <= MAX_IMAGES:
                raise UsageError(f"{flag} must be at least 1 and at most {MAX_IMAGES:,}, not {count}")
        if self.max_drop is not None and not 0 <= self.max_drop < math.inf:
            raise UsageError(f"--max-drop must be a number of points and not negative, but it is {self.max_drop:g}")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed must be from 0 to 2^63 - 1, not {self.seed}")
        return self

    def verify_source(self, source: object) -> Options:
        """Refuse what would be ignored because of the model that is given: `digits` brings input, data and structure."""
        if source == "digits":
            given = [f"--{name.replace('_', '-')}" for name in OF_A_FILE if getattr(self, name) is not None]
            if given:
                raise UsageError(f"{given[0]} must not be given with digits, which has its own")
        elif self.val is None:
            for flag, value in (("--val-images", self.val_images), ("--max-drop", self.max_drop)):
                if value is not None:
                    raise UsageError(f"{flag} needs labelled images: give them with --val")
        return self

    def to_dict(self) -> dict[str, Any]:
        return {k: v.value if isinstance(v, Enum) else v for k, v in asdict(self).items()}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Options:
        """The inverse of `to_dict`."""
        known = {f.name for f in fields(Options)}
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
        for name, kind in (("effort", Effort), ("scales", Scales), ("assign", Rule)):
            values[name] = kind(values[name])
        return Options(**values)


def parse_budget(text: str) -> float:
    """Average bits per weight out of `avg-bits=4.3`."""
    key, _, value = text.partition("=")
    try:
        if key.strip() != "avg-bits":
            raise ValueError
        if not math.isfinite(bits := float(value)):
            raise ValueError
        return bits
    except ValueError:
        raise UsageError(f"--budget must be like avg-bits=4.3, not {text!r}") from None


def parse_act_bits(text: str, layers: Iterable[str] | None) -> tuple[int, dict[str, int]]:
    """`4`, or `4,linear=8,layer3.*=5`: bits in general and per layer (shell patterns); `layers` are those that exist.

    >>> parse_act_bits("4,fc=8", ["conv1", "fc"])
    (4, {'fc': 8})
    """
    general = 4
    overrides: dict[str, int] = {}
    for part in text.split(","):
        pattern, equals, number = part.rpartition("=")
        try:
            bits = int(number)
        except ValueError:
            raise UsageError(f"--act-bits must be like 4 or 4,fc=8, not {text!r}") from None
        if not MIN_ACT_BITS <= bits <= MAX_ACT_BITS:
            raise UsageError(f"--act-bits must be from {MIN_ACT_BITS} to {MAX_ACT_BITS}, not {bits}")
        if not equals:
            general = bits
            continue
        if layers is None:
            continue
        layers = list(layers)
        found = [name for name in layers if fnmatchcase(name, pattern.strip())]
        if not found:
            raise UsageError(f"--act-bits names {pattern!r}, but no layer matches; layers are {', '.join(layers)}")
        overrides |= dict.fromkeys(found, bits)
    return general, overrides
