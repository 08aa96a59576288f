"""What a run ends with: the figures of `summary.json`, and the files of the RUN folder."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from . import __version__, demo
from .evaluate import Evaluation
from .files import write_atomically, write_json
from .graphfile import save_graph
from .job import Job
from .program import Program
from .rowquant import QuantModel
from .rowsfile import LayerRows, write_rows
from .runfolder import CONFIG, FLOAT, MODEL, PROGRAM, ROWS, SUMMARY, RunFolder


@dataclass(frozen=True)
class Results:
    """A finished run in memory."""

    path: Path
    job: Job
    model: QuantModel
    rows: dict[str, LayerRows]
    program: Program
    evaluation: Evaluation
    images_calibration: int
    cpu_seconds: float
    wall_seconds: float

    @cached_property
    def program_bytes(self) -> bytes:
        """The program's file: every parameter, packed."""
        return self.program.to_bytes()

    @property
    def accuracy_drop(self) -> float | None:
        """Points of accuracy lost, if there was a labelled set."""
        return accuracy_drop(self.evaluation)

    def config(self) -> dict[str, Any]:
        """The contents of `config.json`: every option as it was resolved, paths in full."""
        options = self.job.options
        resolved = {
            "input_shape": list(self.job.graph.input_shape),
            "calib": full_path(options.calib),
            "calib_images": self.images_calibration,
            "val": full_path(options.val),
            "assignment": full_path(options.assignment),
            "geometry": full_path(options.geometry),
            "design": None if self.job.design is None else self.job.design.to_dict(),
        }
        preprocess = self.job.preprocess.to_dict()
        return {
            "ilmpq": __version__,
            "model": self.job.source,
            **options.to_dict(),
            **resolved,
            "preprocess": preprocess,
        }

    def summary(self) -> dict[str, Any]:
        """The contents of `summary.json`."""
        options, model = self.job.options, self.model
        free = options.budget is not None or options.assignment is not None
        return {
            "version": __version__,
            "model": self.job.source,
            "architecture": self.job.architecture,
            "device": options.device,
            "ratio": None if free else options.ratio,
            "budget": options.budget,
            "assign": "file" if options.assignment else "budget" if options.budget else options.assign.value,
            "act_bits": options.act_bits if "," in options.act_bits else int(options.act_bits),
            "effort": options.effort.value,
            "scales": options.scales.value,
            "seed": options.seed,
            "images_calibration": self.images_calibration,
            "calibration": "synthetic" if self.job.images is None else options.calib,
            "average_weight_bits": round(model.average_weight_bits(), 4),
            "parameters_bytes_float": model.float_bytes(),
            "parameters_bytes_packed": len(self.program_bytes),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "wall_seconds": round(self.wall_seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            **evaluation_summary(self.evaluation, labelled=self.job.validation is not None),
        }


def peak_memory_mb() -> float:
    """The most memory this process has held.

    Linux' own high-water mark first: what `getrusage` says is inherited from a large process that started this one.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def accuracy_drop(evaluation: Evaluation) -> float | None:
    """Points of accuracy lost, if there was a labelled set."""
    if evaluation.accuracy_float is None or evaluation.accuracy_quantized is None:
        return None
    return evaluation.accuracy_float - evaluation.accuracy_quantized


def evaluation_summary(evaluation: Evaluation, labelled: bool) -> dict[str, Any]:
    """The entries of `summary.json` that an evaluation gives; without a labelled set, closeness is not reported."""
    return {
        "accuracy_float": evaluation.accuracy_float,
        "accuracy_quantized": evaluation.accuracy_quantized,
        "kl_to_float": evaluation.kl_to_float if labelled else None,
        "agreement": evaluation.agreement if labelled else None,
        "images_evaluated": evaluation.images if labelled else 0,
        "measured_by": "integer executor",
        "snr_on": "labelled images" if labelled else "calibration images",
        "snr_db": evaluation.snr_db,
    }


def full_path(spec: str | None) -> str | None:
    """A path that means the same from every working directory; the word `digits` stays."""
    return spec if spec is None or spec == demo.NAME else str(Path(spec).expanduser().resolve())


def save_results(run: RunFolder, results: Results) -> None:
    """Write every file of the RUN folder, the summary last."""
    results.model.save(run.staging / MODEL)
    write_atomically(run.staging / PROGRAM, results.program_bytes)
    save_graph(results.job.graph, run.staging / FLOAT)
    write_rows(run.staging / ROWS, results.rows)
    write_json(run.staging / CONFIG, results.config())
    write_json(run.staging / SUMMARY, results.summary())
    run.log(f"finished: {results.summary()}")
    run.finish()
