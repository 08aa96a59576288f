"""Which tools are there, their versions, and what works without the missing ones."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from dataclasses import dataclass

NEEDED = (
    ("torch", "command at all: it runs the networks"),
    ("numpy", "command at all"),
    ("scipy", "command at all"),
    ("scikit-learn", "clustering of rows, no digits demonstration"),
    ("safetensors", "RUN folders"),
    ("rich", "tables and progress"),
    ("typer", "command line"),
    ("pillow", "image folders as data"),
    ("onnx", "loading of .onnx files"),
)
OPTIONAL = (
    ("onnxruntime", "verification of QDQ exports"),
    ("qonnx", "verification of QONNX exports"),
    ("brevitas", "comparison by scripts/bench_ptq.py"),
)
PROGRAMS = (
    ("vivado", "bitstreams (nothing in this version needs it)"),
    ("vitis_hls", "HLS synthesis (nothing in this version needs it)"),
)


@dataclass(frozen=True)
class Finding:
    """One thing looked for; `use` is what it is for."""

    name: str
    version: str | None
    use: str
    needed: bool


def examine() -> list[Finding]:
    """Look for Python, every package and the vendor's programs."""
    findings = [Finding("python", platform.python_version(), "command at all", True)]
    findings += [Finding(name, _package(name), use, True) for name, use in NEEDED]
    findings += [Finding(name, _package(name), use, False) for name, use in OPTIONAL]
    findings += [Finding(name, "found" if shutil.which(name) else None, use, False) for name, use in PROGRAMS]
    return findings


def _package(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
