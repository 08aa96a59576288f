"""The RUN folder: what a run leaves behind, and what an interrupted one has done so far.

While a run works, finished layers lie in `.partial/`; the results are written at the end, each file in one step, and
`summary.json` last. So a folder with a summary is whole, and an interrupted run leaves earlier results as they were.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .container import read_container, write_container
from .errors import ModelError, UsageError
from .files import write_json
from .graph import Graph
from .graphfile import load_graph
from .quantize import LayerResult
from .rowquant import QuantModel, RowQuant

MODEL, FLOAT, ROWS = "model.safetensors", "float.safetensors", "rows.csv"
SUMMARY, CONFIG, LOG = "summary.json", "config.json", "log.txt"
_PARTIAL, _STATE, _IMAGES = ".partial", "state.json", "images.safetensors"
_VERSION = 1


@dataclass(frozen=True)
class RunFolder:
    """A folder with the results of one run. Made with `begin` or `open`."""

    path: Path

    @staticmethod
    def begin(path: Path, identity: dict[str, Any], resume: bool) -> RunFolder:
        """Make the folder ready for a run of this identity (options and checkpoint); `resume` keeps finished layers."""
        run = RunFolder(path)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file: choose a folder with --out")
        if path.is_dir() and any(path.iterdir()) and not run._ours():
            raise UsageError(f"{path} holds other files: choose a new folder with --out")
        state = run._partial / _STATE
        if resume:
            if not state.exists():
                done = "it is finished" if (path / SUMMARY).exists() else "nothing was begun there"
                raise UsageError(f"{path} cannot be resumed: {done}; run again without --resume")
            before = _read_json(state)
            changed = [k for k in identity if before.get(k) != identity[k]]
            if changed:
                raise UsageError(
                    f"{path} was begun with another {changed[0]} ({before.get(changed[0])}, now {identity[changed[0]]}): "
                    "give the same options with --resume, or leave --resume out to begin again"
                )
        else:
            shutil.rmtree(run._partial, ignore_errors=True)
            write_json(state, identity)
        run._check_writable()
        return run

    @staticmethod
    def open(path: Path) -> RunFolder:
        """A finished run."""
        run = RunFolder(path)
        if not path.is_dir():
            raise UsageError(f"{path} is not a RUN folder: `ilmpq quantize` makes one")
        if not (path / SUMMARY).exists():
            hint = "; it was interrupted, go on with `ilmpq quantize … --resume`" if run._partial.exists() else ""
            raise UsageError(f"{path} is not a finished RUN folder: it has no {SUMMARY}{hint}")
        return run

    @property
    def _partial(self) -> Path:
        return self.path / _PARTIAL

    def _ours(self) -> bool:
        return (self.path / CONFIG).exists() or self._partial.exists()

    def _check_writable(self) -> None:
        """Fail now rather than after the work is done."""
        if not os.access(self.path, os.W_OK):
            raise UsageError(f"{self.path} cannot be written: permission denied; choose another place with --out")

    @property
    def tuning_state(self) -> Path:
        """Where tuning keeps its progress."""
        return self._partial / "tuning.safetensors"

    def model(self) -> QuantModel:
        return QuantModel.load(self.path / MODEL)

    def graph(self) -> Graph:
        return load_graph(self.path / FLOAT)

    def summary(self) -> dict[str, Any]:
        return _read_json(self.path / SUMMARY)

    def config(self) -> dict[str, Any]:
        return _read_json(self.path / CONFIG)

    def log(self, line: str) -> None:
        """Add a line to `log.txt`."""
        try:
            with (self.path / LOG).open("a") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        except OSError as error:
            raise UsageError(f"{self.path / LOG} cannot be written: {error.strerror}") from None

    def save_layer(
        self, name: str, index: int, result: LayerResult, sensitivity: NDArray[np.float64], cpu: float
    ) -> None:
        """Keep a finished layer for `--resume`."""
        arrays: dict[str, NDArray[Any]] = {
            "codes": result.rows.codes,
            "scale": result.rows.scale,
            "scheme": result.rows.scheme,
            "bias": result.bias,
            "error": result.error,
            "sensitivity": sensitivity,
        }
        write_container(self._layer(index), "finished layer", _VERSION, {"name": name, "cpu_seconds": cpu}, arrays)

    def saved_layer(self, name: str, index: int) -> tuple[LayerResult, NDArray[np.float64], float] | None:
        """A layer that an interrupted run had finished: result, sensitivity, CPU seconds of the run up to it."""
        if not self._layer(index).exists():
            return None
        header, a = read_container(self._layer(index), "finished layer", _VERSION)
        if header["name"] != name:
            raise ModelError(f"{self._layer(index)} must hold {name}, not {header['name']}: run again without --resume")
        result = LayerResult(RowQuant(a["codes"], a["scale"], a["scheme"]).verify(name), a["bias"], a["error"])
        return result, a["sensitivity"], float(header["cpu_seconds"])

    def _layer(self, index: int) -> Path:
        return self._partial / f"layer{index:04d}.safetensors"

    def save_images(self, images: NDArray[np.float32]) -> None:
        """Keep synthesised images for `--resume`."""
        write_container(self._partial / _IMAGES, "images", _VERSION, {}, {"images": images})

    def saved_images(self) -> NDArray[np.float32] | None:
        """The images that an interrupted run had synthesised."""
        path = self._partial / _IMAGES
        return read_container(path, "images", _VERSION)[1]["images"] if path.exists() else None

    def invalidate(self) -> None:
        """Take away an earlier run's summary before its files are replaced: from here to `finish` the folder is not whole."""
        (self.path / SUMMARY).unlink(missing_ok=True)

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary, which makes the folder whole, and drop what was kept for `--resume`."""
        write_json(self.path / SUMMARY, summary)
        shutil.rmtree(self._partial, ignore_errors=True)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ModelError(f"{path} is damaged: it is not JSON; make the run again") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} is damaged: it must hold a JSON object; make the run again")
    return value
