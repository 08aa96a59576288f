"""Figures as PNG files; the only file that imports matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .files import write_atomically

COLOURS = {"mixed": "#1f77b4", "mixed_pot3": "#d62728"}
OTHERS = "#9e9e9e"


def draw_comparison(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Frames per second of every design, a panel for each chip and width of activations."""
    panels = list(dict.fromkeys((r["device"], r["act_bits"]) for r in rows))
    figure = Figure(figsize=(6.5 * len(panels), 4.2), layout="constrained")
    for place, panel in enumerate(panels):
        own = [r for r in rows if (r["device"], r["act_bits"]) == panel]
        axes = figure.add_subplot(1, len(panels), place + 1)
        bars = axes.barh(
            [r["design"] for r in own],
            [r["frames_per_s"] for r in own],
            color=[COLOURS.get(r["design"], OTHERS) for r in own],
        )
        axes.bar_label(bars, fmt="%.1f", padding=3)
        axes.invert_yaxis()
        axes.set_xlabel("frames per second")
        axes.set_title(f"{own[0]['network']}, {panel[0]} at {own[0]['clock_mhz']:g} MHz, {panel[1]}-bit activations")
        axes.margins(x=0.15)
    save(path, figure)


def save(path: Path, figure: Figure) -> None:
    """Write a figure in one step."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    write_atomically(path, data.getvalue())
