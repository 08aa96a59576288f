"""Accuracy in the loop: one network quantized in several ways, each in a RUN folder of its own below one folder.

What is measured stays there, so that an interrupted measurement goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import zoo
from .data import Dataset
from .errors import IlmpqError, InvariantError, UsageError
from .files import PathKind, path_kind
from .job import Job, digest, open_job, validation_batch
from .options import Options
from .pipeline import quantize
from .reporter import Reporter
from .results import full_path
from .runfolder import CONFIG, POINTS, SUMMARY, RunFolder
from .strict import percent, real


@dataclass(frozen=True)
class Accuracy:
    """Percent of the labelled images that the float and the quantized network know, and how far the latter is, in nats."""

    before: float
    after: float
    kl: float


@dataclass(frozen=True)
class Measuring:
    """A network, the labelled images it is measured on, and the folder that keeps what comes out."""

    source: str | Path
    folder: Path
    options: Options  # of every quantization, but for what is its own
    job: Job
    validation: Dataset

    @staticmethod
    def open(source: str | Path, folder: Path, options: Options) -> Measuring:
        """Check what there is before anything is begun."""
        if path_kind(Path(source)) is PathKind.ABSENT and zoo.is_name(str(source)):
            raise UsageError(f"{source} is an architecture and has no weights to measure: give a checkpoint of it")
        job = open_job(source, options)
        if job.validation is None:
            raise UsageError("accuracy is measured on labelled images: give them with --val")
        _check_folder(folder, job.files())
        return Measuring(source, folder, options, job, job.validation)

    @property
    def network(self) -> str:
        return Path(self.job.source).stem

    @property
    def stages(self) -> int:
        """Stages that a quantization tells a reporter of."""
        return 2 + (self.job.images is None) + (self.options.settings.tune_macs > 0)

    @contextmanager
    def begin(self, asked: Mapping[str, Any], made: Iterable[str], resume: bool, reporter: Reporter) -> Iterator[None]:
        """Hold the folder, which a measurement that goes on must have begun with what is `asked` now.

        A new one deletes what an earlier one measured, and the folders and files that it `made` besides.
        """
        images = _contents(self.validation, validation_batch(self.job.graph), reporter)
        data = {
            "val": full_path(self.job.options.val),
            "val_images": len(self.validation),
            "content of the labelled images": images,
        }
        identity = {**self.job.identity(), **data, **asked}
        with RunFolder.begin(self.folder, identity, resume, self.job.files()):
            for name in () if resume else (POINTS, *made):
                path = self.folder / name
                shutil.rmtree(path, ignore_errors=True)
                if not path.is_dir():
                    path.unlink(missing_ok=True)
            yield

    @property
    def resumable(self) -> bool:
        return RunFolder(self.folder).resumable

    def path(self, name: str) -> Path:
        """The RUN folder of a quantization."""
        return self.folder / POINTS / name

    def known(self, name: str, reporter: Reporter) -> Accuracy | None:
        """What was measured before."""
        return read_back(self.path(name), len(self.validation), reporter)

    def measure(self, name: str, own: Options, reporter: Reporter) -> Accuracy:
        """Quantize with options of its own and measure; one that was under way is finished."""
        path = self.path(name)
        begun = RunFolder(path).resumable
        if not begun:  # what else lies there is damaged, or was measured on other images
            shutil.rmtree(path, ignore_errors=True)
        found = quantize(self.source, path, own, begun, reporter).evaluation
        if found.accuracy_float is None or found.accuracy_quantized is None:
            raise InvariantError("labelled images give an accuracy")
        return Accuracy(found.accuracy_float, found.accuracy_quantized, found.kl_to_float)


def _check_folder(folder: Path, inputs: Iterable[Path]) -> None:
    """That a measurement may write and delete here."""
    if folder.suffix == ".json":
        raise UsageError(f"--out must be a folder where accuracy is measured, not {folder}: leave the .json away")
    if (folder / CONFIG).exists():
        raise UsageError(f"{folder} is a RUN folder: choose another --out")
    for read in inputs:
        if read.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{folder} holds {read.name}, which is read here: choose another --out")


def _contents(data: Dataset, batch: int, reporter: Reporter) -> str:
    """A digest of labelled images, which may be too many to hold at a time."""
    found = []
    reporter.stage("read images", len(data))
    for images, labels in data.batches(batch):
        found.append(digest(images) if labels is None else digest(images, labels))
        reporter.advance(len(images))
    return digest(np.array(found))


def read_back(path: Path, images: int, reporter: Reporter) -> Accuracy | None:
    """What a RUN folder tells, if it was measured on so many images."""
    if not (path / SUMMARY).exists():
        return None
    try:
        told = RunFolder.open(path).summary()
        before, after = (percent(told.get(key), key) for key in ("accuracy_float", "accuracy_quantized"))
        if told.get("images_evaluated") == images:
            return Accuracy(before, after, real(told.get("kl_to_float"), "kl_to_float"))
    except (IlmpqError, ValueError):
        pass
    reporter.note(f"{path.name} is measured again: its {SUMMARY} tells no accuracy on {images} images")
    return None
