"""The RUN folder: what a run leaves behind, and what an interrupted one has done so far.

While a run works, finished layers lie in `.partial/`; the results are written at the end, each file in one step, and
`summary.json` last. So a folder with a summary is whole, and an interrupted run leaves earlier results as they were.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .container import read_container, write_container
from .errors import IlmpqError, ModelError, UsageError
from .files import PathKind, path_kind, require_own, write_json
from .graph import Graph
from .graphfile import load_graph
from .preprocess import Preprocess
from .program import Program
from .quantize import LayerResult
from .rowquant import QuantModel, RowQuant

MODEL, PROGRAM, FLOAT, ROWS = "model.safetensors", "program.safetensors", "float.safetensors", "rows.csv"
SUMMARY, CONFIG, LOG = "summary.json", "config.json", "log.txt"
EXPORTS = "export"  # the folder in which exports lie
FRONT, POINTS = "front.json", "points"  # of a search, in a folder of its own: accuracies, and RUN folders
_RESULTS = (MODEL, PROGRAM, FLOAT, ROWS, CONFIG, SUMMARY)  # the summary last: a folder with one is whole
_PARTIAL, _STATE, _IMAGES, _CPU, _LOCK = ".partial", "state.json", "images.safetensors", "cpu.json", ".lock"
_VERSION = 1


@dataclass(frozen=True)
class RunFolder:
    """A folder with the results of one run. Made with `begin` or `open`."""

    path: Path
    lock: IO[str] | None = None  # held while a run works here

    @staticmethod
    def begin(path: Path, identity: dict[str, Any], resume: bool, inputs: Iterable[Path] = ()) -> RunFolder:
        """Make the folder ready for a run of this identity (options and contents); `resume` keeps finished layers.

        `inputs` are the user's files that the run reads: none of them may be one that it would replace.
        """
        require_own(path, lambda folder: RunFolder(folder)._ours())
        for read in inputs:
            if read.resolve().parent == path.resolve() and read.name in _RESULTS:
                raise UsageError(
                    f"{path} holds {read.name}, which this run reads and would replace: choose another --out"
                )
        run = RunFolder(path, _lock(path))
        if resume:
            run._check_same(identity)
        else:
            shutil.rmtree(run._partial, ignore_errors=True)
            write_json(run._partial / _STATE, identity)
        return run

    def verify_alone(self) -> RunFolder:
        """That no search or comparison keeps its points here: a run would come between it and its `--resume`."""
        found = [name for name in (FRONT, POINTS) if path_kind(self.path / name) is not PathKind.ABSENT]
        if found:
            whose = "an `ilmpq search` or `ilmpq compare`"
            raise UsageError(f"{self.path} holds {found[0]} of {whose}: choose a new folder with --out")
        return self

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.lock is not None:
            self.lock.close()

    def _check_same(self, identity: dict[str, Any]) -> None:
        """That what was begun here is what shall go on."""
        if not self.resumable:
            done = "it is finished" if (self.path / SUMMARY).exists() else "nothing was begun there"
            raise UsageError(f"{self.path} cannot be resumed: {done}; run again without --resume")
        before = read_json(self._partial / _STATE)
        changed = [k for k in identity if before.get(k) != identity[k]]
        if changed:
            short = [str(v)[:40] for v in (before.get(changed[0]), identity[changed[0]])]
            raise UsageError(
                f"{self.path} was begun with another {changed[0]} ({short[0]}, now {short[1]}): "
                "give the same options with --resume, or leave --resume out to begin again"
            )

    @staticmethod
    def open(path: Path) -> RunFolder:
        """A finished run."""
        run = RunFolder(path)
        if path_kind(path) is not PathKind.FOLDER:
            raise UsageError(f"{path} is not a RUN folder: `ilmpq quantize` makes one")
        if not (path / SUMMARY).exists():
            hint = "; it was interrupted, go on with `ilmpq quantize … --resume`" if run._partial.exists() else ""
            raise UsageError(f"{path} is not a finished RUN folder: it has no {SUMMARY}{hint}")
        return run

    def results(self) -> tuple[Path, ...]:
        """The files that a run leaves."""
        return tuple(self.path / name for name in _RESULTS)

    @property
    def _partial(self) -> Path:
        return self.path / _PARTIAL

    @property
    def resumable(self) -> bool:
        """Whether an interrupted run has left something to go on with."""
        return (self._partial / _STATE).exists()

    def _ours(self) -> bool:
        """Whether nothing but a run of ours can have made the folder."""
        if self.resumable or (self.path / _LOCK).exists():
            return True
        try:
            return "ilmpq" in read_json(self.path / CONFIG)
        except IlmpqError:
            return False

    @property
    def tuning_state(self) -> Path:
        """Where tuning keeps its progress."""
        return self._partial / "tuning.safetensors"

    @property
    def assignment(self) -> Path:
        """Where the schemes that a budget gave are kept, in the form of rows.csv."""
        return self._partial / "assignment.csv"

    @property
    def staging(self) -> Path:
        """Where results are written before `finish` puts them in place."""
        return self._partial / "results"

    def cpu_before(self) -> float:
        """CPU seconds that interrupted runs have spent on this one."""
        path = self._partial / _CPU
        return float(read_json(path)["cpu_seconds"]) if path.exists() else 0.0

    def note_cpu(self, seconds: float) -> None:
        """Keep the CPU seconds spent so far."""
        write_json(self._partial / _CPU, {"cpu_seconds": seconds})

    def model(self) -> QuantModel:
        return QuantModel.load(self.path / MODEL)

    def program(self) -> Program:
        if path_kind(self.path / PROGRAM) is PathKind.ABSENT:
            raise UsageError(f"{self.path} was made by an earlier ilmpq: it has no {PROGRAM}; quantize again")
        return Program.load(self.path / PROGRAM)

    def graph(self) -> Graph:
        return load_graph(self.path / FLOAT)

    def summary(self) -> dict[str, Any]:
        return read_json(self.path / SUMMARY)

    def config(self) -> dict[str, Any]:
        return read_json(self.path / CONFIG)

    def preprocess(self) -> Preprocess:
        """How the run's images are preprocessed."""
        try:
            return Preprocess.from_dict(self.config()["preprocess"])
        except (KeyError, UsageError):
            raise ModelError(
                f"{self.path / CONFIG} is damaged: it must hold the run's preprocessing; make the run again"
            ) from None

    def data(self) -> str | None:
        """The images that the run was measured with, or made with."""
        config = self.config()
        spec = config.get("val") or config.get("calib")
        if spec is not None and not isinstance(spec, str):
            raise ModelError(
                f"{self.path / CONFIG} is damaged: val and calib must be names of data; make the run again"
            )
        return spec

    def log(self, line: str) -> None:
        """Add a line to `log.txt`."""
        try:
            with (self.path / LOG).open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        except OSError as error:
            raise UsageError(f"{self.path / LOG} cannot be written: {error.strerror}") from None

    def save_layer(self, name: str, index: int, result: LayerResult, sensitivity: NDArray[np.float64]) -> None:
        """Keep a finished layer for `--resume`."""
        arrays: dict[str, NDArray[Any]] = {
            "codes": result.rows.codes,
            "scale": result.rows.scale,
            "scheme": result.rows.scheme,
            "bias": result.bias,
            "error": result.error,
            "sensitivity": sensitivity,
        }
        write_container(self._layer(index), "finished layer", _VERSION, {"name": name}, arrays)

    def saved_layer(self, name: str, index: int) -> tuple[LayerResult, NDArray[np.float64]] | None:
        """A layer that an interrupted run had finished: result and sensitivity."""
        if not self._layer(index).exists():
            return None
        header, a = read_container(self._layer(index), "finished layer", _VERSION)
        if header["name"] != name:
            raise ModelError(f"{self._layer(index)} must hold {name}, not {header['name']}: run again without --resume")
        result = LayerResult(RowQuant(a["codes"], a["scale"], a["scheme"]).verify(name), a["bias"], a["error"])
        return result, a["sensitivity"]

    def _layer(self, index: int) -> Path:
        return self._partial / f"layer{index:04d}.safetensors"

    def save_images(self, images: NDArray[np.float32]) -> None:
        """Keep synthesised images for `--resume`."""
        write_container(self._partial / _IMAGES, "images", _VERSION, {}, {"images": images})

    def saved_images(self) -> NDArray[np.float32] | None:
        """The images that an interrupted run had synthesised."""
        path = self._partial / _IMAGES
        return read_container(path, "images", _VERSION)[1]["images"] if path.exists() else None

    def finish(self) -> None:
        """Put the staged results in place, the summary last, and drop what was kept for `--resume`.

        From the removal of an earlier summary to the last rename the folder is not whole; only renames lie between.
        """
        (self.path / SUMMARY).unlink(missing_ok=True)
        for name in _RESULTS:
            os.replace(self.staging / name, self.path / name)
        shutil.rmtree(self._partial, ignore_errors=True)
        (self.path / _LOCK).unlink(missing_ok=True)


class Stopwatch:
    """CPU seconds of the stages inside a `with`, those of interrupted runs before included; kept when interrupted."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._before = run.cpu_before()
        self._start = time.process_time()
        self.cpu_seconds = 0.0

    def __enter__(self) -> Stopwatch:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.cpu_seconds = self._before + time.process_time() - self._start
        if kind is not None:
            self._run.note_cpu(self.cpu_seconds)


def _lock(path: Path) -> IO[str]:
    """Hold the folder for this process, or say that another works there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / _LOCK).open("w")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; choose another place with --out") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UsageError(
            f"{path}: another run is working here; wait for it, or choose another folder with --out"
        ) from None
    return file


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ModelError(f"{path} is damaged: it is not JSON; make the run again") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} is damaged: it must hold a JSON object; make the run again")
    return value
