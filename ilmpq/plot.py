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


def draw_front(path: Path, front: Mapping[str, Any]) -> None:
    """Accuracy and frames per second of every measured point, the Pareto front joined."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    measured = [p for p in front["points"] if p["accuracy"] is not None]
    for place, schemes in enumerate(dict.fromkeys(p["schemes"] for p in measured)):
        own = [p for p in measured if p["schemes"] == schemes]
        axes.scatter([p["frames_per_s"] for p in own], [p["accuracy"] for p in own], color=f"C{place}", label=schemes)
    best = [p for p in measured if p["on_front"]]
    speeds, accuracies = [p["frames_per_s"] for p in best], [p["accuracy"] for p in best]
    axes.step(speeds, accuracies, where="post", color=OTHERS, zorder=0, label="Pareto front")
    for point in best:
        where = (point["frames_per_s"], point["accuracy"])
        axes.annotate(f"{point['act_bits']} bits", where, xytext=(4, 5), textcoords="offset points", fontsize=8)
    axes.axhline(front["accuracy_float"], color=OTHERS, linestyle=":", label="float")
    if front["max_drop"] is not None:
        axes.axhline(front["accuracy_float"] - front["max_drop"], color="C3", linestyle="--", label="lowest allowed")
    axes.set_xlabel("frames per second")
    axes.set_ylabel("top-1 accuracy, %")
    axes.set_title(f"{front['network']}, {front['device']} at {front['clock_mhz']:g} MHz (assumed)")
    axes.legend(fontsize=8)
    axes.margins(x=0.1)
    save(path, figure)


def save(path: Path, figure: Figure) -> None:
    """Write a figure in one step."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    write_atomically(path, data.getvalue())
