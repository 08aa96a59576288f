"""`geometry.json`: a design for a chip, what it costs and what networks do on it; `quantize --geometry` takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import __version__, strict
from .design import EngineConfig
from .device import Part
from .errors import DoesNotFit, UsageError
from .files import PathKind, path_kind, write_json
from .resources import Resources, resources, usable
from .search import Found
from .space import Rules, nearest

NAME = "geometry.json"
LARGEST_FILE = 1 << 20
WORDS = {"lut": "LUTs", "ff": "flip-flops", "dsp": "DSPs", "bram36": "block RAMs"}


def describe(found: Found, part: Part, schemes: str, rules: Rules) -> dict[str, Any]:
    """What the file says, and `search --json`."""
    hertz = part.assumed_clock_mhz * 1e6
    return {
        "ilmpq": __version__,
        "device": part.name,
        "schemes": schemes,
        "ratio": str(rules.ratio(found.config.geometry)),
        "act_bits": found.config.geometry.act_bits,
        "arrays": ", ".join(map(str, found.config.geometry.arrays)),
        "mac_per_cycle": found.config.geometry.macs_per_cycle,
        "clock_mhz": part.assumed_clock_mhz,
        "networks": {
            name: {
                "cycles": round(frame.cycles),
                "frames_per_s": round(hertz / frame.cycles, 2),
                "lanes_busy": round(frame.busy(convolutions_only=True), 4),
            }
            for name, frame in found.frames.items()
        },
        "resources": rounded(found.cost),
        "usable": rounded(usable(part)),
        "resources_from": "model",
        "cycles_from": "model",
        "config": found.config.to_dict(),
    }


def rounded(cost: Resources) -> dict[str, float]:
    return {
        "lut": round(cost.lut),
        "ff": round(cost.ff),
        "dsp": round(cost.dsp),
        "bram36": round(float(cost.bram36), 1),
    }


def save_design(path: Path, described: Mapping[str, Any]) -> None:
    """Write the file."""
    write_json(path, dict(described))


def load_design(path: Path) -> EngineConfig:
    """The design of a file; anything else in it is for people."""
    kind = path_kind(path)
    if kind is not PathKind.FILE:
        raise UsageError(f"{path} must be a geometry.json, not {kind.value}")
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise UsageError(f"{path} must be a geometry.json of at most {LARGEST_FILE:,} bytes, not {size:,}")
        data = json.loads(path.read_text(encoding="utf-8"))
        config = strict.mapping(strict.mapping(data, "the file").get("config"), "config")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} must be a geometry.json as `ilmpq search` writes it: {error}") from None
    try:
        return EngineConfig.from_dict(config)
    except UsageError as error:
        raise UsageError(f"{path} must hold an engine: {error}") from None


def check_fits(config: EngineConfig, part: Part) -> None:
    """`DoesNotFit` says which resource, by how much, and the nearest geometry that fits."""
    over = resources(config).over(usable(part))
    if not over:
        return
    most = usable(part)
    exceeding = ", ".join(
        f"{getattr(most, name) + by:,.0f} {WORDS[name]}, {by:,.0f} more than may be used" for name, by in over.items()
    )
    arrays = ", ".join(map(str, config.geometry.arrays))
    raise DoesNotFit(f"{arrays} does not fit {part.name}: it takes {exceeding}; {_mend(config, part)}")


def _mend(config: EngineConfig, part: Part) -> str:
    """The nearest design that fits, in words."""
    g, other = config.geometry, nearest(config, part)
    if other is None:
        return "no rows, lanes and positions of these arrays fit: choose other arrays or a larger chip"
    own = other.geometry
    changed = f"no rows fit with tk {g.tk}, tp {g.tp}; " if (own.tk, own.tp) != (g.tk, g.tp) else ""
    return (
        f"{changed}the nearest that fits is {', '.join(map(str, own.arrays))} with tk {own.tk}, tp {own.tp}, "
        f"{own.acc_bits}-bit accumulators, an activation memory of {other.am_depth} words and a ring of "
        f"{other.ring_depth} steps"
    )
